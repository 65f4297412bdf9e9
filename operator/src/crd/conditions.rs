//! Conditions by the rules of kstatus, which is what Flux, Argo CD and `kubectl wait` compute readiness from.
//!
//! `Ready` is always present. `Reconciling` and `Stalled` are there only while they are true and never
//! both: the first says "wait", the second "waiting will not help". Types and reasons are API: they are
//! listed here, documented, and never given another meaning.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strum::{EnumIter, IntoStaticStr};

/// Types of the conditions that our kinds carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumIter)]
pub enum ConditionType {
    /// The object does what its spec says.
    Ready,
    /// Work is under way or is being retried; present only while true.
    Reconciling,
    /// Retrying cannot help: somebody has to act; present only while true.
    Stalled,
    /// Every topic of a pipeline exists as asked for.
    TopicsReady,
    /// Principals, passwords and ACLs of a pipeline are in place.
    AccessReady,
    /// Databases of a pipeline's services are prepared.
    DatabaseReady,
    /// Every service of a pipeline runs as many ready replicas as asked for.
    WorkloadsReady,
}

impl ConditionType {
    /// The type as it stands in `status.conditions[].type`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
pub enum State {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It is not known yet.
    Unknown,
}

impl State {
    /// The state as it stands in `status.conditions[].status`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What a reconcile pass learned about one aspect of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Which aspect.
    pub kind: ConditionType,
    /// Whether it holds.
    pub state: State,
    /// One CamelCase word, for `kubectl get`.
    pub reason: String,
    /// A sentence, for `kubectl describe`: what, why and, where something is wrong, the remedy.
    pub message: String,
}

impl Fact {
    /// A fact about `kind`.
    pub fn new(
        kind: ConditionType,
        state: State,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, state, reason: reason.into(), message: message.into() }
    }
}

/// The one answer about a whole object, from which the three kstatus conditions follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Summary {
    /// Done.
    Ready(Explanation),
    /// Under way, waiting or failing and being retried.
    Reconciling(Explanation),
    /// Not possible until somebody changes something.
    Stalled(Explanation),
}

/// Reason and message of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// One CamelCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl Explanation {
    /// `reason` and the sentence that goes with it.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }
}

impl Summary {
    /// `Ready`, and `Reconciling` or `Stalled` where they are true.
    pub fn facts(self) -> Vec<Fact> {
        let (ready, extra, Explanation { reason, message }) = match self {
            Self::Ready(why) => (State::True, None, why),
            Self::Reconciling(why) => (State::False, Some(ConditionType::Reconciling), why),
            Self::Stalled(why) => (State::False, Some(ConditionType::Stalled), why),
        };
        let mut facts = vec![Fact::new(ConditionType::Ready, ready, &reason, &message)];
        if let Some(kind) = extra {
            facts.push(Fact::new(kind, State::True, reason, message));
        }
        facts
    }
}

/// Turns `facts` into the list for `status.conditions`, one entry per type, ordered by type.
///
/// An entry whose status is unchanged keeps its `lastTransitionTime`. Conditions of `old` that have no
/// fact are dropped: the caller states all it knows, every time.
pub fn merge(old: &[Condition], facts: Vec<Fact>, generation: i64, now: Timestamp) -> Vec<Condition> {
    let mut facts = facts;
    facts.sort_by_key(|fact| fact.kind);
    facts.dedup_by_key(|fact| fact.kind);
    facts.into_iter().map(|fact| condition(old, fact, generation, now)).collect()
}

fn condition(old: &[Condition], fact: Fact, generation: i64, now: Timestamp) -> Condition {
    let status = fact.state.name();
    let since = find(old, fact.kind).filter(|c| c.status == status).map(|c| c.last_transition_time.clone());
    Condition {
        type_: fact.kind.name().to_owned(),
        status: status.to_owned(),
        reason: fact.reason,
        message: fact.message,
        observed_generation: Some(generation),
        last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(now))),
    }
}

/// Kubernetes stores condition times in whole seconds; anything finer would differ from what is read back.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The condition of type `kind`, if there is one.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == kind.name())
}

/// Whether `kind` is present and True.
pub fn is_true(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|c| c.status == State::True.name())
}

/// `observedGeneration` of a status that nobody has written yet.
pub fn unobserved() -> i64 {
    -1
}

/// Schema of `status.conditions`: a list-map keyed by type, so that server-side apply merges by type.
pub fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = <Vec<Condition> as schemars::JsonSchema>::json_schema(generator);
    schema.insert("x-kubernetes-list-type".to_owned(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".to_owned(), serde_json::json!(["type"]));
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready() -> Vec<Fact> {
        Summary::Ready(Explanation::new("Synced", "all is well")).facts()
    }

    fn stalled() -> Vec<Fact> {
        Summary::Stalled(Explanation::new("InvalidSpec", "partitions must be positive")).facts()
    }

    #[test]
    fn ready_is_always_present_and_explained_by_at_most_one_other() {
        let waiting = Summary::Reconciling(Explanation::new("Creating", "")).facts();

        for facts in [ready(), stalled(), waiting] {
            let names: Vec<_> = facts.iter().map(|f| f.kind).collect();
            assert_eq!(names[0], ConditionType::Ready);
            assert!(names.len() <= 2);
        }
    }

    #[test]
    fn transition_time_moves_only_when_the_status_flips() {
        let first = merge(&[], ready(), 1, at(10));

        let same = merge(&first, ready(), 2, at(20));
        let flipped = merge(&same, stalled(), 3, at(30));

        assert_eq!(same[0].last_transition_time, Time(at(10)));
        assert_eq!(same[0].observed_generation, Some(2));
        assert_eq!(flipped[0].last_transition_time, Time(at(30)));
        assert!(is_true(&flipped, ConditionType::Stalled));
    }

    #[test]
    fn stalled_disappears_once_it_is_no_longer_true() {
        let before = merge(&[], stalled(), 1, at(10));

        let after = merge(&before, ready(), 2, at(20));

        assert!(find(&after, ConditionType::Stalled).is_none());
        assert!(is_true(&after, ConditionType::Ready));
    }

    #[test]
    fn an_equal_pass_gives_an_equal_list() {
        let first = merge(&[], ready(), 1, at(10));

        assert_eq!(merge(&first, ready(), 1, at(99)), first);
    }
}
