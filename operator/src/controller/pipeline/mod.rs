//! The controller of `OrderPipeline`.
//!
//! ```text
//! spec ──validate──▶ ValidPipeline ──fetch──▶ Observed ──resolve──▶ PipelineAccess ──plan──▶ Plan
//!                                                                                             │
//!      status ◀──compute── Report ◀── topics and Secrets, the database Job, the workloads ◀──apply
//! ```
//! Only `fetch` and `apply` talk to Kubernetes, and `principals` to Kafka; the steps between are pure. A pipeline
//! needs a finalizer for its users in Kafka only: all else that it made belongs to it and is collected with it, and
//! each topic's own object decides what becomes of the topic.

pub mod access;
mod belongings;
mod cleanup;
mod duration;
mod fetch;
mod form;
mod gateway;
mod hold;
mod peers;
mod pending;
pub mod plan;
pub mod principals;
mod progress;
mod routes;
pub mod scaling;
mod services;
mod status;
mod topics;
pub mod unwatched;
pub mod validate;
mod waking;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures::FutureExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use kube::runtime::{Controller, WatchStreamExt};
use tokio::sync::mpsc;

use self::fetch::{Observed, Running};
use self::hold::Hold;
use self::plan::{Foundations, Plan, ServiceObjects, plan};
use self::principals::Principals;
use self::progress::{Progress, Tally};
use self::status::{Applied, Report};
use self::validate::{Problem, ValidPipeline, validate};
use super::apply::{self, Owner, Resources};
use super::context::Context;
use super::error::Error;
use super::finalizer;
use super::outcome::{Outcome, STALLED_RETRY};
use super::runner;
use super::status as statuses;
use crate::build::labels::PipelineId;
use crate::crd::{KafkaTopic, OrderPipeline};

/// Name of the controller in logs and metrics.
const NAME: &str = "orderpipeline";

/// Pipelines waiting to be woken; what does not fit is found again by the next look in bulk.
const WAKE_QUEUE: usize = 1024;

/// Runs the controller until shutdown.
pub fn run(ctx: Arc<Context>) -> impl Future<Output = ()> + Send {
    ctx.watches.expect(NAME);
    let (store, events) = runner::watch::<OrderPipeline>(&ctx);
    ctx.service_users.are_in(&store);
    let peers = store.clone();
    let (wake, mut woken) = mpsc::channel(WAKE_QUEUE);
    let events = peers::waking_heirs(events, &ctx, &store, wake.clone());
    let strimzi = waking::those_that_strimzi_concerns(&ctx, &store, wake.clone());
    let reading = waking::those_that_read(Arc::clone(&ctx), store.clone(), wake.clone());
    let belongings = belongings::watch(Arc::clone(&ctx), wake.clone());
    let woken = futures::stream::poll_fn(move |cx| woken.poll_recv(cx));
    let controller = Controller::for_stream(events.touched_objects(), store.clone()).reconcile_on(woken);
    let pass = move |pipeline: Arc<OrderPipeline>, ctx: Arc<Context>| {
        let peers = peers.clone();
        async move { reconcile(&pipeline, &ctx, &peers).await }
    };
    async move {
        tokio::select! {
            () = runner::run(NAME, controller, store, Arc::clone(&ctx), pass) => {}
            // At shutdown passes under way still have to end: only the runner ends this.
            never = principals::watch(Arc::clone(&ctx), wake) => match never {},
            () = strimzi => {}
            () = reading => {}
            () = belongings => {}
        }
    }
    .boxed()
}

/// One pass: makes the cluster what the pipeline says, and the pipeline's status what came of it.
///
/// # Errors
/// When the API server could not be read or written; the status says so too.
pub async fn reconcile(
    pipeline: &OrderPipeline,
    ctx: &Context,
    peers: &Store<OrderPipeline>,
) -> Result<Outcome, Error> {
    let (Some(owner), None) = (Owner::of(pipeline), &pipeline.metadata.deletion_timestamp) else {
        return cleanup::cleanup(pipeline, ctx).await;
    };
    // The copy is what was written last: a pass that creates users writes on its way.
    let mut pipeline = pipeline.clone();
    let report = advance(&mut pipeline, &owner, ctx, peers).await.unwrap_or_else(from_error);
    let pipeline = &pipeline;
    let generation = pipeline.metadata.generation.unwrap_or_default();
    let new = status::compute(pipeline.status.as_ref(), &report, generation, jiff::Timestamp::now());
    let written = statuses::write(ctx, pipeline, &new).await;
    let outcome = report.into_outcome()?;
    written.map(|_| outcome)
}

