//! What is ahead of a reader of a partition, up to where it ended when the reader began. Pure.

use std::time::{Duration, Instant};

/// How long records may still come after the client said that it is at the end.
const SETTLE_WAIT: Duration = Duration::from_secs(2);

/// What is ahead in a partition.
#[derive(Debug)]
pub(crate) struct Ahead {
    next: i64,
    /// Where it ended when we began.
    high: i64,
    /// From where on the client's word for the end is taken at once.
    sure: i64,
    /// Since when the client says that nothing more comes.
    ended_at: Option<Instant>,
}

impl Ahead {
    /// A partition that has offsets from `low` up to and without `high`.
    pub(crate) const fn of(low: i64, high: i64) -> Self {
        Self { next: low, high, sure: high, ended_at: None }
    }

    /// One that is written in transactions only: its last offset is a marker, for which no record comes.
    pub(crate) const fn of_transactions(low: i64, high: i64) -> Self {
        Self { sure: high - 1, ..Self::of(low, high) }
    }

    /// Where the partition ended when we began.
    pub(crate) const fn high(&self) -> i64 {
        self.high
    }

    /// Notes that the record at `offset` came. Whether it is one of those that are waited for.
    pub(crate) const fn take(&mut self, offset: i64) -> bool {
        self.next = offset + 1;
        if self.next < self.sure {
            // It was not the end. The client says so again at the next one.
            self.ended_at = None;
        }
        offset < self.high
    }

    /// Notes that the client says that nothing more comes.
    pub(crate) fn end(&mut self, now: Instant) {
        self.ended_at.get_or_insert(now);
    }

    /// The last place may be no record: a transaction's marker has an offset as well. So the client's word is
    /// taken for it, but not at once: a record that the broker had was once missed by it, under load.
    pub(crate) fn is_done(&self, now: Instant) -> bool {
        let settled =
            |ended_at| self.next >= self.sure || now.saturating_duration_since(ended_at) >= SETTLE_WAIT;
        self.next >= self.high || self.ended_at.is_some_and(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_done_once_the_last_record_came() {
        let (mut ahead, now) = (Ahead::of(3, 6), Instant::now());

        assert!(!ahead.is_done(now));
        assert!(ahead.take(3) && ahead.take(4) && !ahead.is_done(now));
        assert!(ahead.take(5) && ahead.is_done(now));
        assert!(!ahead.take(6), "it came after the end that was");
        assert!(Ahead::of(6, 6).is_done(now));
    }

    #[test]
    fn an_end_that_is_told_too_early_is_not_believed_at_once() {
        let (mut ahead, now) = (Ahead::of(0, 3), Instant::now());
        ahead.take(0);

        ahead.end(now);
        ahead.end(now + SETTLE_WAIT / 2);

        assert!(!ahead.is_done(now + SETTLE_WAIT / 2));
        assert!(ahead.is_done(now + SETTLE_WAIT));
    }

    #[test]
    fn records_that_come_after_an_early_end_are_all_waited_for() {
        let (mut ahead, now) = (Ahead::of(0, 3), Instant::now());
        ahead.end(now);

        ahead.take(0);

        assert!(!ahead.is_done(now + 2 * SETTLE_WAIT), "records still come");
        ahead.end(now + 2 * SETTLE_WAIT);
        assert!(ahead.is_done(now + 3 * SETTLE_WAIT));
    }

    #[test]
    fn a_marker_at_the_end_is_not_waited_for() {
        let (mut ahead, now) = (Ahead::of_transactions(0, 3), Instant::now());
        ahead.take(0);
        ahead.end(now);
        assert!(!ahead.is_done(now), "a record is missing");

        ahead.take(1);

        assert!(ahead.is_done(now));
        let mut compacted = Ahead::of_transactions(2, 3);
        assert!(!compacted.is_done(now));
        compacted.end(now);
        assert!(compacted.is_done(now));
    }
}
