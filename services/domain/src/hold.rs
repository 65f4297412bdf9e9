//! When a deadline may end something. A deadline is for those who do not answer; it must not end what was answered
//! long ago, where only the one who waits could not hear it: because it was away itself, or the way to it was cut.
//!
//! Whoever cannot be sure to hear extends a [`Hold`], again and again while that lasts. It is one for all replicas of
//! a service, because each sweeps what belongs to any. While something is held no deadline counts; after it,
//! everybody has had a whole time limit in which an answer would have been heard.

use std::time::Duration;

use jiff::Timestamp;

use crate::after;

/// A time in which answers may have gone unheard, and the time that they are given afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// When it began.
    pub since: Timestamp,
    /// When it ends, if it is not extended.
    pub until: Timestamp,
}

/// How long deadlines are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldTerms {
    /// How long answers must have been heard before a deadline counts again: the time limit itself.
    pub patience: Duration,
    /// How long a hold may last. Then deadlines count nevertheless: nothing waits for ever.
    pub limit: Duration,
}

impl HoldTerms {
    /// The hold that follows on `before` when, at `now`, answers may go unheard.
    #[must_use]
    pub fn extended(&self, before: Hold, now: Timestamp) -> Hold {
        let since = if before.until < now { now } else { before.since };
        Hold { since, until: after(now, self.patience).max(before.until) }
    }

    /// Whether deadlines count at `now`.
    #[must_use]
    pub fn allow(&self, hold: Hold, now: Timestamp) -> bool {
        hold.until < now || after(hold.since, self.limit) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: HoldTerms = HoldTerms { patience: Duration::from_secs(30), limit: Duration::from_secs(600) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a second of the first hour")
    }

    /// A hold that was extended at each of these seconds.
    fn extended_at(seconds: impl IntoIterator<Item = i64>) -> Hold {
        let none = Hold { since: at(0), until: at(0) };
        seconds.into_iter().fold(none, |hold, second| TERMS.extended(hold, at(second)))
    }

    #[test]
    fn deadlines_count_again_a_whole_time_limit_after_the_last_doubt() {
        let hold = extended_at(100..=200);

        assert_eq!(hold, Hold { since: at(100), until: at(230) });
        assert!(!TERMS.allow(hold, at(230)));
        assert!(TERMS.allow(hold, at(231)));
    }

    #[test]
    fn doubt_without_end_holds_deadlines_no_longer_than_the_limit() {
        let hold = extended_at(100..=699);

        assert!(!TERMS.allow(hold, at(699)));
        assert!(TERMS.allow(TERMS.extended(hold, at(700)), at(700)));
    }

    #[test]
    fn a_hold_that_was_over_begins_anew() {
        // Nobody was there from 200 to 5,000: the time away does not count as held.
        let hold = extended_at((100..=200).chain([5_000]));

        assert_eq!(hold, Hold { since: at(5_000), until: at(5_030) });
        assert!(!TERMS.allow(hold, at(5_000)));
    }

    #[test]
    fn a_replica_with_a_slow_clock_takes_nothing_from_a_hold() {
        let hold = extended_at([200, 195]);

        assert_eq!(hold, Hold { since: at(200), until: at(230) });
    }
}
