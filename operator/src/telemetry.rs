//! Logs: one JSON object per line on standard output, with the fields of the enclosing spans.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

/// Starts logging by `directives` (`info`, or `info,operator=debug`).
///
/// # Errors
/// When `directives` cannot be understood, or logging was started before.
pub fn init(directives: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(directives).with_context(|| format!("LOG_LEVEL {directives:?}"))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}
