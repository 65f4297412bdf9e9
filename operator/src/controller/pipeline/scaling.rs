//! Who decides how many pods a service has: the pipeline, Kubernetes' autoscaler by CPU, or KEDA by lag as well.
//!
//! Two autoscalers of one Deployment undo each other's work, and KEDA refuses a Deployment that another one scales. So
//! one is taken away in one pass, and the other made in a later one.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::fetch::Observed;
use super::plan::{Foundations, Plan};
use super::progress::Progress;
use crate::build::autoscaler::{Autoscaler, Keda};
use crate::build::scaled_object::ScaledObject;
use crate::build::trigger_authentication::TriggerAuthentication;
use crate::controller::apply::{Applied, Owner, Planned, Resources};
use crate::controller::error::Error;
use crate::crd::conditions::Explanation;

/// When to look again whether an autoscaler is gone. Without finalizers it goes at once; a moment lets KEDA notice.
pub(super) const HANDOVER_RETRY: Duration = Duration::from_secs(3);

/// How the services are scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scaling {
    /// Whether each service has the autoscaler that it should have.
    pub progress: Progress,
    /// Deployments that are scaled by CPU alone, because KEDA is not there.
    pub lacking_keda: Vec<String>,
}

/// Whether KEDA can be had in `namespace`. Asked in each pass: KEDA comes and goes without a word.
pub(super) async fn keda(client: &Client, namespace: &str) -> Result<Keda, Error> {
    let api: Api<ScaledObject> = Api::namespaced(client.clone(), namespace);
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(Keda::Served),
        // By the code: of a group that is not served there is no kind to give a reason for.
        Err(kube::Error::Api(refusal)) if refusal.code == 404 || refusal.is_forbidden() => Ok(Keda::Absent),
        Err(error) => Err(Error::kubernetes("list scaledobjects")(error)),
    }
}

/// The autoscalers of the services that may run.
pub(super) fn autoscalers(
    plan: &Plan,
    ready: Foundations,
    observed: &Observed,
    owner: &Owner,
) -> Result<Resources<Planned>, Error> {
    let mut resources = Resources::of(owner.clone());
    resources.prune_kind::<HorizontalPodAutoscaler>();
    if observed.keda == Keda::Served {
        resources.prune_kind::<TriggerAuthentication>().prune_kind::<ScaledObject>();
    }
    for objects in plan.startable(ready, &observed.deployments) {
        match &objects.autoscaler {
            Some(Autoscaler::Cpu(autoscaler) | Autoscaler::CpuForLackOfKeda(autoscaler)) => {
                resources.add_instead_of::<ScaledObject, _>(*autoscaler.clone())?;
            }
            // Not in the pass that makes the Deployment: KEDA refuses one that has not reached its cache.
            Some(Autoscaler::Lag { scaled_object, authentication })
                if observed.deployments.contains_key(&scaled_object.name_any()) =>
            {
                if let Some(authentication) = authentication.clone() {
                    resources.add(*authentication)?;
                }
                resources.add_instead_of::<HorizontalPodAutoscaler, _>(*scaled_object.clone())?;
            }
            Some(Autoscaler::Lag { .. }) | None => {}
        }
    }
    Ok(resources)
}

impl Scaling {
    /// How the services of `plan` are scaled once their autoscalers are `applied`.
    pub(super) fn of(plan: &Plan, applied: &Resources<Applied>) -> Self {
        let waiting: Vec<String> = applied.waiting().collect();
        let progress = if waiting.is_empty() {
            Progress::Done
        } else {
            Progress::Pending(Explanation::new("AutoscalerChanging", waiting.join("; ")))
        };
        let lacking_keda = plan.workloads.iter().filter_map(|objects| match &objects.autoscaler {
            Some(Autoscaler::CpuForLackOfKeda(autoscaler)) => Some(autoscaler.name_any()),
            Some(Autoscaler::Cpu(_) | Autoscaler::Lag { .. }) | None => None,
        });
        Self { progress, lacking_keda: lacking_keda.collect() }
    }

    /// What a user should know, though nothing has to be done about it; continues a sentence.
    pub(super) fn remark(&self) -> String {
        if self.lacking_keda.is_empty() {
            return String::new();
        }
        let names = self.lacking_keda.join(", ");
        format!("; scaled by CPU alone, since KEDA, which targetLag needs, is not served here: {names}")
    }
}
