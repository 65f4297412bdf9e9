//! What follows from a failed attempt. Pure: one table.

use super::chain;
use crate::HandleError;
use crate::dead_letter::{Class, Grounds};

/// What to do after a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Wait until what is missing is back, then try the same again. No attempt was spent.
    Wait { reason: String },
    /// One of several is at fault: try each half.
    Halve,
    /// Park the one event, to be tried again after a while; its key waits, the others go on.
    Park,
    /// Give the one event up.
    GiveUp(Grounds),
}

/// Judges `error`, which ended the attempt number `attempt` (from 1) at `events` events, of which a single
/// one gets at most `attempts_max`.
pub(super) fn judge(error: &HandleError, events: usize, attempt: u32, attempts_max: u32) -> Verdict {
    match error {
        HandleError::Unavailable { .. } => Verdict::Wait { reason: chain(error) },
        HandleError::Permanent { .. } | HandleError::Transient { .. } if events > 1 => Verdict::Halve,
        HandleError::Permanent { .. } => Verdict::GiveUp(grounds(Class::Rejected, "rejected", error)),
        HandleError::Transient { .. } if attempt < attempts_max => Verdict::Park,
        HandleError::Transient { .. } => {
            Verdict::GiveUp(grounds(Class::RetriesExhausted, "retries_exhausted", error))
        }
    }
}

/// The name of the kind of error, for the metric.
pub(super) const fn kind(error: &HandleError) -> &'static str {
    match error {
        HandleError::Permanent { .. } => "permanent",
        HandleError::Transient { .. } => "transient",
        HandleError::Unavailable { .. } => "unavailable",
    }
}

fn grounds(class: Class, reason: &'static str, error: &HandleError) -> Grounds {
    Grounds { class, reason, message: error.to_string(), details: chain(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_waited_for_however_often_it_was_met() {
        let error = HandleError::unavailable("no database");

        for (events, attempt) in [(1, 1), (500, 1), (1, u32::MAX)] {
            let verdict = judge(&error, events, attempt, 3);
            assert_eq!(verdict, Verdict::Wait { reason: "no database".to_owned() });
        }
    }

    #[test]
    fn a_failing_batch_is_halved_before_anyone_is_blamed() {
        assert_eq!(judge(&HandleError::permanent("bad"), 2, 1, 3), Verdict::Halve);
        assert_eq!(judge(&HandleError::transient("bad"), 500, 1, 3), Verdict::Halve);
    }

    #[test]
    fn a_permanent_error_gives_the_event_up_at_once() {
        let verdict = judge(&HandleError::permanent("bad"), 1, 1, 3);

        assert!(matches!(verdict, Verdict::GiveUp(Grounds { class: Class::Rejected, .. })), "{verdict:?}");
    }

    #[test]
    fn a_transient_error_parks_the_event_until_its_last_attempt() {
        let error = HandleError::transient_because("busy", std::io::Error::other("locked"));

        assert_eq!(judge(&error, 1, 2, 3), Verdict::Park);
        let Verdict::GiveUp(grounds) = judge(&error, 1, 3, 3) else { panic!("should have been given up") };
        assert_eq!(grounds.class, Class::RetriesExhausted);
        assert_eq!(grounds.message, "busy");
        assert_eq!(grounds.details, "busy: locked");
    }
}
