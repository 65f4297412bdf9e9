//! Changes of what objects depend on, told to whoever listens.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Changes that may wait to be looked at; whoever is so far behind is told that anything may have changed.
const WAITING: usize = 1024;

/// Tells changes.
#[derive(Debug)]
pub struct Teller<T>(broadcast::Sender<T>);

impl<T: Clone> Default for Teller<T> {
    fn default() -> Self {
        Self(broadcast::Sender::new(WAITING))
    }
}

impl<T: Clone> Teller<T> {
    /// Tells of `change`.
    pub fn tell(&self, change: T) {
        // Nobody may listen.
        let _ = self.0.send(change);
    }

    /// The changes from now on.
    pub fn changes(&self) -> Changes<T> {
        Changes(self.0.subscribe())
    }
}

/// Changes from some time on.
#[derive(Debug)]
pub struct Changes<T>(broadcast::Receiver<T>);

impl<T: Clone> Changes<T> {
    /// Calls `react` for each change, for as long as it is polled; with none, when more have changed than can be told.
    pub async fn each(mut self, react: impl Fn(Option<&T>)) {
        loop {
            match self.0.recv().await {
                Ok(change) => react(Some(&change)),
                Err(RecvError::Lagged(_)) => react(None),
                // The teller lives as long as the operator.
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}
