//! The order API: take an order, show one, list them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use contract::OrderId;
use contract::headers::{TRACEPARENT, valid_traceparent};
use domain::catalogue::Catalogue;
use domain::saga::{OrderSaga, SagaConfig};
use jiff::Timestamp;
use sqlx::PgPool;
use utoipa::OpenApi;
use uuid::Uuid;

use super::intake::{Intake, IntakeError, Receipt, Submission};
use super::metrics::{Metrics, Outcome};
use super::query::{self, ListQuery};
use super::request::NewOrder;
use super::store::{self, Draft};
use super::view::{Accepted, OrderBody, OrderView, Page};
use super::watch::Watch;
use crate::auth::BearerAuth;
use crate::http::Correlation;
use crate::problem::{Fault, Kind, Problem, ProblemBody};

/// The header by which a client makes its request safe to repeat.
const KEY_HEADER: &str = "idempotency-key";

/// Says that the answer is that of an earlier, equal request.
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest `Idempotency-Key`.
const LONGEST_KEY: usize = 255;

/// What the API works with. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The orders, for reading.
    pub pool: PgPool,
    /// The way in.
    pub intake: Intake,
    /// Where requests wait for orders to end.
    pub watch: Watch,
    /// Prices of the short form.
    pub catalogue: Arc<Catalogue>,
    /// The saga by which new orders go.
    pub saga: Arc<SagaConfig>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The OpenAPI document of the order service.
#[derive(OpenApi)]
#[openapi(
    info(title = "Order service", description = "Takes orders and shows what becomes of them."),
    paths(place_order, show_order, list_orders),
    components(schemas(ProblemBody)),
    modifiers(&BearerAuth)
)]
struct Document;

/// The routes of the order service.
pub fn routes(api: Api) -> Router {
    let orders = post(place_order).get(list_orders);
    Router::new()
        .route("/api/v1/orders", orders.clone())
        .route("/api/orders", orders)
        .route("/api/v1/orders/{order_id}", get(show_order))
        .route("/api/orders/{order_id}", get(show_order))
        .route("/openapi.json", get(|| async { Json(Document::openapi()) }))
        .with_state(api)
}

/// Take an order.
///
/// Answers when the order is stored; what becomes of it is decided later and shown at `Location`.
#[utoipa::path(
    post,
    path = "/api/v1/orders",
    tag = "orders",
    request_body(content = OrderBody, content_type = "application/json"),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat for 24 hours: the same key and body get the first answer again."),
        ("X-Correlation-Id" = Option<String>, Header, description = "Taken over into everything that the order causes; made up where absent."),
        ("traceparent" = Option<String>, Header, description = "W3C trace context; passed on with every event of the order.")
    ),
    responses(
        (status = 202, description = "The order is stored.", body = Accepted,
         headers(("Location" = String), ("X-Correlation-Id" = String), ("Idempotency-Replayed" = String, description = "`true` where this is the answer to an earlier request"))),
        (status = 400, description = "The body is not a JSON object.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The order id belongs to another order.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Fields are at fault, the total is not the sum of the items, or the Idempotency-Key belongs to another request.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The order could not be stored now.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn place_order(
    State(api): State<Api>,
    Extension(Correlation(correlation_id)): Extension<Correlation>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let traceparent = headers.get(TRACEPARENT).and_then(|value| valid_traceparent(value.as_bytes()));
    let traceparent = traceparent.map(str::to_owned);
    let submission = read_submission(&api, &headers, body).and_then(|(mut request, key)| {
        let fingerprint = request.fingerprint().map_err(|_not_plain| internal())?;
        request.details.steps = Some(api.saga.steps.clone());
        let id = request.order_id.unwrap_or_else(|| OrderId::new(Uuid::now_v7()));
        let saga = OrderSaga::begin(&api.saga, now);
        Ok(Submission {
            draft: Draft { id, correlation_id, traceparent, request, fingerprint, saga, created_at: now },
            key,
        })
    });
    let submission = submission.inspect_err(|_| api.metrics.count_request(Outcome::Refused))?;
    let receipt = api.intake.submit(submission).await;
    api.metrics.count_request(outcome_of(&receipt));
    answer(receipt)
}

fn read_submission(
    api: &Api,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(NewOrder, Option<String>), Problem> {
    let key = read_key(headers)?;
    if !is_json(headers) {
        return Err(Problem::new(Kind::UnsupportedMediaType, "send Content-Type: application/json"));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Kind::TooLarge, format!("a body may have {} bytes", crate::http::BODY_LIMIT_BYTES))
        }
        _ => Problem::new(Kind::Malformed, "the body could not be read to its end"),
    })?;
    Ok((NewOrder::parse(&body, &api.catalogue)?, key))
}

