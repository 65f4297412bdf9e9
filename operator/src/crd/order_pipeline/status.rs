//! `status`: what the operator knows about a pipeline.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::conditions;

/// What the operator knows about a pipeline.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrderPipelineStatus {
    /// Generation of the spec that the rest speaks of; -1 before the first look.
    #[serde(default = "conditions::unobserved")]
    pub observed_generation: i64,

    /// Ready, TopicsReady, AccessReady, DatabaseReady, WorkloadsReady; Reconciling and Stalled only while true.
    #[serde(default)]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// What the columns of `kubectl get` show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<PipelineSummary>,

    /// What would be changed, a sentence each, where `spec.reconcilePolicy` is Plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,

    /// What is known about the databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseStatus>,

    /// What is known about the services' access to Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessStatus>,
}

/// What is known about the services' access to Kafka.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AccessStatus {
    /// Kafka users that belong to this pipeline: noted before they are created, and until they are removed.
    #[serde(default)]
    pub users: Vec<String>,

    /// Id of the Kafka cluster that they are in. A user of the same name in another one is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
}

/// What the columns of `kubectl get` show.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PipelineSummary {
    /// Topics that are ready, of those wanted: `12/12`.
    pub topics: String,
    /// Services that are ready, of those wanted: `3/3`.
    pub services: String,
}

/// What is known about the databases.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// The Job that prepared the databases last. Its name changes with what it is given, so it says which
    /// databases and passwords are in place after the Job itself is gone.
    pub prepared_by: String,
}
