//! The HTTP layer every public API shares: correlation ids, problem details for every refusal, tokens, body limit,
//! time limit, request metrics, and a server that stops without breaking a request.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use contract::{CorrelationId, Service};
use prometheus::{HistogramOpts, HistogramVec, Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::auth::{self, Guard};
use crate::problem::{Fault, Kind, Problem};

/// Name of the header that carries the correlation id, in both directions.
pub const CORRELATION_HEADER: &str = "x-correlation-id";

/// The largest body that is read. The largest valid order (100 items, every text at its limit) needs 30 KiB.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// The longest a `GET` may wait for news, whatever it asks for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The longest any request is worked on: the longest wait and five seconds to answer. Ingress controllers
/// give up after 60 s, and the caller is better served by our problem than by theirs.
const REQUEST_LIMIT: Duration = Duration::from_secs(35);

/// The request metrics, registered once per process and shared by its services.
#[derive(Debug, Clone)]
pub struct Metrics {
    latency: HistogramVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// The registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let latency = HistogramVec::new(
            HistogramOpts::new(
                "http_server_request_duration_seconds",
                "Time to answer public requests; long polls are counted with the time they waited.",
            )
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0]),
            &["service", "method", "route", "status"],
        )?;
        registry.register(Box::new(latency.clone()))?;
        Ok(Self { latency })
    }
}

/// Wraps the routes of one service in everything they share. The guard, if there is one, is inside what counts and
/// marks requests, so that those it refuses are found and counted as well.
pub fn public(service: Service, routes: Router, metrics: &Metrics, guard: Option<&Guard>) -> Router {
    let metered = Metered { service: service.name(), latency: metrics.latency.clone() };
    let routes = routes
        .fallback(|| async { Problem::new(Kind::NotFound, "no resource has this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::MethodNotAllowed, "this resource does not know the method")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES));
    auth::guarded(routes, guard)
        .layer(from_fn(limit_time))
        .layer(from_fn_with_state(metered, measure))
        .layer(from_fn(correlate))
}

#[derive(Clone)]
struct Metered {
    service: &'static str,
    latency: HistogramVec,
}

/// Serves `router` until `shutdown`, then accepts nothing new and finishes what was begun.
///
/// # Errors
/// When the socket fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), std::io::Error> {
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.cancelled().await }).await
}

/// The correlation id of the request, and whether the caller chose it.
#[derive(Debug, Clone)]
pub struct Correlation(pub CorrelationId);

async fn correlate(mut request: Request<Body>, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let (id, fault) = match correlation_of(&request) {
        Ok(id) => (id, None),
        // The answer still needs an id of its own, so that the refusal can be found in the logs.
        Err(fault) => (minted(), Some(fault)),
    };
    let header = HeaderValue::from_str(id.as_str()).ok();
    let span = tracing::info_span!("request", correlation_id = id.as_str(), http.path = %path);
    request.extensions_mut().insert(Correlation(id.clone()));
    let answered = async {
        match fault {
            Some(fault) => Problem::invalid(vec![fault]).into_response(),
            None => next.run(request).await,
        }
    };
    let response = answered.instrument(span).await;
    let mut response = complete(response, &path, id.as_str());
    if let Some(header) = header {
        response.headers_mut().insert(CORRELATION_HEADER, header);
    }
    response
}

fn correlation_of(request: &Request<Body>) -> Result<CorrelationId, Fault> {
    let Some(given) = request.headers().get(CORRELATION_HEADER) else { return Ok(minted()) };
    given
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Fault::header("X-Correlation-Id", "must be 1 to 128 visible ASCII characters"))
}

fn minted() -> CorrelationId {
    CorrelationId::from(Uuid::now_v7())
}

/// Writes the body of a problem, whoever found it: a handler, or axum itself (which answers plain text).
fn complete(response: Response, path: &str, correlation_id: &str) -> Response {
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None => match foreign(response.status()) {
            Some(problem) => problem,
            None => return response,
        },
    };
    let mut complete = problem.body(Some(path), Some(correlation_id)).into_response_of(problem.kind);
    if let Some(challenge) = response.headers().get(header::WWW_AUTHENTICATE) {
        complete.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.clone());
    }
    complete
}

/// The problem behind a refusal that axum wrote without asking us.
fn foreign(status: StatusCode) -> Option<Problem> {
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    Some(if status == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(Kind::TooLarge, format!("a body may have {BODY_LIMIT_BYTES} bytes"))
    } else if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        Problem::new(Kind::UnsupportedMediaType, "send Content-Type: application/json")
    } else if status.is_client_error() {
        Problem::new(Kind::Malformed, "the request does not fit this resource")
    } else {
        Problem::new(Kind::Internal, "the failure is in the logs under this correlation id")
    })
}

async fn limit_time(request: Request<Body>, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => Problem::new(
            Kind::TimedOut,
            format!("no answer within {} s; the request may still take effect", REQUEST_LIMIT.as_secs()),
        )
        .into_response(),
    }
}

async fn measure(State(metered): State<Metered>, request: Request<Body>, next: Next) -> Response {
    let method = method_label(request.method());
    // The pattern, never the path: ids must not become label values.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let started = Instant::now();
    let response = next.run(request).await;
    metered
        .latency
        .with_label_values(&[metered.service, method, route.as_str(), response.status().as_str()])
        .observe(started.elapsed().as_secs_f64());
    response
}

/// Methods are the caller's to choose: anything unusual shares one label.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
