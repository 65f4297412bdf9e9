//! Waiting: for a dependency that is away, visibly, and until shutdown at most.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ConsumerState;
use super::inbound::Inbound;
use crate::metrics::ServiceMetrics;

/// Shutdown came before the end; nothing was done that the next consumer could not do again.
pub(super) struct Abandoned;

/// How somebody waits.
pub(super) struct Waits {
    shutdown: CancellationToken,
    shown: Option<Shown>,
}

/// Where a wait shows.
pub(super) struct Shown {
    pub(super) inbound: Arc<Inbound>,
    pub(super) metrics: ServiceMetrics,
    pub(super) state: watch::Sender<ConsumerState>,
}

impl Waits {
    /// Waits that are the consumer's state: while they last, nothing is handled.
    pub(super) fn shown(shutdown: CancellationToken, shown: Shown) -> Self {
        Self { shutdown, shown: Some(shown) }
    }

    /// Waits beside which the consumer goes on.
    pub(super) fn aside(shutdown: CancellationToken) -> Self {
        Self { shutdown, shown: None }
    }

    /// Waits for a dependency.
    pub(super) async fn wait_for(&self, reason: String, wait: Duration) -> Result<(), Abandoned> {
        match &self.shown {
            Some(shown) => shown.waiting(reason),
            None => tracing::warn!(reason, ?wait, "parked events wait"),
        }
        self.pause(wait).await
    }

    /// Notes that every dependency answers.
    pub(super) fn recovered(&self) {
        if let Some(shown) = &self.shown {
            shown.recovered();
        }
    }

    /// Waits, unless shutdown comes first.
    pub(super) async fn pause(&self, wait: Duration) -> Result<(), Abandoned> {
        self.unless_stopped(tokio::time::sleep(wait)).await
    }

    /// What `future` gives, unless shutdown comes first.
    pub(super) async fn unless_stopped<F: Future>(&self, future: F) -> Result<F::Output, Abandoned> {
        tokio::select! {
            () = self.shutdown.cancelled() => Err(Abandoned),
            output = future => Ok(output),
        }
    }

    /// Ends when a shutdown has waited for `patience`.
    pub(super) async fn drained(&self, patience: Duration) {
        self.shutdown.cancelled().await;
        tokio::time::sleep(patience).await;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.shutdown.is_cancelled()
    }
}

impl Shown {
    fn waiting(&self, reason: String) {
        self.inbound.set_stalled(true);
        self.metrics.paused(true);
        let waiting = ConsumerState::Waiting { reason };
        self.state.send_if_modified(|state| {
            let news = *state != waiting;
            if news {
                tracing::warn!(state = ?waiting, "the consumer pauses; nothing is lost and no attempt is spent");
                *state = waiting;
            }
            news
        });
    }

    fn recovered(&self) {
        let recovered = self.state.send_if_modified(|state| {
            let waited = matches!(state, ConsumerState::Waiting { .. });
            if waited {
                *state = ConsumerState::Running;
            }
            waited
        });
        if recovered {
            tracing::info!("the consumer goes on");
            self.metrics.paused(false);
            self.inbound.set_stalled(false);
        }
    }
}
