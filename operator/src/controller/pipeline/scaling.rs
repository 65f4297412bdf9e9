//! Who decides how many pods a service has: the pipeline, Kubernetes' autoscaler by CPU, or KEDA by lag as well.
//!
//! Two autoscalers of one Deployment undo each other's work, and KEDA refuses a Deployment that another one scales. So
//! one is taken away in one pass, and the other made in a later one.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::api::ApiResource;

use super::fetch::Observed;
use super::plan::{Foundations, Plan};
use super::progress::Progress;
use super::validate::ValidPipeline;
use crate::build::Availability;
use crate::build::autoscaler::Autoscaler;
use crate::build::scaled_object::ScaledObject;
use crate::build::trigger_authentication::TriggerAuthentication;
use crate::controller::apply::{Applied, Owner, Planned, Resources};
use crate::controller::context::Context;
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

/// What is asked for to know who has objects of KEDA's.
pub(super) fn kinds() -> [ApiResource; 2] {
    [ApiResource::erase::<ScaledObject>(&()), ApiResource::erase::<TriggerAuthentication>(&())]
}

/// Whether a service of `valid` is to be scaled by lag.
fn wants_keda(valid: &ValidPipeline) -> bool {
    let mut scaled = valid.services.iter().filter_map(|service| service.autoscaling.as_ref());
    scaled.any(|scaling| scaling.target_lag.is_some())
}

/// Whether KEDA can be had by `owner`. Asked in each pass that it matters to: KEDA comes and goes without a word.
pub(super) async fn keda(ctx: &Context, valid: &ValidPipeline, owner: &Owner) -> Result<Availability, Error> {
    let [scaled_objects, _] = kinds();
    ctx.keda_owners.availability(ctx, owner, &scaled_objects, wants_keda(valid)).await
}

/// Applies the autoscalers of the services that may run.
pub(super) async fn apply(
    ctx: &Context,
    plan: &Plan,
    ready: Foundations,
    observed: &Observed,
    owner: &Owner,
) -> Result<Scaling, Error> {
    let by_lag = plan.workloads.iter().any(|it| matches!(it.autoscaler, Some(Autoscaler::Lag { .. })));
    let autoscalers = autoscalers(plan, ready, observed, owner)?;
    let applied = ctx.keda_owners.apply(ctx, owner, autoscalers, by_lag, observed.keda).await?;
    Ok(Scaling::of(plan, &applied))
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
    if observed.keda == Availability::Served {
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
    fn of(plan: &Plan, applied: &Resources<Applied>) -> Self {
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
