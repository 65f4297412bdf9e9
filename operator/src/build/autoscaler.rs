//! What decides how many pods a service has, where the pipeline does not: a HorizontalPodAutoscaler by CPU, or KEDA by
//! lag as well.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, ResourceMetricSource,
};

use super::Availability;
use super::labels::{Component, PipelineId};
use super::scaled_object::{self, ScaledObject};
use super::trigger_authentication::{self, TriggerAuthentication};
use super::workload::{Autoscaling, Workload};

/// What decides how many pods a service has. Never two at once: they would undo each other's work.
#[derive(Clone, Debug)]
pub enum Autoscaler {
    /// Kubernetes does, by CPU.
    Cpu(Box<HorizontalPodAutoscaler>),
    /// The same where lag is to decide as well, which only KEDA can, and KEDA is not there.
    CpuForLackOfKeda(Box<HorizontalPodAutoscaler>),
    /// KEDA does, by lag and by CPU.
    Lag {
        /// What it does.
        scaled_object: Box<ScaledObject>,
        /// How it logs in to Kafka, where it has to.
        authentication: Option<Box<TriggerAuthentication>>,
    },
}

/// How long fewer pods must have been enough before one is taken away: each change moves partitions, which halts
/// them for a moment. Kubernetes' default, stated because the services rely on it.
const SCALE_DOWN_SECONDS: i32 = 300;

/// The autoscaler of `workload`, where one is asked for.
#[must_use]
pub fn maybe_build(id: &PipelineId, workload: &Workload, keda: Availability) -> Option<Autoscaler> {
    let scaling = workload.autoscaling.as_ref()?;
    Some(match (scaling.target_lag, keda) {
        (None, Availability::Served | Availability::Absent) => {
            Autoscaler::Cpu(Box::new(by_cpu(id, workload, scaling)))
        }
        (Some(_), Availability::Absent) => {
            Autoscaler::CpuForLackOfKeda(Box::new(by_cpu(id, workload, scaling)))
        }
        (Some(target_lag), Availability::Served) => Autoscaler::Lag {
            scaled_object: Box::new(scaled_object::build(id, workload, scaling, target_lag)),
            authentication: trigger_authentication::maybe_build(id, workload).map(Box::new),
        },
    })
}

fn by_cpu(id: &PipelineId, workload: &Workload, scaling: &Autoscaling) -> HorizontalPodAutoscaler {
    let name = id.object_name(workload.service);
    HorizontalPodAutoscaler {
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
            behavior: Some(behavior()),
        }),
        status: None,
    }
}

/// How fast pods come and go, whoever decides on them.
pub(super) fn behavior() -> HorizontalPodAutoscalerBehavior {
    HorizontalPodAutoscalerBehavior {
        scale_down: Some(HPAScalingRules {
            stabilization_window_seconds: Some(SCALE_DOWN_SECONDS),
            ..HPAScalingRules::default()
        }),
        scale_up: None,
    }
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
