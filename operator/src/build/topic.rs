//! The KafkaTopic objects of a pipeline.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::Topic;

use super::labels::{Component, PipelineId};
use crate::crd::kafka_ref::KafkaRef;
use crate::crd::kafka_topic::{AdoptionPolicy, DeletionPolicy};
use crate::crd::reconcile_policy::ReconcilePolicy;
use crate::crd::{KafkaTopic, KafkaTopicSpec};

/// A topic that the pipeline wants, all defaults resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedTopic {
    /// Which one of the catalogue.
    pub topic: Topic,
    /// Its partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replicas: i32,
    /// How long records are kept.
    pub retention: Duration,
    /// Further settings, by Kafka's names.
    pub config: BTreeMap<String, String>,
}

/// What all topics of a pipeline have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicDefaults {
    /// The cluster.
    pub kafka: KafkaRef,
    /// Put before every name.
    pub prefix: String,
    /// What happens to the topic when its object goes.
    pub deletion_policy: DeletionPolicy,
    /// What happens when the topic exists already.
    pub adoption_policy: AdoptionPolicy,
}

/// From this many copies on, a write waits for two of them: one broker can be lost without losing an
/// acknowledged order, and one can be restarted without refusing any. With fewer copies a demand for two would
/// stop all orders at the first restart.
const REPLICAS_FOR_TWO_ACKS: i32 = 3;

/// The object of one topic.
#[must_use]
pub fn build(id: &PipelineId, defaults: &TopicDefaults, wanted: &WantedTopic) -> KafkaTopic {
    let metadata = id.metadata(object_name(id, wanted.topic), Component::Topic);
    KafkaTopic {
        metadata,
        spec: KafkaTopicSpec {
            kafka: defaults.kafka.clone(),
            topic_name: Some(format!("{}{}", defaults.prefix, wanted.topic.name())),
            partitions: Some(wanted.partitions),
            replicas: Some(wanted.replicas),
            config: config(wanted),
            deletion_policy: defaults.deletion_policy,
            adoption_policy: defaults.adoption_policy,
            // The services' rights are their principals': the pipeline's own work.
            access: Vec::new(),
            reconcile_policy: ReconcilePolicy::Apply,
            suspend: false,
        },
        status: None,
    }
}

/// Name of the topic's object: `shop-orders.created`.
#[must_use]
pub fn object_name(id: &PipelineId, topic: Topic) -> String {
    format!("{}-{}", id.name, topic.name())
}

/// How much of a compacted partition is left alone: compaction passes over the newest segment, and whoever
/// restores a state from the topic reads that too. Kafka's default is a gigabyte.
const COMPACTED_SEGMENT_BYTES: u32 = 50 * 1024 * 1024;

fn config(wanted: &WantedTopic) -> BTreeMap<String, Option<String>> {
    let mut config = BTreeMap::from([
        ("cleanup.policy".to_owned(), Some(wanted.topic.spec().cleanup.as_str().to_owned())),
        // Kafka's own default is seven days too, but a broker's may be anything.
        ("retention.ms".to_owned(), Some(wanted.retention.as_millis().to_string())),
    ]);
    if wanted.topic.spec().cleanup.compacts() {
        config.insert("segment.bytes".to_owned(), Some(COMPACTED_SEGMENT_BYTES.to_string()));
    }
    if wanted.replicas >= REPLICAS_FOR_TWO_ACKS {
        config.insert("min.insync.replicas".to_owned(), Some("2".to_owned()));
    }
    config.extend(wanted.config.iter().map(|(key, value)| (key.clone(), Some(value.clone()))));
    config
}
