//! How long to wait before trying again.

use std::time::Duration;

use rand::Rng;

/// Exponential backoff with jitter: the nth wait is between half and all of `first` × 2ⁿ, at most `most`.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    waits: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, waits: 0 }
    }

    /// The wait after `waits` others.
    pub(crate) fn after(first: Duration, most: Duration, waits: u32) -> Duration {
        Self { first, most, waits }.next()
    }

    /// The next wait. Jitter, because replicas that lost a database together would return together.
    pub(crate) fn next(&mut self) -> Duration {
        let full = self.first.saturating_mul(2_u32.saturating_pow(self.waits)).min(self.most);
        self.waits = self.waits.saturating_add(1);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Starts over, after a success.
    pub(crate) fn reset(&mut self) {
        self.waits = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

        for full in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next();
            assert!(
                wait >= Duration::from_millis(full / 2) && wait <= Duration::from_millis(full),
                "{wait:?}"
            );
        }

        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }

    #[test]
    fn a_long_outage_does_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

        for _ in 0..1000 {
            assert!(backoff.next() <= Duration::from_secs(10));
        }
    }
}
