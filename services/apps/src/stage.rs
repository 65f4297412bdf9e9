//! Parts of a process: named tasks that are watched together and stopped together.

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Parts of a process that stop together.
#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) stop: CancellationToken,
    tasks: JoinSet<(String, Result<()>)>,
}

impl Stage {
    /// Runs `work`, which ends when [`Stage::stop`] fires and never before.
    pub(crate) fn spawn(&mut self, name: String, work: impl Future<Output = Result<()>> + Send + 'static) {
        self.tasks.spawn(async move { (name, work.await) });
    }

    /// Waits for a part to end, which none does by itself. Never returns while the stage is empty.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok((name, Ok(())))) => anyhow::anyhow!("{name} ended by itself"),
            Some(Ok((name, Err(error)))) => error.context(format!("{name} failed")),
            Some(Err(panicked)) => anyhow::Error::new(panicked).context("a part of the process panicked"),
            None => std::future::pending().await,
        }
    }

    /// Stops all parts and waits for them until `deadline`.
    pub(crate) async fn drain(&mut self, deadline: Instant) {
        self.stop.cancel();
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await {
            match ended {
                Ok((name, Ok(()))) => tracing::debug!("{name} has stopped"),
                Ok((name, Err(error))) => {
                    tracing::warn!(error = format!("{error:#}"), "{name} failed to stop")
                }
                Err(error) => tracing::warn!(error = %error, "a part of the process panicked while stopping"),
            }
        }
        if !self.tasks.is_empty() {
            tracing::warn!(left = self.tasks.len(), "parts of the process did not stop in time");
            self.tasks.shutdown().await;
        }
    }
}
