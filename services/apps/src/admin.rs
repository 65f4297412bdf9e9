//! The port for machines: probes, metrics and the log level. Never reachable from outside the cluster.
//!
//! `/livez` asks whether the loops move, `/readyz` whether work can be taken, `/startupz` whether the start is
//! over, `/actuator/health` the same as readiness in Spring Boot's shape, for tools that know it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use futures::future::{BoxFuture, join_all};
use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::json;

use crate::health::{Finding, Health, Phase};
use crate::telemetry::LogLevel;

/// How long gauges may take to be derived; a scrape without them is better than none.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

/// How old derived gauges may be. They are counted in the database: several scrapers, or an impatient one, must not
/// become its load. Less than any usual scrape interval.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// Sets the gauges that are derived rather than counted.
pub type Refresh = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The metrics of a process. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Exposition {
    registry: Registry,
    refreshes: Arc<Mutex<Vec<Refresh>>>,
    /// When they were called last.
    refreshed: Arc<Mutex<Option<Instant>>>,
}

impl Exposition {
    /// Where metrics are registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Calls `refresh` before a scrape, unless it was called a moment ago.
    pub fn refresh_with(&self, refresh: Refresh) {
        self.refreshes.lock().unwrap_or_else(PoisonError::into_inner).push(refresh);
    }

    async fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.refresh().await;
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    async fn refresh(&self) {
        if !self.is_refresh_due() {
            return;
        }
        let refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refreshed = join_all(refreshes.iter().map(|refresh| refresh()));
        if tokio::time::timeout(REFRESH_TIMEOUT, refreshed).await.is_err() {
            tracing::warn!("gauges could not be derived in time; this scrape shows their last values");
        }
    }

    fn is_refresh_due(&self) -> bool {
        let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        let due = refreshed.is_none_or(|last| last.elapsed() >= REFRESH_INTERVAL);
        if due {
            *refreshed = Some(Instant::now());
        }
        due
    }
}

#[derive(Clone)]
struct Admin {
    health: Health,
    metrics: Exposition,
    log_level: LogLevel,
}

/// The routes of the admin port.
pub fn router(health: Health, metrics: Exposition, log_level: LogLevel) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/actuator/health", get(actuator))
        .route("/metrics", get(scrape))
        .route("/loglevel", put(set_log_level))
        .with_state(Admin { health, metrics, log_level })
}

async fn livez(State(admin): State<Admin>) -> Response {
    plain(&admin.health.liveness())
}

async fn readyz(State(admin): State<Admin>) -> Response {
    plain(&admin.health.readiness().await)
}

async fn startupz(State(admin): State<Admin>) -> Response {
    let phase = admin.health.phase();
    let result = match phase {
        Phase::Starting => Err("starting".to_owned()),
        Phase::Serving | Phase::Draining => Ok(()),
    };
    plain(&[Finding { name: "startup".to_owned(), result }])
}

/// Kubernetes's own form: a line per check, so that `kubectl describe pod` shows which one failed.
fn plain(findings: &[Finding]) -> Response {
    let mut text = String::new();
    for finding in findings {
        let line = match &finding.result {
            Ok(()) => format!("[+] {} ok\n", finding.name),
            Err(reason) => format!("[-] {} {reason}\n", finding.name),
        };
        text.push_str(&line);
    }
    (status(findings), text).into_response()
}

async fn actuator(State(admin): State<Admin>) -> Response {
    let findings = admin.health.readiness().await;
    let components: serde_json::Map<_, _> = findings
        .iter()
        .map(|finding| {
            let component = match &finding.result {
                Ok(()) => json!({ "status": "UP" }),
                Err(reason) => json!({ "status": "DOWN", "details": { "error": reason } }),
            };
            (finding.name.clone(), component)
        })
        .collect();
    let status = status(&findings);
    let overall = if status == StatusCode::OK { "UP" } else { "DOWN" };
    (status, Json(json!({ "status": overall, "components": components }))).into_response()
}

fn status(findings: &[Finding]) -> StatusCode {
    let healthy = findings.iter().all(|finding| finding.result.is_ok());
    if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn scrape(State(admin): State<Admin>) -> Response {
    match admin.metrics.text().await {
        Ok(text) => {
            ([(header::CONTENT_TYPE, TextEncoder::new().format_type().to_owned())], text).into_response()
        }
        Err(error) => {
            tracing::error!(error = %error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn set_log_level(State(admin): State<Admin>, filter: String) -> Response {
    match admin.log_level.set(filter.trim()) {
        Ok(()) => {
            tracing::info!(filter = filter.trim(), "the log level was changed");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use futures::FutureExt;
    use prometheus::IntGauge;
    use tower::ServiceExt;

    use super::*;

    async fn get_status(health: &Health, path: &str) -> StatusCode {
        let router = router(health.clone(), Exposition::default(), LogLevel::unmanaged());
        router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn probes_follow_the_phase() {
        let health = Health::default();

        for (phase, startup, readiness) in
            [(Phase::Starting, 503, 503), (Phase::Serving, 200, 200), (Phase::Draining, 200, 503)]
        {
            health.enter(phase);
            assert_eq!(get_status(&health, "/startupz").await, startup, "{phase:?}");
            assert_eq!(get_status(&health, "/readyz").await, readiness, "{phase:?}");
            assert_eq!(get_status(&health, "/actuator/health").await, readiness, "{phase:?}");
            assert_eq!(get_status(&health, "/livez").await, 200, "{phase:?}");
        }
    }

    #[tokio::test]
    async fn gauges_are_derived_at_scrape() {
        let metrics = Exposition::default();
        let gauge = IntGauge::new("answers", "Answers.").unwrap();
        metrics.registry().register(Box::new(gauge.clone())).unwrap();
        metrics.refresh_with(Arc::new(move || {
            gauge.set(42);
            std::future::ready(()).boxed()
        }));

        let text = String::from_utf8(metrics.text().await.unwrap()).unwrap();

        assert!(text.contains("answers 42"), "{text}");
    }
}