async fn advance(
    pipeline: &mut OrderPipeline,
    owner: &Owner,
    ctx: &Context,
    peers: &Store<OrderPipeline>,
) -> Result<Report, Error> {
    // Before that it is not known what there is.
    ctx.owned.until_listed().await;
    let hold = Hold::of(&pipeline.spec);
    if hold != Hold::Nothing {
        hold::tell(ctx, owner, hold).await?;
    }
    if hold == Hold::Everything {
        return Ok(Report::Suspended);
    }
    let id = PipelineId { namespace: owner.namespace().to_owned(), name: pipeline.name_any() };
    let valid = match validate(id, &pipeline.spec, &ctx.settings.orders_image) {
        Ok(valid) => valid,
        Err(problems) => return Ok(Report::Blocked(invalid(&problems))),
    };
    if let Some(claimant) = peers::claimant(ctx, pipeline, peers).await {
        return Ok(Report::Blocked(peers::prefix_taken(pipeline, &claimant)));
    }
    match hold {
        Hold::Changes => pending::look(ctx, pipeline, &valid, owner).await,
        Hold::Nothing | Hold::Everything => carry_out(pipeline, &valid, owner, ctx).await,
    }
}

/// Makes what `valid` says.
async fn carry_out(
    pipeline: &mut OrderPipeline,
    valid: &ValidPipeline,
    owner: &Owner,
    ctx: &Context,
) -> Result<Report, Error> {
    let cleanup = cleanup::needed(pipeline, valid.managed_access.is_some());
    match finalizer::set(ctx, pipeline, cleanup).await? {
        finalizer::Set::Already => {}
        finalizer::Set::Written(updated) => *pipeline = *updated,
        finalizer::Set::Gone => {
            return Ok(Report::Blocked(Outcome::ready("Deleted", "the pipeline is gone")));
        }
    }
    let connection = match ctx.clusters.connection(owner.namespace(), &pipeline.spec.kafka).await? {
        Ok(connection) => connection,
        Err(missing) => return Ok(Report::Blocked(waiting_for(missing.reason(), &missing))),
    };
    let observed = fetch::fetch(ctx, pipeline, valid, owner).await?;
    let held = &observed.identities;
    let principals = principals::ensure(ctx, pipeline, valid, &connection, owner, held).await?;
    let (secrets, passwords) = (&observed.secrets, &observed.passwords);
    let access = access::resolve(valid, connection.clone(), secrets, passwords, &principals.identities);
    let access = match access {
        Ok(access) => access,
        Err(unusable) => return Ok(Report::Blocked(waiting_for(unusable.reason(), &unusable))),
    };
    let plan = plan(valid, &access, observed.keda);
    // Only now: what their controller is freed to do is what the spec says, up to the writes that follow.
    hold::tell(ctx, owner, Hold::Nothing).await?;
    let applied = apply(pipeline, plan, &observed, principals, owner, ctx).await?;
    let applied = principals::revoke_leaving(ctx, pipeline, valid, &connection, applied).await?;
    Ok(Report::Applied(Box::new(applied)))
}

