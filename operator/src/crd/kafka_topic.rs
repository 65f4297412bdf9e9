//! `KafkaTopic`: one topic of a Kafka cluster.
//!
//! Strimzi has a kind of the same name; `kubectl` and RBAC therefore always say `kafkatopics.orderpipeline.dev`.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

mod access;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

pub use access::{AccessRule, GrantedAccess, TopicAccessStatus, TopicOperation};

use super::conditions;
use super::kafka_ref::KafkaRef;
use super::reconcile_policy::ReconcilePolicy;

/// A topic, what it is configured with, and what happens to it when this object goes.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "orderpipeline.dev",
    version = "v1alpha1",
    kind = "KafkaTopic",
    plural = "kafkatopics",
    shortname = "ptopic",
    category = "order-system",
    namespaced,
    status = "KafkaTopicStatus",
    doc = "A topic of a Kafka cluster, kept as its spec says.",
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "(has(self.spec.topicName) ? self.spec.topicName : self.metadata.name) == \
         (has(oldSelf.spec.topicName) ? oldSelf.spec.topicName : oldSelf.metadata.name)"
    )
    .message("topicName is immutable: create another KafkaTopic for another topic")
    .field_path(".spec.topicName"),
    validation = Rule::new("has(self.spec.topicName) || self.metadata.name.size() <= 249")
        .message("Kafka takes topic names of up to 249 characters: set spec.topicName"),
    validation = in_sync_rule()
)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTopicSpec {
    /// The cluster that the topic is in. In another one than before, the topic is created or adopted there, and the
    /// former one stays where it is.
    pub kafka: KafkaRef,
    /// Name of the topic; the name of this object without it. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    #[x_kube(
        validation = Rule::new("self != '.' && self != '..'").message("Kafka reserves the names '.' and '..'"),
        validation = Rule::new("!self.startsWith('__')").message("names that begin with '__' belong to Kafka itself")
    )]
    pub topic_name: Option<String>,
    /// Number of partitions; it can only grow. The broker's default, and hands off afterwards, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    #[x_kube(
        validation = Rule::new("self >= oldSelf")
            .message("partitions can only grow: Kafka cannot take partitions away from a topic")
    )]
    pub partitions: Option<i32>,
    /// Replicas of each partition. The broker's default, and hands off afterwards, without it.
    /// A change is refused: replicas are moved with Kafka's own tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub replicas: Option<i32>,
    /// Settings of the topic by Kafka's names (`retention.ms`), as strings, in any writing that Kafka reads as the same
    /// value. `null` leaves a setting to others; a setting that is not listed follows the broker's default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128))]
    pub config: BTreeMap<String, Option<String>>,
    /// What happens to the topic and its data when this object is deleted. With Delete both go, if it still is the
    /// topic that the object stood for, and no other object stands for it.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// What happens when the topic exists already and was not created for this object. `IfIdentical`: it is taken
    /// over if it is as the spec says, and left alone otherwise. `Adopt`: it is taken over and changed. `Refuse`: it
    /// is left alone.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// Who may do what with the topic, as ACLs for exactly this topic. They are taken back when they are removed
    /// here, and with this object, whatever happens to the topic. ACLs of others stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend(
        "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["principal", "host"]
    ))]
    pub access: Vec<AccessRule>,
    /// Whether the topic is changed to what the spec says, or only compared with it: what would be changed stands in
    /// `status.plan`. With `Plan` it is not changed at the end of this object either.
    #[serde(default, skip_serializing_if = "ReconcilePolicy::is_default")]
    pub reconcile_policy: ReconcilePolicy,
    /// Leaves the topic alone, neither compared nor changed, until it is false again. Deleting this object
    /// meanwhile leaves the topic there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// With more in-sync replicas demanded than there are replicas, no write with `acks=all` ever succeeds. Values are any
/// string, or null; what is no number the broker refuses.
fn in_sync_rule() -> Rule {
    Rule::new(
        "!has(self.spec.replicas) || !has(self.spec.config) || !('min.insync.replicas' in self.spec.config) || \
         type(self.spec.config['min.insync.replicas']) != string || \
         !self.spec.config['min.insync.replicas'].matches('^[0-9]{1,9}$') || \
         int(self.spec.config['min.insync.replicas']) <= self.spec.replicas",
    )
    .message(
        "config[min.insync.replicas] is more than replicas, so that nothing could be written; lower the first or raise \
         the second",
    )
    .field_path(".spec.config")
}

/// What happens to a topic when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
pub enum DeletionPolicy {
    /// The topic stays, with its data.
    #[default]
    Retain,
    /// The topic is deleted, with its data, if it is still the one that this object stood for.
    Delete,
}

/// What happens when a topic exists before its object does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
pub enum AdoptionPolicy {
    /// It is taken over and changed to what the spec says.
    Adopt,
    /// It is left alone.
    Refuse,
    /// It is taken over if it already is what the spec says, and left alone otherwise.
    #[default]
    IfIdentical,
}

/// What is known about the topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTopicStatus {
    /// Generation of the spec that the rest speaks of; -1 before the first look.
    #[serde(default = "conditions::unobserved")]
    pub observed_generation: i64,
    /// `Ready`, and `Reconciling` (waiting helps) or `Stalled` (somebody has to act) while they are true.
    #[serde(default)]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,
    /// Name of the topic in Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// Kafka's id of the topic that this object stands for; another topic of the same name has another id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// Id of the Kafka cluster that this topic is in, whatever its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Partitions that the topic has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Replicas that its partitions have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// The topic that is about to be created, until it was seen: should the operator end meanwhile, the next one
    /// knows the topic by it, whatever the spec has become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creating: Option<AnnouncedTopic>,
    /// The ACLs that `spec.access` made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<TopicAccessStatus>,
    /// What would be changed if `spec.reconcilePolicy` were `Apply`, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// Value of the annotation `orderpipeline.dev/reconcile-now` when the topic was last looked at because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// A topic as it is about to be created; the broker decides on what is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnouncedTopic {
    /// Id of the Kafka cluster that it is to be in: in another one, a topic of this name is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Number of partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Replicas of each partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u16>,
    /// Settings by Kafka's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}
