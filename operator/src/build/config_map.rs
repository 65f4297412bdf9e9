//! The ConfigMap of a service: its environment, as far as it is no secret.

use k8s_openapi::api::core::v1::ConfigMap;

use super::labels::{Component, PipelineId};
use super::workload::Workload;

/// The ConfigMap of `workload`; its keys are names of environment variables.
#[must_use]
pub fn build(id: &PipelineId, workload: &Workload) -> ConfigMap {
    ConfigMap {
        metadata: id.metadata(id.object_name(workload.service), Component::Service(workload.service)),
        data: Some(workload.settings.clone()),
        ..ConfigMap::default()
    }
}