/// Applies `plan` in the order in which its parts depend on each other.
async fn apply(
    pipeline: &OrderPipeline,
    plan: Plan,
    observed: &Observed,
    principals: Principals,
    owner: &Owner,
    ctx: &Context,
) -> Result<Applied, Error> {
    let job = plan.job.as_ref().map(ResourceExt::name_any);
    let foundations = foundations(&plan, owner, Databases::of(pipeline, &plan))?.apply(ctx).await?;
    let topics = Tally::of(foundations.all::<KafkaTopic>().map(|topic| progress::topic(&topic)));
    let database = job
        .as_ref()
        .and_then(|job| foundations.get::<Job>(job))
        .map_or(Progress::Done, |job| progress::job(&job));
    let Principals { progress: access, users, .. } = principals;
    let all_there = [&topics.progress, &access, &database].into_iter().all(|part| *part == Progress::Done);
    let ready = if all_there { Foundations::Ready } else { Foundations::Pending };

    let workloads = workloads(&plan, ready, &observed.deployments, owner)?.apply(ctx).await?;
    let services = plan.workloads.iter().map(|objects| {
        let name = objects.deployment.name_any();
        workloads
            .get::<Deployment>(&name)
            .map_or_else(|| progress::held_back(&name), |found| progress::deployment(&found))
    });
    let services = Tally::of(services);
    // After all Deployments: what stands in the way of an autoscaler or a route keeps no service from running.
    let scaling = scaling::apply(ctx, &plan, ready, observed, owner).await?;
    let routes = routes::apply(ctx, &plan, ready, observed, owner).await?;
    let prepared_by = job.filter(|_| database == Progress::Done);
    Ok(Applied { topics, access, users, services, scaling, routes, database, prepared_by })
}

/// Whether the databases are as the plan's Job would make them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Databases {
    /// The status remembers that this very Job was done.
    Prepared,
    /// It has to run.
    Unprepared,
}

impl Databases {
    fn of(pipeline: &OrderPipeline, plan: &Plan) -> Self {
        let prepared = pipeline.status.as_ref().and_then(|status| status.database.as_ref());
        match prepared {
            Some(database) if plan.job.as_ref().is_some_and(|job| job.name_any() == database.prepared_by) => {
                Self::Prepared
            }
            Some(_) | None => Self::Unprepared,
        }
    }
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
    running: &BTreeMap<String, Running>,
    owner: &Owner,
) -> Result<Resources<apply::Planned>, Error> {
    let mut resources = Resources::of(owner.clone());
    resources.prune_kind::<ServiceAccount>().prune_kind::<ConfigMap>();
    resources.prune_kind::<Deployment>().prune_kind::<Service>().prune_kind::<NetworkPolicy>();
    resources.prune_kind::<PodDisruptionBudget>();
    for objects in plan.startable(ready, running) {
        // The Deployment after what its pods need: a pod that starts before is restarted once for nothing.
        resources.add(objects.service_account.clone())?;
        resources.add(objects.config_map.clone())?;
        // Before the pods, so that none is ever without it.
        resources.add(objects.network_policy.clone())?;
        resources.add(deployment(objects, running))?;
        if let Some(address) = objects.address.clone() {
            resources.add(address)?;
        }
        if let Some(budget) = objects.disruption_budget.clone() {
            resources.add(budget)?;
        }
    }
    Ok(resources)
}

/// The Deployment of a service. Where an autoscaler decides on the pods, it is told what it says itself: a field that
/// is left out goes back to its default, which is one pod. It is written over no other version than the one that said
/// so: the autoscaler may have decided anew meanwhile.
fn deployment(objects: &ServiceObjects, running: &BTreeMap<String, Running>) -> Deployment {
    let mut deployment = objects.deployment.clone();
    let live = running.get(&deployment.name_any()).filter(|_| objects.autoscaler.is_some());
    if let (Some(spec), Some(live)) = (deployment.spec.as_mut(), live) {
        spec.replicas = Some(live.replicas);
        deployment.metadata.resource_version.clone_from(&live.version);
    }
    deployment
}

fn invalid(problems: &[Problem]) -> Outcome {
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Outcome::stalled("InvalidSpec", told.join("; "))
}

/// The pipeline is woken when what it waits for appears or changes: a Secret, or Strimzi's `Kafka`.
fn waiting_for(reason: &str, what: &dyn std::fmt::Display) -> Outcome {
    Outcome::waiting(reason, what.to_string(), STALLED_RETRY)
}

fn from_error(error: Error) -> Report {
    match error.refusal() {
        Some(why) => Report::Blocked(Outcome::stalled(&why.reason, why.message)),
        None => Report::Failed(error),
    }
}
