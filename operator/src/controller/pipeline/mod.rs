//! The controller of `OrderPipeline`.
//!
//! ```text
//! spec ──validate──▶ ValidPipeline ──fetch──▶ Observed ──resolve──▶ PipelineAccess ──plan──▶ Plan
//!                                                                                             │
//!      status ◀──compute── Report ◀── topics and Secrets, the database Job, the workloads ◀──apply
//! ```
//! Only `fetch` and `apply` talk to Kubernetes; the steps between are pure. A pipeline needs no finalizer: all
//! that it made belongs to it and is collected with it, and each topic's own object decides what becomes of the
//! topic.

pub mod access;
mod duration;
mod fetch;
mod form;
pub mod plan;
mod progress;
mod services;
mod status;
pub mod validate;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use futures::FutureExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, WatchStreamExt, watcher};

use self::access::Unusable;
use self::fetch::Observed;
use self::plan::{Foundations, Plan, plan};
use self::progress::{Progress, Tally};
use self::status::{Applied, Report};
use self::validate::{Problem, validate};
use super::apply::{self, OWNER_LABEL, Owner, Resources};
use super::context::Context;
use super::error::Error;
use super::outcome::{Outcome, STALLED_RETRY};
use super::runner;
use super::status as statuses;
use crate::build::labels::PipelineId;
use crate::crd::{KafkaTopic, OrderPipeline};

/// Name of the controller in logs and metrics.
const NAME: &str = "orderpipeline";

/// Runs the controller until shutdown.
pub fn run(ctx: Arc<Context>) -> impl Future<Output = ()> + Send {
    ctx.watches.expect(NAME);
    let (store, events) = runner::watch::<OrderPipeline>(&ctx);
    let ours = watcher::Config::default().labels(OWNER_LABEL);
    let named = store.clone();
    let controller = Controller::for_stream(events.touched_objects(), store.clone())
        .owns(ctx.watched::<KafkaTopic>(), ours.clone())
        .owns(ctx.watched::<Secret>(), ours.clone())
        .owns(ctx.watched::<Job>(), ours.clone())
        .owns(ctx.watched::<ServiceAccount>(), ours.clone())
        .owns(ctx.watched::<ConfigMap>(), ours.clone())
        .owns(ctx.watched::<Deployment>(), ours.clone())
        .owns(ctx.watched::<Service>(), ours)
        // Metadata only: which Secret changed is enough to know.
        .watches(ctx.watched::<PartialObjectMeta<Secret>>(), watcher::Config::default(), move |secret| {
            pipelines_naming(&named, &secret)
        });
    runner::run(NAME, controller, store, ctx, |pipeline, ctx| async move { reconcile(&pipeline, &ctx).await })
        .boxed()
}

/// The pipelines whose spec names this Secret.
fn pipelines_naming(
    pipelines: &Store<OrderPipeline>,
    secret: &PartialObjectMeta<Secret>,
) -> Vec<ObjectRef<OrderPipeline>> {
    let (name, namespace) = (secret.name_any(), secret.namespace());
    pipelines
        .state_filter(|pipeline| {
            pipeline.namespace() == namespace && access::referenced(&pipeline.spec).any(|named| named == name)
        })
        .iter()
        .map(|pipeline| ObjectRef::from_obj(&**pipeline))
        .collect()
}

/// One pass: makes the cluster what the pipeline says, and the pipeline's status what came of it.
///
/// # Errors
/// When the API server could not be read or written; the status says so too.
pub async fn reconcile(pipeline: &OrderPipeline, ctx: &Context) -> Result<Outcome, Error> {
    let (Some(owner), None) = (Owner::of(pipeline), &pipeline.metadata.deletion_timestamp) else {
        return Ok(Outcome::ready("Deleted", "what belongs to the pipeline is collected with it"));
    };
    let report = advance(pipeline, &owner, ctx).await.unwrap_or_else(from_error);
    let generation = pipeline.metadata.generation.unwrap_or_default();
    let old = pipeline.status.as_ref();
    let new = status::compute(old, &report, generation, jiff::Timestamp::now());
    let written = statuses::write(ctx, pipeline, old, &new).await;
    let outcome = report.into_outcome()?;
    written.map(|()| outcome)
}

async fn advance(pipeline: &OrderPipeline, owner: &Owner, ctx: &Context) -> Result<Report, Error> {
    if pipeline.spec.suspend {
        return Ok(Report::Suspended);
    }
    let id = PipelineId { namespace: owner.namespace().to_owned(), name: pipeline.name_any() };
    let valid = match validate(id, &pipeline.spec, &ctx.settings.orders_image) {
        Ok(valid) => valid,
        Err(problems) => return Ok(Report::Blocked(invalid(&problems))),
    };
    let observed = fetch::fetch(&ctx.client, pipeline, &valid, owner).await?;
    let access = match access::resolve(&valid, &observed.secrets, &observed.passwords) {
        Ok(access) => access,
        Err(unusable) => return Ok(Report::Blocked(waiting_for(&unusable))),
    };
    let plan = plan(&valid, &access);
    apply(pipeline, plan, &observed, owner, ctx).await.map(Report::Applied)
}

