//! The rules of the Lease: who may take it, and for how long it is good. Pure.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;

/// For how long the Lease is held, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// A Lease that has not changed for so long may be taken by others.
    pub duration: Duration,
}

impl Terms {
    /// Between two renewals: three of them may fail before work has to stop.
    pub fn renew_every(self) -> Duration {
        self.duration / 6
    }

    /// Work stops so long after the last renewal was begun. The last third is for what is under way by then:
    /// a request that has left cannot be called back.
    pub fn stop_after(self) -> Duration {
        self.duration * 2 / 3
    }

    /// Longest wait for an answer about the Lease: two attempts must fit before work has to stop.
    pub fn answer_within(self) -> Duration {
        self.duration / 4
    }
}

/// What a Lease says about its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Claim {
    holder: Option<String>,
    renewed: Option<Timestamp>,
    transitions: i32,
}

impl Claim {
    fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        Self {
            // Given back, the Lease stays there with an empty holder.
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or_default(),
        }
    }
}

/// Whose the Lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Our own.
    Ours,
    /// Anybody's: given back, or not renewed for as long as it lasts.
    Free,
    /// Somebody else's.
    Held(String),
}

/// What a candidate has seen of the Lease.
///
/// The clocks of two machines need not agree, so that the time written into a Lease says nothing. A Lease has
/// run out when it did not change for its whole duration by the clock of the one who watches it.
#[derive(Debug, Default)]
pub(super) struct Observer {
    seen: Option<(Claim, Instant)>,
}

impl Observer {
    /// Takes note of `lease` as it was read at `now`, and judges it from the view of `identity`.
    pub(super) fn judge(&mut self, lease: &Lease, identity: &str, now: Instant) -> Verdict {
        let claim = Claim::of(lease);
        let since = match &self.seen {
            Some((seen, since)) if *seen == claim => *since,
            Some(_) | None => now,
        };
        self.seen = Some((claim.clone(), since));
        let lasts = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let lasts = Duration::from_secs(u64::try_from(lasts).unwrap_or_default());
        match claim.holder {
            None => Verdict::Free,
            Some(holder) if holder == identity => Verdict::Ours,
            Some(_) if now.saturating_duration_since(since) >= lasts => Verdict::Free,
            Some(holder) => Verdict::Held(holder),
        }
    }
}

/// `current` (or a new Lease) held by `identity` from `now` on. It keeps its version, so that the apiserver
/// refuses it when anybody else was faster.
pub(super) fn held(
    current: Option<&Lease>,
    name: &str,
    identity: &str,
    terms: Terms,
    now: Timestamp,
) -> Lease {
    let mut lease = current.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: None,
    });
    let before = Claim::of(&lease);
    let keeps = before.holder.as_deref() == Some(identity);
    let old = lease.spec.take().unwrap_or_default();
    let now = MicroTime(microseconds(now));
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::try_from(terms.duration.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: if keeps { old.acquire_time } else { Some(now.clone()) },
        lease_transitions: Some(if keeps {
            before.transitions
        } else {
            before.transitions.saturating_add(1)
        }),
        renew_time: Some(now),
        ..old
    });
    lease
}

/// `current` without a holder: the next candidate need not wait.
pub(super) fn given_back(current: &Lease, now: Timestamp) -> Lease {
    let mut lease = current.clone();
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.renew_time = Some(MicroTime(microseconds(now)));
    lease
}

/// The precision in which the apiserver keeps times of Leases.
fn microseconds(now: Timestamp) -> Timestamp {
    now - SignedDuration::from_nanos(i64::from(now.subsec_nanosecond() % 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { duration: Duration::from_secs(15) };

    fn lease(holder: &str, second: i64) -> Lease {
        held(None, "operator", holder, TERMS, Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_lease_runs_out_by_the_watchers_own_clock() {
        let (mut observer, start) = (Observer::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        // Whatever the time in it: this one was renewed in 1970.
        let renewed = lease("a", 1);

        assert_eq!(observer.judge(&renewed, "b", at(0)), Verdict::Held("a".to_owned()));
        assert_eq!(observer.judge(&renewed, "b", at(14)), Verdict::Held("a".to_owned()));
        assert_eq!(observer.judge(&renewed, "b", at(15)), Verdict::Free);
        assert_eq!(observer.judge(&lease("a", 2), "b", at(16)), Verdict::Held("a".to_owned()));
        assert_eq!(observer.judge(&lease("b", 3), "b", at(17)), Verdict::Ours);
    }

    #[test]
    fn work_stops_before_anybody_else_may_begin() {
        assert!(TERMS.stop_after() < TERMS.duration);
        assert!(TERMS.renew_every() * 3 <= TERMS.stop_after());
        assert!(TERMS.answer_within() * 2 <= TERMS.stop_after());
    }

    #[test]
    fn a_lease_that_is_given_back_is_free_at_once() {
        let (mut observer, now) = (Observer::default(), Instant::now());
        let held = lease("a", 1);
        observer.judge(&held, "b", now);

        let free = given_back(&held, Timestamp::from_second(2).unwrap());

        assert_eq!(observer.judge(&free, "b", now), Verdict::Free);
    }

    #[test]
    fn taking_counts_as_a_transition_and_renewing_does_not() {
        let spec = |lease: &Lease| lease.spec.clone().unwrap();
        let first = lease("a", 1);
        let now = Timestamp::from_second(5).unwrap();

        let renewed = held(Some(&first), "operator", "a", TERMS, now);
        let taken = held(Some(&renewed), "operator", "b", TERMS, now);

        assert_eq!(spec(&renewed).acquire_time, spec(&first).acquire_time);
        assert_ne!(spec(&renewed).renew_time, spec(&first).renew_time);
        assert_eq!(spec(&renewed).lease_transitions, spec(&first).lease_transitions);
        assert_eq!(spec(&taken).lease_transitions, Some(spec(&renewed).lease_transitions.unwrap() + 1));
        assert_eq!(spec(&taken).acquire_time, Some(MicroTime(now)));
    }
}
