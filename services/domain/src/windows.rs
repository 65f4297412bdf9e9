//! Windows of event time: which window an event belongs to, and when a window has heard enough.
//!
//! Time is told by the events alone. *Stream time* is the latest time that a partition has shown; it never goes
//! back. A window ends `grace` after its last moment, measured in stream time, and an event that comes for it
//! later is *late*. So what is late follows from the order of a partition's records and from nothing else: a
//! replay comes to the same decision for every record, whatever the clock on the wall says.

use jiff::{SignedDuration, Timestamp};

/// Windows of one length that follow each other without gap or overlap, aligned to the epoch: windows of an
/// hour begin at full hours UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tumbling {
    size_ms: i64,
    grace_ms: i64,
}

/// Windows that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindows {
    /// No event could be in one.
    #[error("a window must be at least a millisecond long")]
    Size,
    /// A window cannot close before it is over.
    #[error("the grace of a window must not be negative")]
    Grace,
}

/// One window: from `start`, which belongs to it, to `end`, which belongs to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

impl Tumbling {
    /// Windows of `size` that wait `grace` longer for what is under way. There is no default grace: how late
    /// events come is known by those who send them, and every hour of it is an hour of state.
    ///
    /// # Errors
    /// A size of nothing, or a negative grace.
    pub fn new(size: SignedDuration, grace: SignedDuration) -> Result<Self, InvalidWindows> {
        let milliseconds = |duration: SignedDuration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let (size_ms, grace_ms) = (milliseconds(size), milliseconds(grace));
        if size_ms <= 0 {
            return Err(InvalidWindows::Size);
        }
        if grace.is_negative() {
            return Err(InvalidWindows::Grace);
        }
        Ok(Self { size_ms, grace_ms })
    }

    /// The window that `at` lies in.
    #[must_use]
    pub fn of(&self, at: Timestamp) -> Window {
        self.starting(at.as_millisecond().div_euclid(self.size_ms).saturating_mul(self.size_ms))
    }

    /// When the window that starts at `start` closes.
    #[must_use]
    pub fn closes_at(&self, start: Timestamp) -> Timestamp {
        timestamp(start.as_millisecond().saturating_add(self.size_ms).saturating_add(self.grace_ms))
    }

    /// The first moment after the window that starts at `start`.
    #[must_use]
    pub fn end_of(&self, start: Timestamp) -> Timestamp {
        timestamp(start.as_millisecond().saturating_add(self.size_ms))
    }

    fn starting(&self, start_ms: i64) -> Window {
        let start = timestamp(start_ms);
        Window { start, end: self.end_of(start) }
    }
}

/// The moment, or the last one there is.
fn timestamp(milliseconds: i64) -> Timestamp {
    let bound = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(milliseconds).unwrap_or(bound)
}

/// The latest time that a partition has shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamTime(Option<Timestamp>);

impl StreamTime {
    /// Stream time as it was noted down before; none where nothing was read yet.
    #[must_use]
    pub const fn at(time: Option<Timestamp>) -> Self {
        Self(time)
    }

    /// The time, once an event has shown one.
    #[must_use]
    pub const fn get(self) -> Option<Timestamp> {
        self.0
    }

    /// An event of time `at` was read. Whether time moved.
    pub fn advance(&mut self, at: Timestamp) -> bool {
        let moved = self.0.is_none_or(|now| now < at);
        if moved {
            self.0 = Some(at);
        }
        moved
    }

    /// Whether `moment` has come.
    #[must_use]
    pub fn has_reached(self, moment: Timestamp) -> bool {
        self.0.is_some_and(|now| moment <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn hours(grace: SignedDuration) -> Tumbling {
        Tumbling::new(SignedDuration::from_hours(1), grace).unwrap()
    }

    #[test]
    fn windows_are_aligned_to_the_epoch_and_half_open() {
        let hours = hours(SignedDuration::ZERO);

        for (moment, start) in [
            ("2026-03-20T09:00:00Z", "2026-03-20T09:00:00Z"),
            ("2026-03-20T09:59:59.999Z", "2026-03-20T09:00:00Z"),
            ("2026-03-20T10:00:00Z", "2026-03-20T10:00:00Z"),
            ("1969-12-31T23:30:00Z", "1969-12-31T23:00:00Z"),
        ] {
            let window = hours.of(at(moment));
            assert_eq!(window.start, at(start), "{moment}");
            assert_eq!(window.end, hours.of(window.end).start, "{moment}");
        }
    }

    #[test]
    fn a_window_closes_when_its_grace_is_over() {
        let hours = hours(SignedDuration::from_mins(10));
        let closes = hours.closes_at(at("2026-03-20T09:00:00Z"));
        let mut time = StreamTime::default();

        assert!(!time.has_reached(closes), "nothing was read");
        time.advance(at("2026-03-20T10:09:59.999Z"));
        assert!(!time.has_reached(closes));
        time.advance(at("2026-03-20T10:10:00Z"));
        assert!(time.has_reached(closes));
    }

    #[test]
    fn stream_time_never_goes_back() {
        let mut time = StreamTime::default();

        assert!(time.advance(at("2026-03-20T10:00:00Z")));
        assert!(!time.advance(at("2026-03-20T09:00:00Z")));
        assert_eq!(time.get(), Some(at("2026-03-20T10:00:00Z")));
    }

    #[test]
    fn the_ends_of_time_are_bounds_and_not_errors() {
        let hours = hours(SignedDuration::MAX);

        for moment in [Timestamp::MIN, Timestamp::MAX] {
            assert!(hours.closes_at(hours.of(moment).start) >= moment, "{moment}");
        }
    }

    #[test]
    fn impossible_windows_are_refused() {
        let hour = SignedDuration::from_hours(1);

        assert_eq!(Tumbling::new(SignedDuration::ZERO, hour), Err(InvalidWindows::Size));
        assert_eq!(Tumbling::new(hour, -hour), Err(InvalidWindows::Grace));
    }
}
