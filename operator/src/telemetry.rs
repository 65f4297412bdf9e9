//! Logs: one JSON object per line on standard output, with the fields of the enclosing spans. The level can be changed
//! while the process runs.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

/// Starts logging by `directives` (`info`, or `info,operator=debug`).
///
/// # Errors
/// When `directives` cannot be understood, or logging was started before.
pub fn init(directives: &str) -> anyhow::Result<LogLevel> {
    let filter = parse(directives).context("LOG_LEVEL")?;
    let logger = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_filter_reloading();
    let handle = logger.reload_handle();
    logger.try_init().map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    Ok(LogLevel(Arc::new(move |filter| Ok(handle.reload(filter)?))))
}

fn parse(directives: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(directives).with_context(|| {
        let shown: String = directives.chars().take(200).collect();
        format!("{shown:?} is no log filter such as `info` or `info,operator=debug`")
    })
}

/// Changes what the process logs.
#[derive(Clone)]
pub struct LogLevel(Arc<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>);

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").finish_non_exhaustive()
    }
}

impl LogLevel {
    /// Logs by `directives` from now on.
    ///
    /// # Errors
    /// When `directives` cannot be understood.
    pub fn set(&self, directives: &str) -> anyhow::Result<()> {
        (self.0)(parse(directives)?)
    }
}
