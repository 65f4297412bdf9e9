//! What the kubelet and Prometheus ask: `/livez`, `/readyz`, `/metrics`; and `/loglevel`, which people change.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, put};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::controller::clusters::Clusters;
use crate::controller::watches::Watches;
use crate::metrics::Metrics;
use crate::telemetry::LogLevel;

/// What the answers come from.
#[derive(Clone, Debug)]
pub struct Health {
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Whether the watches make progress.
    pub watches: Arc<Watches>,
    /// What was asked of Kafka.
    pub clusters: Arc<Clusters>,
    /// What is logged.
    pub log_level: LogLevel,
}

/// Answers on `listener` until shutdown.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(health)).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/loglevel", put(set_log_level))
        .with_state(health)
}

/// Fails when a watch has missed changes: only a restart helps then.
async fn livez(State(health): State<Health>) -> (StatusCode, String) {
    verdict(&health.watches.stuck(), "the watch has missed changes of")
}

/// Fails until every watch has seen its first list.
async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    verdict(&health.watches.unsynced(), "not listed yet:")
}

fn verdict(at_fault: &[&'static str], fault: &str) -> (StatusCode, String) {
    if at_fault.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{fault} {}\n", at_fault.join(", ")))
    }
}

async fn metrics(State(health): State<Health>) -> (StatusCode, String) {
    for (request, sent) in health.clusters.requests() {
        health.metrics.set_kafka_requests(request.into(), sent);
    }
    match health.metrics.encode() {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Logs by the filter in the body, until the process ends.
async fn set_log_level(State(health): State<Health>, filter: String) -> (StatusCode, String) {
    match health.log_level.set(filter.trim()) {
        Ok(()) => {
            tracing::info!(filter = filter.trim(), "the log level was changed");
            (StatusCode::NO_CONTENT, String::new())
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_names_what_is_at_fault() {
        assert_eq!(verdict(&[], "x").0, StatusCode::OK);

        let (status, text) = verdict(&["kafkatopic"], "not listed yet:");

        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "not listed yet: kafkatopic\n");
    }
}
