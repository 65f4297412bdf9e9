//! A circuit breaker: stops asking a provider that does not answer, so that it can recover and requests do not
//! spend their time on it. Pure: it is told the time.

use std::time::{Duration, Instant};

/// Failures in a row after which the provider counts as down.
const FAILURES: u32 = 10;
/// How long it is then left alone before one request tries it.
const REST: Duration = Duration::from_secs(1);
/// How long a trial may take before another is let through: longer than any call's own limit.
const TRIAL: Duration = Duration::from_secs(5);

/// Whether the provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// It answers: everybody may ask.
    Closed,
    /// It does not answer: nobody asks.
    Open,
    /// One request tries whether it answers again.
    HalfOpen,
}

/// The breaker of one provider.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    failures: u32,
    /// When the next trial may begin; none while closed.
    trial_at: Option<Instant>,
    trying: bool,
}

impl Breaker {
    /// Whether a request may ask at `now`. Whoever may, has to tell how it went.
    pub fn admits(&mut self, now: Instant) -> bool {
        match self.trial_at {
            None => true,
            Some(trial_at) if trial_at <= now => {
                // Until it is over, or lost with its request, it is the only one.
                self.trial_at = Some(now + TRIAL);
                self.trying = true;
                true
            }
            Some(_) => false,
        }
    }

    /// The provider answered, whatever the answer was.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// The provider did not answer.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.trial_at = Some(now + REST);
            self.trying = false;
        }
    }

    /// Whether the provider is asked.
    #[must_use]
    pub fn state(&self) -> State {
        match (self.trial_at, self.trying) {
            (None, _) => State::Closed,
            (Some(_), true) => State::HalfOpen,
            (Some(_), false) => State::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.failed(now));
        breaker
    }

    #[test]
    fn single_failures_do_not_open_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());

        for _ in 0..100 {
            (1..FAILURES).for_each(|_| breaker.failed(now));
            assert!(breaker.admits(now));
            breaker.answered();
        }
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn an_open_breaker_admits_one_trial_after_a_rest() {
        let now = Instant::now();
        let mut breaker = open(now);

        assert_eq!((breaker.state(), breaker.admits(now)), (State::Open, false));
        assert!(breaker.admits(now + REST));
        assert_eq!((breaker.state(), breaker.admits(now + REST)), (State::HalfOpen, false));
    }

    #[test]
    fn a_trial_decides() {
        let now = Instant::now();
        let (mut good, mut bad) = (open(now), open(now));
        assert!(good.admits(now + REST) && bad.admits(now + REST));

        good.answered();
        bad.failed(now + REST);

        assert_eq!((good.state(), good.admits(now + REST)), (State::Closed, true));
        assert_eq!((bad.state(), bad.admits(now + REST)), (State::Open, false));
        assert!(bad.admits(now + REST + REST));
    }

    #[test]
    fn a_trial_that_got_lost_is_followed_by_another() {
        let now = Instant::now();
        let mut breaker = open(now);
        assert!(breaker.admits(now + REST));

        assert!(!breaker.admits(now + REST + TRIAL / 2));
        assert!(breaker.admits(now + REST + TRIAL));
    }
}
