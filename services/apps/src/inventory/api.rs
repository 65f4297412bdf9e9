//! The inventory's HTTP API: look at stock, count it, add to it.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use contract::{CorrelationId, Envelope, ProductId};
use domain::stock::{StockError, StockLevel};
use jiff::Timestamp;
use messaging::Outbox;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{OpenApi, ToSchema};

use crate::auth::BearerAuth;
use crate::body::{Faults, Object};
use crate::http::Correlation;
use crate::problem::{Fault, Kind, Problem, ProblemBody, unreachable};

use super::handler::{is_awaited, updated};
use super::store::{self, Stock};
use super::waker::Waker;

/// Most units that one request sets or adds: far above any delivery, far below what could overflow.
const MOST_UNITS: u32 = 1_000_000_000;
/// Products per page, if the caller does not say.
const DEFAULT_PAGE: u32 = 50;
/// Most products per page.
const LARGEST_PAGE: u32 = 200;

/// What the routes need.
#[derive(Debug, Clone)]
pub(super) struct Api {
    /// The inventory's database.
    pub pool: PgPool,
    /// Where changes are announced.
    pub outbox: Outbox,
    /// Told when there is stock for those who wait.
    pub waker: Waker,
}

/// The OpenAPI document of the inventory.
#[derive(OpenApi)]
#[openapi(
    info(title = "Inventory", description = "The stock of each product: look at it, count it, add to it."),
    paths(list, read, set, restock),
    components(schemas(ProblemBody)),
    modifiers(&BearerAuth)
)]
struct Document;

/// The routes of the inventory.
pub(super) fn routes(api: Api) -> Router {
    Router::new()
        .route("/api/v1/inventory", get(list))
        .route("/api/v1/inventory/{productId}", get(read).put(set))
        .route("/api/v1/inventory/{productId}/restock", post(restock))
        .route("/openapi.json", get(|| async { Json(Document::openapi()) }))
        .with_state(api)
}

/// The stock of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StockBody {
    /// The product.
    #[schema(example = "burger")]
    pub product_id: String,
    /// Units that nobody holds; orders may wait for some of them.
    pub on_hand: u64,
    /// Units held for orders that are not decided yet.
    pub reserved: u64,
    /// Units sold since the product is known.
    pub sold: u64,
    /// Units that orders wait for.
    pub backordered: u64,
    /// Units that a new order can get.
    pub available: u64,
    /// When any of this last changed.
    pub updated_at: String,
}

impl From<&Stock> for StockBody {
    fn from(stock: &Stock) -> Self {
        Self {
            product_id: stock.product_id.to_string(),
            on_hand: stock.level.on_hand,
            reserved: stock.level.reserved,
            sold: stock.level.sold,
            backordered: stock.level.backordered,
            available: stock.level.available(),
            updated_at: stock.updated_at.to_string(),
        }
    }
}

/// A page of products, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StockPage {
    /// The products.
    pub items: Vec<StockBody>,
    /// Where the next page begins; none on the last.
    pub next_cursor: Option<String>,
}

/// Sets the units that nobody holds.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
struct CountBody {
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    on_hand: u32,
}

/// Adds units.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
struct RestockBody {
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    quantity: u32,
}

/// Which page.
#[derive(Debug, Deserialize)]
struct PageQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

/// List products by name.
#[utoipa::path(
    get, path = "/api/v1/inventory", tag = "inventory",
    params(
        ("limit" = Option<u32>, Query, description = "Products per page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before.")
    ),
    responses(
        (status = 200, body = StockPage),
        (status = 422, description = "The query is at fault.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn list(State(api): State<Api>, Query(query): Query<PageQuery>) -> Result<Json<StockPage>, Problem> {
    let limit = query.limit.map_or(Ok(DEFAULT_PAGE), |text| text.parse());
    let limit = limit.ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)).ok_or_else(|| {
        let detail = format!("must be a whole number from 1 to {LARGEST_PAGE}");
        Problem::invalid(vec![Fault::query("limit", detail)])
    })?;
    let after = query.cursor.map(|cursor| cursor.parse::<ProductId>()).transpose().map_err(|_invalid| {
        Problem::invalid(vec![Fault::query("cursor", "must be the nextCursor of a page")])
    })?;
    let mut conn = api.pool.acquire().await.map_err(failed)?;
    // One more than asked for tells whether there is a next page.
    let mut page = store::list(&mut conn, after.as_ref(), i64::from(limit) + 1).await.map_err(failed)?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = page.len() > size;
    page.truncate(size);
    let next_cursor = page.last().filter(|_| more).map(|stock| stock.product_id.to_string());
    Ok(Json(StockPage { items: page.iter().map(StockBody::from).collect(), next_cursor }))
}