/// Applies `plan` in the order in which its parts depend on each other.
async fn apply(
    pipeline: &OrderPipeline,
    plan: Plan,
    observed: &Observed,
    owner: &Owner,
    ctx: &Context,
) -> Result<Applied, Error> {
    let job = plan.job.as_ref().map(ResourceExt::name_any);
    let prepared = pipeline.status.as_ref().and_then(|status| status.database.as_ref());
    let databases = match prepared {
        Some(database) if Some(&database.prepared_by) == job.as_ref() => Databases::Prepared,
        Some(_) | None => Databases::Unprepared,
    };

    let foundations = foundations(&plan, owner, databases)?.apply(ctx).await?;
    let topics = Tally::of(foundations.all::<KafkaTopic>().map(|topic| progress::topic(&topic)));
    let database = job
        .as_ref()
        .and_then(|job| foundations.get::<Job>(job))
        .map_or(Progress::Done, |job| progress::job(&job));
    let all_there = topics.progress == Progress::Done && database == Progress::Done;
    let ready = if all_there { Foundations::Ready } else { Foundations::Pending };

    let workloads = workloads(&plan, ready, &observed.deployments, owner)?.apply(ctx).await?;
    let services = plan.workloads.iter().map(|objects| {
        let name = objects.deployment.name_any();
        workloads
            .get::<Deployment>(&name)
            .map_or_else(|| progress::held_back(&name), |found| progress::deployment(&found))
    });
    let prepared_by = job.filter(|_| database == Progress::Done);
    Ok(Applied { topics, services: Tally::of(services), database, prepared_by })
}

/// Whether the databases are as the plan's Job would make them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Databases {
    /// The status remembers that this very Job was done.
    Prepared,
    /// It has to run.
    Unprepared,
}

/// What services need before they start. A Job whose work is done is not part of it any more, so it is removed:
/// nobody needs its finished pod, and what it did stands in the status.
fn foundations(plan: &Plan, owner: &Owner, databases: Databases) -> Result<Resources<apply::Planned>, Error> {
    let mut resources = Resources::of(owner.clone());
    resources.prune_kind::<KafkaTopic>().prune_kind::<Secret>().prune_kind::<Job>();
    for topic in &plan.topics {
        resources.add(topic.clone())?;
    }
    // Before the Job, which mounts them.
    for secret in &plan.secrets {
        resources.add(secret.clone())?;
    }
    match databases {
        Databases::Prepared => {}
        Databases::Unprepared => {
            if let Some(job) = plan.job.clone() {
                resources.add(job)?;
            }
        }
    }
    Ok(resources)
}

fn workloads(
    plan: &Plan,
    ready: Foundations,
    running: &BTreeSet<String>,
    owner: &Owner,
) -> Result<Resources<apply::Planned>, Error> {
    let mut resources = Resources::of(owner.clone());
    resources.prune_kind::<ServiceAccount>().prune_kind::<ConfigMap>();
    resources.prune_kind::<Deployment>().prune_kind::<Service>();
    for objects in plan.startable(ready, running) {
        // The Deployment after what its pods need: a pod that starts before is restarted once for nothing.
        resources.add(objects.service_account.clone())?;
        resources.add(objects.config_map.clone())?;
        resources.add(objects.deployment.clone())?;
        if let Some(address) = objects.address.clone() {
            resources.add(address)?;
        }
    }
    Ok(resources)
}

fn invalid(problems: &[Problem]) -> Outcome {
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Outcome::stalled("InvalidSpec", told.join("; "))
}

/// The pipeline is woken when a Secret that it names appears or changes.
fn waiting_for(unusable: &Unusable) -> Outcome {
    Outcome::waiting(unusable.reason(), unusable.to_string(), STALLED_RETRY)
}

/// An object that the API server will never take, or that is somebody else's, stays so until a person acts;
/// anything else is tried again.
fn from_error(error: Error) -> Report {
    let reason = match &error {
        Error::Kubernetes { source, .. } => match source.as_ref() {
            kube::Error::Api(refusal) if matches!(refusal.code, 400 | 422) => "RefusedByKubernetes",
            _ => return Report::Failed(error),
        },
        Error::Foreign { .. } => error.reason(),
        Error::Kafka { .. } | Error::Encoding { .. } => return Report::Failed(error),
    };
    Report::Blocked(Outcome::stalled(reason, error.chain()))
}