fn read_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(KEY_HEADER) else { return Ok(None) };
    let valid =
        |key: &&str| (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match key.to_str().ok().filter(valid) {
        Some(key) => Ok(Some(key.to_owned())),
        None => {
            let detail = format!("must be 1 to {LONGEST_KEY} visible ASCII characters");
            Err(Problem::invalid(vec![Fault::header("Idempotency-Key", detail)]))
        }
    }
}

/// A body without a type is taken for JSON: that is what it is, or the parser will say so.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn outcome_of(receipt: &Result<Receipt, IntakeError>) -> Outcome {
    match receipt {
        Ok(Receipt::Accepted { .. }) => Outcome::Accepted,
        Ok(Receipt::Replayed { .. }) => Outcome::Replayed,
        Ok(Receipt::KeyReused | Receipt::IdTaken) => Outcome::Refused,
        Err(IntakeError::Overloaded | IntakeError::Unavailable) => Outcome::Unavailable,
    }
}

fn answer(receipt: Result<Receipt, IntakeError>) -> Result<Response, Problem> {
    let (order_id, correlation_id, replayed) = match receipt {
        Ok(Receipt::Accepted { order_id, correlation_id }) => (order_id, correlation_id, false),
        Ok(Receipt::Replayed { order_id, correlation_id }) => (order_id, correlation_id, true),
        Ok(Receipt::KeyReused) => {
            return Err(Problem {
                faults: vec![Fault::header("Idempotency-Key", "was used for a request with another body")],
                ..Problem::new(Kind::IdempotencyKeyReused, "use a new key for a new order")
            });
        }
        Ok(Receipt::IdTaken) => {
            return Err(Problem::new(Kind::Conflict, "order_id belongs to another order already"));
        }
        Err(error) => return Err(Problem::unavailable(error.to_string())),
    };
    let body = Json(Accepted { order_id, correlation_id, status: "PENDING" });
    let location = [(header::LOCATION, format!("/api/v1/orders/{order_id}"))];
    let mut response = (StatusCode::ACCEPTED, location, body).into_response();
    if replayed {
        response.headers_mut().insert(REPLAYED_HEADER, header::HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Show an order.
///
/// With `wait` the answer comes when the order has ended, or after that time as it is then.
#[utoipa::path(
    get,
    path = "/api/v1/orders/{orderId}",
    tag = "orders",
    params(
        ("orderId" = String, Path, format = "uuid"),
        ("wait" = Option<String>, Query, description = "How long to wait for the order's end, such as `10s`; at most 30s.")
    ),
    responses(
        (status = 200, description = "The order.", body = OrderView),
        (status = 404, description = "There is no such order.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is at fault.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn show_order(
    State(api): State<Api>,
    Path(order_id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<OrderView>, Problem> {
    let mut faults = Vec::new();
    let order_id: Option<OrderId> =
        order_id.parse().map_err(|error| faults.push(Fault::path("orderId", format!("{error}")))).ok();
    let wait = query::read_wait(query.as_deref(), &mut faults);
    let (Some(order_id), true) = (order_id, faults.is_empty()) else {
        return Err(Problem::invalid(faults));
    };
    let mut order = read(&api.pool, order_id).await?;
    if wait > Duration::ZERO && !order.saga.status.is_terminal() {
        api.watch.until_ended(order_id, wait).await;
        order = read(&api.pool, order_id).await?;
    }
    Ok(Json(order.into()))
}

async fn read(pool: &PgPool, id: OrderId) -> Result<store::Order, Problem> {
    let found = async { store::read(&mut *pool.acquire().await?, id).await };
    found
        .await
        .map_err(unreadable)?
        .ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no order {id}")))
}

/// List orders, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/orders",
    tag = "orders",
    params(
        ("customerId" = Option<String>, Query, description = "Only this customer's orders."),
        ("status" = Option<super::view::Status>, Query, description = "Only orders in this state."),
        ("limit" = Option<u32>, Query, description = "Orders per page, 1 to 200; 50 where absent."),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before.")
    ),
    responses(
        (status = 200, description = "One page.", body = Page),
        (status = 422, description = "Parameters are at fault.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn list_orders(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<Page>, Problem> {
    let ListQuery { filter, limit } = ListQuery::parse(query.as_deref())?;
    // One more than asked for tells whether there is a next page.
    let listed = async { store::list(&mut *api.pool.acquire().await?, &filter, limit + 1).await };
    let mut orders = listed.await.map_err(unreadable)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = orders.len() > limit;
    orders.truncate(limit);
    let next_cursor = orders.last().filter(|_| more).map(query::cursor_after);
    Ok(Json(Page { orders: orders.into_iter().map(OrderView::from).collect(), next_cursor }))
}

fn unreadable(error: sqlx::Error) -> Problem {
    tracing::error!(error = %error, "orders could not be read");
    Problem::unavailable("the orders cannot be read now")
}

fn internal() -> Problem {
    Problem::new(Kind::Internal, "the failure is in the logs under this correlation id")
}