/// Show the stock of a product.
#[utoipa::path(
    get, path = "/api/v1/inventory/{productId}", tag = "inventory",
    params(("productId" = String, Path)),
    responses(
        (status = 200, body = StockBody),
        (status = 404, description = "There is no such product.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn read(State(api): State<Api>, Path(product): Path<String>) -> Result<Json<StockBody>, Problem> {
    let product = product_id(&product)?;
    let mut conn = api.pool.acquire().await.map_err(failed)?;
    let stock = store::read(&mut conn, &product).await.map_err(failed)?;
    stock.as_ref().map(|stock| Json(stock.into())).ok_or_else(|| unknown(&product))
}

/// Set the units of a product that nobody holds, as after a count. Introduces the product if it is new.
#[utoipa::path(
    put, path = "/api/v1/inventory/{productId}", tag = "inventory",
    params(("productId" = String, Path)),
    request_body(content = CountBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The stock was set.", body = StockBody),
        (status = 201, description = "The product is new.", body = StockBody),
        (status = 422, description = "The body is at fault.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn set(
    State(api): State<Api>,
    Extension(Correlation(story)): Extension<Correlation>,
    Path(product): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let product = product_id(&product)?;
    let on_hand = units(&body, "onHand", 0)?;
    let (stock, new) =
        api.change(&product, story, WhenUnknown::Introduce, |level| level.set(on_hand.into())).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(StockBody::from(&stock))).into_response())
}

/// Add delivered units to a product.
#[utoipa::path(
    post, path = "/api/v1/inventory/{productId}/restock", tag = "inventory",
    params(("productId" = String, Path)),
    request_body(content = RestockBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The units were added.", body = StockBody),
        (status = 404, description = "There is no such product.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The body is at fault.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn restock(
    State(api): State<Api>,
    Extension(Correlation(story)): Extension<Correlation>,
    Path(product): Path<String>,
    body: Bytes,
) -> Result<Json<StockBody>, Problem> {
    let product = product_id(&product)?;
    let quantity = units(&body, "quantity", 1)?;
    let (stock, _) =
        api.change(&product, story, WhenUnknown::Refuse, |level| level.restock(quantity)).await?;
    Ok(Json(StockBody::from(&stock)))
}

/// What to do about a product that has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenUnknown {
    Introduce,
    Refuse,
}

impl Api {
    /// Changes the stock of a product and announces it. Says whether the product is new.
    async fn change(
        &self,
        product: &ProductId,
        story: CorrelationId,
        when_unknown: WhenUnknown,
        change: impl FnOnce(StockLevel) -> Result<StockLevel, StockError>,
    ) -> Result<(Stock, bool), Problem> {
        let now = Timestamp::now();
        let mut tx = self.pool.begin().await.map_err(failed)?;
        let new = match when_unknown {
            WhenUnknown::Introduce => store::introduce(&mut tx, product, now).await.map_err(failed)?,
            WhenUnknown::Refuse => false,
        };
        let level = store::lock(&mut tx, product).await.map_err(failed)?.ok_or_else(|| unknown(product))?;
        let level = change(level).map_err(|error| Problem::new(Kind::Conflict, error.to_string()))?;
        let stock = Stock { product_id: product.clone(), level, updated_at: now };
        store::save_level(&mut tx, &stock).await.map_err(failed)?;
        let news = Envelope::new(updated(product, level).into(), story, now);
        self.outbox.append(&mut tx, &[news]).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        self.outbox.notify();
        if is_awaited(level) {
            self.waker.wake();
        }
        Ok((stock, new))
    }
}

fn product_id(text: &str) -> Result<ProductId, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid(vec![Fault::path("productId", format!("is invalid: {error}"))]))
}

fn units(body: &[u8], field: &'static str, least: u32) -> Result<u32, Problem> {
    let mut faults = Faults::default();
    let units = Object::parse(body)?.integer(field, least..=MOST_UNITS, &mut faults);
    faults.into_result()?;
    units.ok_or_else(|| Problem::new(Kind::Malformed, format!("{field} is missing")))
}

fn unknown(product: &ProductId) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no product {product}"))
}

fn failed<E: std::error::Error + 'static>(error: E) -> Problem {
    unreachable("inventory")(error)
}
