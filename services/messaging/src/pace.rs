//! Rounds at a pace: what arrives between two of them is gathered into the next.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// From the beginning of a round to that of the next, at least. A round (a transaction, a request to the broker, and
/// what everybody behind it does with its few events) costs much the same for one event as for hundreds, and without
/// a pace the rounds of all services take the whole machine at any load. `docs/performance.md` has what other values
/// gave.
const INTERVAL: Duration = Duration::from_millis(20);

/// Keeps rounds apart. The first after a quiet while is not delayed, so that a lone event never waits.
#[derive(Debug, Default)]
pub struct Pace {
    next: Option<Instant>,
}

impl Pace {
    /// Waits until the next round may begin.
    pub async fn wait(&self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
    }

    /// Notes that a round begins.
    pub fn begin(&mut self) {
        self.next = Some(Instant::now() + INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_first_round_begins_at_once_and_the_next_after_the_interval() {
        let mut pace = Pace::default();
        assert!(pace.wait().now_or_never().is_some());

        let begin = Instant::now();
        pace.begin();
        pace.wait().await;

        assert!(begin.elapsed() >= INTERVAL);
        assert!(pace.wait().now_or_never().is_some(), "time that has passed is not waited for again");
    }
}
