//! The status that a pass leaves. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Pass;
use super::validate::effective_name;
use crate::controller::outcome;
use crate::controller::status::HasConditions;
use crate::crd::conditions;
use crate::crd::{KafkaTopic, KafkaTopicStatus};

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
    let old = topic.status.clone().unwrap_or_default();
    let generation = topic.metadata.generation.unwrap_or_default();
    let facts = outcome::summary(&pass.result).facts();
    let seen = pass.observed.as_ref();
    KafkaTopicStatus {
        observed_generation: generation,
        conditions: conditions::merge(&old.conditions, facts, generation, now),
        topic_name: Some(effective_name(topic)),
        topic_id: seen.map(|topic| topic.id.to_string()).or(old.topic_id),
        partitions: seen.and_then(|topic| topic.partitions.try_into().ok()).or(old.partitions),
        replicas: seen.map(|topic| topic.replicas.into()).or(old.replicas),
    }
}
