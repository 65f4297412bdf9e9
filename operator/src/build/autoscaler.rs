//! The HorizontalPodAutoscaler of a service, by CPU.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, ResourceMetricSource,
};

use super::labels::{Component, PipelineId};
use super::workload::{Autoscaling, Workload};

/// How long fewer pods must have been enough before one is taken away: each change moves partitions, which halts
/// them for a moment. Kubernetes' default, stated because the services rely on it.
const SCALE_DOWN_SECONDS: i32 = 300;

/// The autoscaler of `workload`, where it is asked for.
#[must_use]
pub fn maybe_build(id: &PipelineId, workload: &Workload) -> Option<HorizontalPodAutoscaler> {
    let scaling = workload.autoscaling.as_ref()?;
    let name = id.object_name(workload.service);
    Some(HorizontalPodAutoscaler {
        metadata: id.metadata(name.clone(), Component::Service(workload.service)),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name,
            },
            min_replicas: Some(scaling.min_replicas),
            max_replicas: scaling.max_replicas,
            metrics: Some(vec![cpu(scaling)]),
            behavior: Some(HorizontalPodAutoscalerBehavior {
                scale_down: Some(HPAScalingRules {
                    stabilization_window_seconds: Some(SCALE_DOWN_SECONDS),
                    ..HPAScalingRules::default()
                }),
                scale_up: None,
            }),
        }),
        status: None,
    })
}

fn cpu(scaling: &Autoscaling) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(scaling.target_cpu),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}
