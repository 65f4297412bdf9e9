//! `spec.access`: as whom the services speak to Kafka.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// As whom the services speak to Kafka, and who sees to it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AccessSpec {
    /// Who sees to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AccessMode>,
}

/// Who sees to the services' access to Kafka. Managed: the operator gives each service a user of its own, with a
/// password in the service's Secret and ACLs for its own topics, group and transactional ids, and takes them back
/// when the service goes; where Strimzi runs the Kafka, by a `KafkaUser`. Shared: all services use the credentials
/// that `kafka` names. Default: Managed where services log in with SCRAM or Strimzi runs the Kafka, Shared elsewhere.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// The operator: one user per service. It needs the rights Alter and Describe on the cluster for it.
    Managed,
    /// Whoever runs the Kafka cluster: one user for all services.
    Shared,
}
