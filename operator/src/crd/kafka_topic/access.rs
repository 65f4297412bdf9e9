//! `spec.access`: who may do what with the topic, and what is remembered of that.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumIter, IntoStaticStr};

/// What a principal may do with the topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessRule {
    /// Who, as Kafka says it: `User:analytics`; `User:CN=analytics` for one with a certificate.
    #[schemars(length(max = 256), regex(pattern = r"^User:.+$"))]
    #[x_kube(validation = Rule::new("self != 'User:*'")
        .message("access for everybody (User:*) is not granted; name each principal"))]
    pub principal: String,
    /// What it may do. Read, Write, Delete and Alter include Describe.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub operations: Vec<TopicOperation>,
    /// From which address, as the brokers see it; `*` is any.
    #[serde(default = "any_host")]
    #[schemars(regex(pattern = r"^(\*|[0-9a-fA-F.:]{2,45})$"))]
    pub host: String,
}

/// What may be done with a topic, in Kafka's words. `All` is left out: an operation that Kafka learns one day would be
/// in it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    EnumIter,
    IntoStaticStr,
)]
pub enum TopicOperation {
    /// Consume.
    Read,
    /// Produce.
    Write,
    /// Create the topic.
    Create,
    /// Delete the topic or records.
    Delete,
    /// Add partitions.
    Alter,
    /// See that it is there, and its offsets.
    Describe,
    /// See its settings.
    DescribeConfigs,
    /// Change its settings.
    AlterConfigs,
}

/// The ACLs that belong to this object. They are noted before they are created, so that each can be revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicAccessStatus {
    /// Id of the Kafka cluster that they are in.
    pub cluster_id: String,
    /// What they allow. ACLs that were there before, although the spec names them, are not among them.
    #[serde(default)]
    pub granted: Vec<GrantedAccess>,
}

/// What a principal may do because of this object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantedAccess {
    /// Who.
    pub principal: String,
    /// What.
    pub operations: Vec<TopicOperation>,
    /// From which address; `*` is any.
    pub host: String,
}

/// Where nothing else is said.
fn any_host() -> String {
    "*".to_owned()
}
