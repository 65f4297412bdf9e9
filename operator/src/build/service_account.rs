//! The ServiceAccount of a service: an identity for policies, without a token.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::labels::{Component, PipelineId};
use super::workload::Workload;

/// The ServiceAccount of `workload`.
#[must_use]
pub fn build(id: &PipelineId, workload: &Workload) -> ServiceAccount {
    ServiceAccount {
        metadata: id.metadata(id.object_name(workload.service), Component::Service(workload.service)),
        // The services never talk to Kubernetes; a token would only be something to steal.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
