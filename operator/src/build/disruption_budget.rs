//! The PodDisruptionBudget of a service: nodes are drained one pod of it at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{Component, PipelineId};
use super::workload::Workload;

/// The budget of `workload`; none where it never has more than one pod, which a budget could only keep from moving.
#[must_use]
pub fn maybe_build(id: &PipelineId, workload: &Workload) -> Option<PodDisruptionBudget> {
    if workload.fewest_replicas() < 2 {
        return None;
    }
    let component = Component::Service(workload.service);
    let selector = LabelSelector { match_labels: Some(id.selector(component)), ..LabelSelector::default() };
    Some(PodDisruptionBudget {
        metadata: id.metadata(id.object_name(workload.service), component),
        spec: Some(PodDisruptionBudgetSpec {
            // One, not a share: the partitions of a pod that goes are taken over by the others meanwhile.
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector),
            // By default a pod that never became ready holds up the drain of its node for good.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
