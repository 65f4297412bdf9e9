//! Logs: one JSON object per line on standard output, with the fields of the enclosing spans, among them
//! `correlation_id`. The level can be changed while the process runs.

use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// Why a text is not a log filter.
#[derive(Debug, thiserror::Error)]
#[error("{filter:?} is not a log filter such as `info` or `warn,orders=debug`")]
pub struct InvalidFilter {
    filter: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// Why logging could not be changed or started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be parsed.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// Another subscriber was installed first; a process has one.
    #[error("could not install the logger")]
    Install(#[source] tracing_subscriber::util::TryInitError),
    /// The logger is gone.
    #[error("could not change the log level")]
    Reload(#[source] reload::Error),
}

/// Parses a filter in the syntax of `tracing_subscriber::EnvFilter`.
///
/// # Errors
/// When it is not one.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, InvalidFilter> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|source| InvalidFilter { filter: filter.chars().take(200).collect(), source })
}

/// Changes what the process logs.
#[derive(Clone)]
pub struct LogLevel {
    change: Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

impl LogLevel {
    /// Installs the process's logger. To be called once, before anything is logged.
    ///
    /// # Errors
    /// When `filter` is none, or a logger is installed already.
    pub fn install(filter: &str) -> Result<Self, TelemetryError> {
        let (filter, handle) = reload::Layer::new(parse_filter(filter)?);
        let json = fmt::layer()
            .json()
            .flatten_event(true)
            // The innermost span's fields are enough to find a line; the list repeats them per level.
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stdout);
        Registry::default().with(json.with_filter(filter)).try_init().map_err(TelemetryError::Install)?;
        Ok(Self { change: Arc::new(move |filter| handle.reload(filter)) })
    }

    /// A level that nothing listens to, for processes that keep their own logger (tests, embedding).
    pub fn unmanaged() -> Self {
        Self { change: Arc::new(|_filter| Ok(())) }
    }

    /// Logs by `filter` from now on.
    ///
    /// # Errors
    /// When `filter` is none.
    pub fn set(&self, filter: &str) -> Result<(), TelemetryError> {
        (self.change)(parse_filter(filter)?).map_err(TelemetryError::Reload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_or_directives() {
        for good in ["info", "warn,orders=debug", "messaging=trace"] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }

        let error = parse_filter("orders=loud").unwrap_err();
        assert!(error.to_string().contains("orders=loud"), "{error}");
    }
}
