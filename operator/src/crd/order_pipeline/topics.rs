//! `spec.topics`: what a pipeline's topics have in common, and what single ones have of their own.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use contract::Topic;
use kube::KubeSchema;
use kube::core::{Message, Rule};
use serde::{Deserialize, Serialize};

use super::{DURATION, not_zero_rule};
use crate::crd::kafka_topic::{AdoptionPolicy, DeletionPolicy};

/// The pipeline's topics.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopicsSpec {
    /// Partitions of each topic, that is how many replicas of a service can share its work. Can only grow.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1000))]
    #[x_kube(validation = Rule::new("self >= oldSelf")
        .message("topics.partitions can only grow: Kafka cannot take partitions away"))]
    pub partitions: i32,

    /// Copies of each partition. Default: 1 in Dev, 2 in Staging and Prod. Fixed once a topic exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,

    /// How long events are kept, such as 7d, 12h or 1d12h. Dead letters, which keep the
    /// time of their event, are kept for 14 days more, unless overridden.
    #[serde(default = "default_retention")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = not_zero_rule())]
    pub retention: String,

    /// Settings of single topics, by the topic's name without prefix, such as orders.created.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = overrides_rule())]
    pub overrides: BTreeMap<String, TopicOverride>,

    /// Put before the name of every topic and consumer group, such as `staging.`, so that several pipelines
    /// can share a Kafka cluster. Cannot be changed.
    #[serde(default)]
    #[schemars(length(max = 100), regex(pattern = r"^[a-zA-Z0-9._-]*$"))]
    pub prefix: String,

    /// What happens to the topics in Kafka when the pipeline is deleted or no longer needs them.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// What happens when a topic exists already: one that outlived another pipeline, or a service that was switched
    /// off.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

/// What one topic has that differs from the others.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopicOverride {
    /// Partitions of this topic. Can only grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: Option<i32>,

    /// Copies of each partition of this topic. Fixed once the topic exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,

    /// How long this topic's records are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = not_zero_rule())]
    pub retention: Option<String>,

    /// Kafka settings of this topic, such as `max.message.bytes: "2097152"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    // Longer ones than any setting has would make the rules about them too expensive for the API server.
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    #[x_kube(validation = Rule::new("!('retention.ms' in self)")
        .message("config[retention.ms] cannot be set; set `retention` of this topic"))]
    #[x_kube(validation = Rule::new("!('cleanup.policy' in self)")
        .message("config[cleanup.policy] cannot be set; remove it: the services rely on the catalogue's policy"))]
    pub config: BTreeMap<String, String>,
}

impl Default for TopicsSpec {
    fn default() -> Self {
        Self {
            partitions: default_partitions(),
            replicas: None,
            retention: default_retention(),
            overrides: BTreeMap::new(),
            prefix: String::new(),
            deletion_policy: DeletionPolicy::default(),
            adoption_policy: AdoptionPolicy::default(),
        }
    }
}

fn default_partitions() -> i32 {
    3
}

fn default_retention() -> String {
    "7d".to_owned()
}

fn overrides_rule() -> Rule {
    let names: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    Rule::new(format!("self.all(name, name in ['{}'])", names.join("', '"))).message(Message::Message(
        format!("topics.overrides names a topic that does not exist; there are: {}", names.join(", ")),
    ))
}
