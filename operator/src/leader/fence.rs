//! What stands before every write: whether this process may still make it.
//!
//! A process can be stopped for longer than its Lease lasts, in the middle of anything, and go on as if nothing
//! had been. So the question is asked of the clock at each write, and not of a task that may not have run yet.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// This process is not, or no longer, the one that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not written: this operator does not hold the lease, another one may")]
pub struct NotLeading;

/// Until when this process may write.
#[derive(Debug)]
pub struct Fence {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Alone,
    Closed,
    Until(Instant),
}

impl Fence {
    /// For a process that shares its work with no other: always open.
    pub fn alone() -> Self {
        Self { state: Mutex::new(State::Alone) }
    }

    /// Closed until it is opened.
    pub fn closed() -> Self {
        Self { state: Mutex::new(State::Closed) }
    }

    /// Opens it until `until`.
    pub fn open(&self, until: Instant) {
        self.set(State::Until(until));
    }

    /// Closes it.
    pub fn close(&self) {
        self.set(State::Closed);
    }

    /// Whether a write may be made at `now`.
    ///
    /// # Errors
    /// [`NotLeading`] when not.
    pub fn check(&self, now: Instant) -> Result<(), NotLeading> {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Alone => Ok(()),
            State::Until(until) if now < until => Ok(()),
            State::Until(_) | State::Closed => Err(NotLeading),
        }
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn writes_end_with_the_lease_even_when_nobody_closes_the_fence() {
        let (fence, now) = (Fence::closed(), Instant::now());
        assert_eq!(fence.check(now), Err(NotLeading));

        fence.open(now + Duration::from_secs(10));

        assert_eq!(fence.check(now + Duration::from_secs(9)), Ok(()));
        assert_eq!(fence.check(now + Duration::from_secs(10)), Err(NotLeading));
        fence.close();
        assert_eq!(fence.check(now), Err(NotLeading));
        assert_eq!(Fence::alone().check(now), Ok(()));
    }
}
