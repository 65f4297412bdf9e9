//! The status that a pass leaves. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::Pass;
use super::validate::effective_name;
use crate::controller::outcome;
use crate::controller::status::HasConditions;
use crate::crd::conditions::{self, ConditionType, Fact, State, Summary};
use crate::crd::{KafkaTopic, KafkaTopicStatus, RECONCILE_NOW};

/// Reason of `Ready` while the object is suspended.
pub const SUSPENDED: &str = "Suspended";

/// Longest value of the annotation that is echoed: a time or an id, and no more.
const REQUEST_MAX_CHARS: usize = 128;

impl HasConditions for KafkaTopicStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

/// The status of `topic` after `pass`.
///
/// What was known of the topic stays when the pass could not see it: a cluster that is away for a minute
/// does not make the topic another one.
pub fn compute(topic: &KafkaTopic, pass: &Pass, now: Timestamp) -> KafkaTopicStatus {
    let seen = pass.observed.as_ref();
    let summary = outcome::summary(&pass.result);
    let stalled = matches!(summary, Summary::Stalled(_));
    let before = with_conditions(topic, summary.facts(), now);
    KafkaTopicStatus {
        topic_id: seen.map(|topic| topic.id.to_string()).or(before.topic_id),
        cluster_id: seen.and(pass.cluster_id.clone()).or(before.cluster_id),
        partitions: seen.and_then(|topic| topic.partitions.try_into().ok()).or(before.partitions),
        replicas: seen.map(|topic| topic.replicas.into()).or(before.replicas),
        // It stands until the topic was seen or is decided not to be had: without it nobody would know, after an answer
        // that was lost, whose the topic is. A password that is wrong meanwhile says nothing about the topic.
        creating: before.creating.filter(|_| seen.is_none() && !(stalled && pass.claim.is_some())),
        access: pass.access.clone().or(before.access).filter(|access| !access.granted.is_empty()),
        plan: pass.pending.clone(),
        last_handled_reconcile_at: asked_for(topic).or(before.last_handled_reconcile_at),
        ..before
    }
}

/// The status of a suspended object: how its topic is now, nobody knows.
pub fn suspended(topic: &KafkaTopic, now: Timestamp) -> KafkaTopicStatus {
    let message = "the topic is left alone while spec.suspend is true";
    let unknown = Fact::new(ConditionType::Ready, State::Unknown, SUSPENDED, message);
    KafkaTopicStatus { plan: Vec::new(), ..with_conditions(topic, vec![unknown], now) }
}

/// What the status says already, with these conditions.
fn with_conditions(topic: &KafkaTopic, facts: Vec<Fact>, now: Timestamp) -> KafkaTopicStatus {
    let old = topic.status.clone().unwrap_or_default();
    let generation = topic.metadata.generation.unwrap_or_default();
    KafkaTopicStatus {
        observed_generation: generation,
        conditions: conditions::merge(&old.conditions, facts, generation, now),
        topic_name: Some(effective_name(topic)),
        ..old
    }
}

/// Value of the annotation that asks for a look now.
fn asked_for(topic: &KafkaTopic) -> Option<String> {
    let value = topic.annotations().get(RECONCILE_NOW)?;
    Some(value.chars().take(REQUEST_MAX_CHARS).collect())
}

/// Whether somebody asks for a look that nobody has taken yet.
pub fn is_asked_for(topic: &KafkaTopic) -> bool {
    let asked = asked_for(topic);
    let handled = topic.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
    asked.is_some() && asked.as_ref() != handled
}
