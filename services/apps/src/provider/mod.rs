//! Work that needs somebody outside: a payment provider, a carrier. Shared by the services that ask one.
//!
//! A service says what its [`record`] is and, as a [`desk::Clerk`], what it asks for; the rest is the same for all.
//! A request is a row, written by the [`book`] in the transaction of its event and handed to the [`worker`] after
//! the commit.
//! The worker asks outside of any transaction, many at once, and saves the answers together. No answer is no
//! answer: the provider is asked again under the same key, which it must honour, after growing waits, and not
//! at all while the [`breaker`] is open. A crash forgets nothing: a row is due again when its lease is over.

pub mod book;
pub mod breaker;
pub mod desk;
pub mod gate;
pub mod pending;
pub mod record;
pub mod simulator;
pub mod worker;

use std::time::Duration;

use domain::after;
use jiff::Timestamp;
use rand::Rng;

/// Why there is no answer. Whether the provider acted is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It was not asked: it did not answer others before.
    #[error("the provider is not asked while it fails")]
    NotAsked,
    /// It did not answer in time.
    #[error("the provider did not answer in time")]
    TimedOut,
    /// It answered that it cannot answer, or the way to it is cut.
    #[error("{0}")]
    Failed(String),
}

/// The first wait before a provider is asked again; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest: a provider that is back is noticed within this time.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Makes a wait of 1.6 s, half of which is a little less than a breaker's rest.
const NOT_ASKED_DOUBLINGS: u32 = 3;

/// When to ask again after `attempts` without an answer; with none, because nobody is asked now. With jitter, so
/// that the requests that met one outage do not all come back at once.
#[must_use]
pub fn ask_again_at(attempts: i32, now: Timestamp) -> Timestamp {
    let doublings = match attempts {
        // An open breaker is asked about no sooner than it can have closed.
        ..1 => NOT_ASKED_DOUBLINGS,
        _ => u32::try_from(attempts - 1).unwrap_or(0).min(16),
    };
    let full = FIRST_WAIT.saturating_mul(2_u32.pow(doublings)).min(LONGEST_WAIT);
    after(now, full.mul_f64(rand::rng().random_range(0.5..=1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        let now = Timestamp::UNIX_EPOCH;

        for (attempts, full) in [(0, 1_600), (1, 200), (2, 400), (3, 800), (10, 5_000), (i32::MAX, 5_000)] {
            let wait = ask_again_at(attempts, now).as_millisecond();
            assert!((full / 2..=full).contains(&wait), "{attempts}: {wait}");
        }
    }
}
