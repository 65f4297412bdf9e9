//! Deletion of a pipeline: its users in Kafka go, everything else is collected with it. It never hangs: whatever
//! stands in the way, the pipeline is let go within a bound, and an event says what stayed.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::events::EventType;

use super::hold::{self, Hold};
use super::principals::{self, is_elsewhere, users_of};
use super::status::{self, Report};
use crate::controller::apply::Owner;
use crate::controller::clusters::{Cluster, Resolved};
use crate::controller::context::Context;
use crate::controller::endpoint;
use crate::controller::error::Error;
use crate::controller::events::{event, publish};
use crate::controller::finalizer::{self, Cleanup};
use crate::controller::outcome::Outcome;
use crate::controller::status::write;
use crate::crd::OrderPipeline;
use crate::crd::kafka_ref::KafkaRef;
use crate::crd::kafka_topic::DeletionPolicy;

/// Between two attempts to reach the cluster.
const RETRY: Duration = Duration::from_secs(3);

/// Whether the pipeline's deletion has work to do: in Kafka, or for topics that would be deleted with it, and that have
/// to hear of a hold before.
pub(super) fn needed(pipeline: &OrderPipeline, managed: bool) -> Cleanup {
    let deletes_topics = pipeline.spec.topics.deletion_policy == DeletionPolicy::Delete;
    if managed || deletes_topics || !users_of(pipeline).is_empty() {
        Cleanup::Needed
    } else {
        Cleanup::NotNeeded
    }
}

/// Removes the pipeline's users from Kafka, then lets the pipeline go.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver does not let it go.
pub(super) async fn cleanup(pipeline: &OrderPipeline, ctx: &Context) -> Result<Outcome, Error> {
    let uid = pipeline.uid().unwrap_or_default();
    if let Err(error) = hold_topics(pipeline, ctx).await
        && time_left(pipeline, ctx, Timestamp::now()).is_some()
    {
        return Err(error);
    }
    let users: Vec<String> = users_of(pipeline).into_iter().collect();
    if finalizer::is_set(pipeline) && may_have_users(pipeline) {
        let users = users.join(", ");
        let told = match (remove_users(pipeline, ctx).await, time_left(pipeline, ctx, Timestamp::now())) {
            (Ok(()), _) => {
                event(EventType::Normal, "AccessRevoked", "Delete", &format!("removed from Kafka: {users}"))
            }
            (Err(why), Some(left)) => return wait(pipeline, ctx, &why, left).await,
            (Err(why), None) => {
                let note = format!("let go without removing from Kafka the users {users}: {why}");
                tracing::warn!("{note}");
                event(EventType::Warning, "CleanupSkipped", "Delete", &note)
            }
        };
        publish(ctx, pipeline, told).await;
    }
    finalizer::set(ctx, pipeline, Cleanup::NotNeeded).await?;
    ctx.principals.forget(&uid);
    ctx.keda_owners.forget(&uid);
    ctx.route_owners.forget(&uid);
    Ok(Outcome::ready("Deleted", "what belongs to the pipeline is collected with it"))
}

/// A pipeline may be suspended and deleted before a pass has seen the one: its topics, which are collected with it,
/// must have heard of it by then.
async fn hold_topics(pipeline: &OrderPipeline, ctx: &Context) -> Result<(), Error> {
    match (Hold::of(&pipeline.spec), Owner::of(pipeline)) {
        (Hold::Nothing, _) | (_, None) => Ok(()),
        (hold, Some(owner)) => hold::tell(ctx, &owner, hold).await,
    }
}

/// `KafkaUser`s tell themselves whose they are; of others the status must.
fn may_have_users(pipeline: &OrderPipeline) -> bool {
    matches!(pipeline.spec.kafka, KafkaRef::Strimzi(_)) || !users_of(pipeline).is_empty()
}

async fn remove_users(pipeline: &OrderPipeline, ctx: &Context) -> Result<(), String> {
    let removed = match (&pipeline.spec.kafka, Owner::of(pipeline)) {
        (KafkaRef::Strimzi(reference), Some(owner)) => {
            let (namespace, _) = endpoint::key(owner.namespace(), reference);
            principals::strimzi::remove(ctx, &owner, &namespace).await
        }
        _ => revoke(pipeline, &*cluster(pipeline, ctx).await?).await?,
    };
    removed.map_err(|error| error.chain())
}

async fn revoke(pipeline: &OrderPipeline, cluster: &Cluster) -> Result<Result<(), Error>, String> {
    if let Err(error) = cluster.reachable().await {
        return Ok(Err(error));
    }
    if is_elsewhere(pipeline, cluster) {
        return Err(format!("they are in another Kafka cluster than {}", cluster.servers()));
    }
    Ok(principals::revoke(cluster, &users_of(pipeline)).await)
}

async fn wait(pipeline: &OrderPipeline, ctx: &Context, why: &str, left: Duration) -> Result<Outcome, Error> {
    let message =
        format!("the services' users stay in Kafka, and the pipeline will be let go without that: {why}");
    let outcome = Outcome::waiting("DeletionBlocked", message, RETRY.min(left));
    let report = Report::Blocked(outcome.clone());
    let generation = pipeline.metadata.generation.unwrap_or_default();
    let status = status::compute(pipeline.status.as_ref(), &report, generation, Timestamp::now());
    write(ctx, pipeline, &status).await?;
    Ok(outcome)
}

/// How long the deletion may still wait; none when its time is over.
fn time_left(pipeline: &OrderPipeline, ctx: &Context, now: Timestamp) -> Option<Duration> {
    let since = pipeline.metadata.deletion_timestamp.as_ref()?.0;
    let bound = SignedDuration::try_from(ctx.settings.cleanup_timeout).unwrap_or(SignedDuration::ZERO);
    let left = bound - now.duration_since(since);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// The pipeline's cluster: the client that is already open where the Secret is gone, which it often is, since a
/// namespace's objects are deleted in any order.
async fn cluster(pipeline: &OrderPipeline, ctx: &Context) -> Result<Arc<Cluster>, String> {
    let namespace = pipeline.namespace().unwrap_or_default();
    let open = ctx.principals.cluster(&pipeline.uid().unwrap_or_default());
    match (ctx.clusters.resolve(&namespace, &pipeline.spec.kafka).await, open) {
        (Ok(Resolved::Cluster(cluster)), _) | (_, Some(cluster)) => Ok(cluster),
        (Ok(Resolved::Missing(missing)), None) => Err(missing.to_string()),
        (Err(error), None) => Err(error.chain()),
    }
}
