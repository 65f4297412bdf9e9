//! Notices a call of the Kafka client that does not return.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::StreamsError;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// Knows which call a thread is in, and since when. Clones are one.
#[derive(Clone)]
pub(super) struct Watchdog {
    call: Arc<Mutex<Option<(&'static str, Instant)>>>,
    patience: Duration,
}

/// While it lives, the call is under way.
pub(super) struct Watched<'a>(&'a Watchdog);

impl Watchdog {
    pub(super) fn new(patience: Duration) -> Self {
        Self { call: Arc::default(), patience }
    }

    /// The thread enters `call`.
    pub(super) fn watch(&self, call: &'static str) -> Watched<'_> {
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = Some((call, Instant::now()));
        Watched(self)
    }

    /// Waits until a call has taken too long.
    pub(super) async fn bark(&self) -> StreamsError {
        loop {
            tokio::time::sleep(LOOK.min(self.patience)).await;
            let call = *self.call.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((call, since)) = call
                && since.elapsed() > self.patience
            {
                return StreamsError::Hung { call, seconds: since.elapsed().as_secs() };
            }
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        *self.0.call.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_does_not_return_is_named() {
        let watchdog = Watchdog::new(Duration::ZERO);
        let call = watchdog.watch("commit_transaction");

        let error = watchdog.bark().await;

        drop(call);
        assert!(matches!(error, StreamsError::Hung { call: "commit_transaction", .. }), "{error}");
    }

    #[tokio::test]
    async fn calls_that_return_are_no_cause_for_alarm() {
        let watchdog = Watchdog::new(Duration::ZERO);
        drop(watchdog.watch("commit_transaction"));

        let waited = tokio::time::timeout(Duration::from_millis(50), watchdog.bark()).await;

        assert!(waited.is_err());
    }
}
