//! Deletion of an object. It never hangs: whatever stands in the way, the object is let go within a bound,
//! and an event says what became of the topic.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kafka_admin::TopicName;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};

use super::access;
use super::claimants;
use super::identity::TopicIdentity;
use super::observed::look_at;
use super::peers::Peers;
use super::validate::effective_name;
use super::{Pass, status};
use crate::controller::clusters::{Cluster, Resolved};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::events::{event, publish};
use crate::controller::finalizer::{self, Cleanup};
use crate::controller::outcome::Outcome;
use crate::controller::status::write;
use crate::crd::KafkaTopic;
use crate::crd::kafka_topic::DeletionPolicy;
use crate::crd::reconcile_policy::ReconcilePolicy;

/// Between two attempts to reach the cluster.
const RETRY: Duration = Duration::from_secs(3);

/// Why the object may go.
#[derive(Debug, PartialEq, Eq)]
enum Release {
    /// The topic is deleted.
    Deleted,
    /// There is no such topic.
    Gone,
    /// The topic stays: its object wants it so.
    Retained,
    /// The topic stays: its object may not change anything now.
    HandsOff,
    /// The topic stays: it is not, or never was, the one that the object stood for.
    NotOurs(String),
    /// The topic may stay: it could not be deleted in time.
    GaveUp(String),
}

/// Why the object cannot go yet.
#[derive(Debug)]
struct Blocked(String);

impl Blocked {
    fn by(error: Error) -> Self {
        Self(error.chain())
    }
}

/// Whether the end of `topic` has work to do in Kafka.
pub fn needed(topic: &KafkaTopic) -> Cleanup {
    let has_access = !topic.spec.access.is_empty() || access::has_any(topic);
    match topic.spec.deletion_policy {
        DeletionPolicy::Retain if !has_access => Cleanup::NotNeeded,
        DeletionPolicy::Retain | DeletionPolicy::Delete => Cleanup::Needed,
    }
}

/// Revokes what the object granted, does with the topic what the deletion policy says, then lets the object go.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver does not let it go.
pub async fn cleanup(topic: &KafkaTopic, ctx: &Context, peers: &Peers) -> Result<Outcome, Error> {
    if !finalizer::is_set(topic) {
        return Ok(Outcome::ready("Deleted", ""));
    }
    let hands_off = topic.spec.suspend || topic.spec.reconcile_policy == ReconcilePolicy::Plan;
    let left = time_left(topic, ctx, Timestamp::now());
    // Rights first: while the topic cannot be deleted, nobody who lost them keeps them.
    if !hands_off && let Err(Blocked(why)) = revoke(topic, ctx, peers).await {
        match left {
            Some(left) => return wait(topic, ctx, &format!("its ACLs cannot be revoked: {why}"), left).await,
            None => tell_that_rights_stay(topic, ctx, &why).await,
        }
    }
    let release = match topic.spec.deletion_policy {
        DeletionPolicy::Retain => Release::Retained,
        DeletionPolicy::Delete if hands_off => Release::HandsOff,
        DeletionPolicy::Delete => match (delete(topic, ctx, peers).await, left) {
            (Ok(release), _) => release,
            (Err(Blocked(why)), Some(left)) => {
                return wait(topic, ctx, &format!("the topic cannot be deleted: {why}"), left).await;
            }
            (Err(Blocked(why)), None) => Release::GaveUp(why),
        },
    };
    tell(topic, ctx, &release).await;
    finalizer::set(ctx, topic, Cleanup::NotNeeded).await?;
    ctx.topics.forget(&topic.uid().unwrap_or_default());
    Ok(Outcome::ready("Deleted", ""))
}

async fn wait(topic: &KafkaTopic, ctx: &Context, why: &str, left: Duration) -> Result<Outcome, Error> {
    let message = format!("the object will be let go without that, but not yet: {why}");
    let outcome = Outcome::waiting("DeletionBlocked", message, RETRY.min(left));
    let pass = Pass::unseen(Ok(outcome.clone()));
    let status = status::compute(topic, &pass, Timestamp::now());
    write(ctx, topic, &status).await?;
    Ok(outcome)
}

/// How long the deletion may still wait; none when its time is over.
fn time_left(topic: &KafkaTopic, ctx: &Context, now: Timestamp) -> Option<Duration> {
    let since = topic.metadata.deletion_timestamp.as_ref()?.0;
    let bound = SignedDuration::try_from(ctx.settings.cleanup_timeout).unwrap_or(SignedDuration::ZERO);
    let left = bound - now.duration_since(since);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// Revokes what the object granted.
async fn revoke(topic: &KafkaTopic, ctx: &Context, peers: &Peers) -> Result<(), Blocked> {
    if !access::has_any(topic) {
        return Ok(());
    }
    let cluster = cluster(topic, ctx).await?;
    let revoked = access::withdraw(ctx, topic, peers, &cluster).await.map_err(Blocked::by)?;
    revoked.map_err(|refused| Blocked(refused.message))
}

async fn tell_that_rights_stay(topic: &KafkaTopic, ctx: &Context, why: &str) {
    let name = effective_name(topic);
    let note = format!("let go without revoking the ACLs of topic {name} that status.access named: {why}");
    tracing::warn!(kafka.topic = name, "{note}");
    publish(ctx, topic, event(EventType::Warning, "CleanupSkipped", "Delete", &note)).await;
}

async fn delete(topic: &KafkaTopic, ctx: &Context, peers: &Peers) -> Result<Release, Blocked> {
    let Some(known) = ctx.topics.known(topic) else {
        return Ok(Release::NotOurs("this object never had a topic".to_owned()));
    };
    let Ok(name) = TopicName::new(effective_name(topic)) else {
        return Ok(Release::NotOurs("its name is not one that Kafka takes".to_owned()));
    };
    if !still_deleted(topic, ctx).await.map_err(Blocked::by)? {
        return Ok(Release::NotOurs("the object was replaced by another one".to_owned()));
    }
    let cluster = cluster(topic, ctx).await?;
    cluster.reachable().await.map_err(Blocked::by)?;
    // Only now is it known which cluster it is, for this object and for others.
    if let Some(why) = somebody_elses(topic, ctx, peers, &cluster, &known).await {
        return Ok(Release::NotOurs(why));
    }
    delete_if_it_is(&cluster, &name, &known.topic_id).await
}

/// Whose the topic is, if not, or not only, the object's.
async fn somebody_elses(
    topic: &KafkaTopic,
    ctx: &Context,
    peers: &Peers,
    cluster: &Cluster,
    known: &TopicIdentity,
) -> Option<String> {
    if !known.may_be_in(cluster) {
        let theirs = known.cluster_id.as_deref().unwrap_or_default();
        return Some(format!(
            "this object stood for the one of another cluster, {theirs}, which stays there"
        ));
    }
    ctx.strimzi.until_known().await;
    if let Some(owner) = ctx.strimzi.owner(&effective_name(topic), cluster) {
        return Some(format!("it belongs to Strimzi's KafkaTopic {owner}"));
    }
    let other = claimants::other(ctx, topic, peers, cluster, &known.topic_id).await?;
    let namespace = other.namespace.unwrap_or_default();
    Some(format!("the KafkaTopic {namespace}/{} stands for it as well", other.name))
}

/// Deletes the topic if it has this id.
async fn delete_if_it_is(cluster: &Cluster, name: &TopicName, id: &str) -> Result<Release, Blocked> {
    let blocked = |doing: &str, source| Blocked::by(Error::kafka(format!("{doing} topic {name}"))(source));
    match look_at(cluster, name).await.map_err(|source| blocked("read", source))? {
        None => Ok(Release::Gone),
        Some(seen) if seen.id.to_string() != id => {
            Ok(Release::NotOurs(format!("its id is {}, this object stood for {id}", seen.id)))
        }
        Some(_) => match cluster.admin().delete_topics(std::slice::from_ref(name)).await.into_iter().next() {
            Some(Err(kafka_admin::Error::NotFound { .. })) => Ok(Release::Gone),
            Some(Err(source)) => {
                cluster.note(&source);
                Err(blocked("delete", source))
            }
            Some(Ok(())) | None => Ok(Release::Deleted),
        },
    }
}

/// Asks the apiserver itself before data is destroyed: a cache may be old enough to show an object that was
/// deleted and made again.
async fn still_deleted(topic: &KafkaTopic, ctx: &Context) -> Result<bool, Error> {
    let namespace = topic.namespace().unwrap_or_default();
    let name = topic.name_any();
    let api: Api<KafkaTopic> = Api::namespaced(ctx.client.clone(), &namespace);
    let live = api.get_metadata_opt(&name).await;
    let live = live.map_err(Error::kubernetes(format!("read KafkaTopic {namespace}/{name}")))?;
    Ok(live.is_some_and(|live| live.uid() == topic.uid() && live.metadata.deletion_timestamp.is_some()))
}

/// The cluster of the object's topic: the client that is already open where the Secret is gone, which it
/// often is, since a namespace's objects are deleted in any order.
async fn cluster(topic: &KafkaTopic, ctx: &Context) -> Result<Arc<Cluster>, Blocked> {
    let namespace = topic.namespace().unwrap_or_default();
    let open = ctx.topics.cluster(&topic.uid().unwrap_or_default());
    match (ctx.clusters.resolve(&namespace, &topic.spec.kafka).await, open) {
        (Ok(Resolved::Cluster(cluster)), _) | (_, Some(cluster)) => Ok(cluster),
        (Ok(Resolved::Missing(missing)), None) => Err(Blocked(missing.to_string())),
        (Err(error), None) => Err(Blocked(error.chain())),
    }
}

async fn tell(topic: &KafkaTopic, ctx: &Context, release: &Release) {
    let name = effective_name(topic);
    let (type_, reason, note) = match release {
        Release::Deleted => (EventType::Normal, "TopicDeleted", format!("deleted topic {name} and its data")),
        Release::Gone => (EventType::Normal, "TopicGone", format!("topic {name} was gone already")),
        Release::Retained => {
            (EventType::Normal, "TopicRetained", format!("topic {name} stays, with its data"))
        }
        Release::HandsOff => {
            let note = format!("topic {name} stays, since its object is suspended or only plans");
            (EventType::Normal, "TopicRetained", note)
        }
        Release::NotOurs(why) => {
            (EventType::Warning, "TopicKept", format!("did not delete topic {name}: {why}"))
        }
        Release::GaveUp(why) => {
            (EventType::Warning, "CleanupSkipped", format!("let go without deleting topic {name}: {why}"))
        }
    };
    match release {
        Release::GaveUp(_) | Release::NotOurs(_) => tracing::warn!(kafka.topic = name, "{note}"),
        Release::Deleted | Release::Gone | Release::Retained | Release::HandsOff => {
            tracing::info!(kafka.topic = name, "{note}")
        }
    }
    publish(ctx, topic, event(type_, reason, "Delete", &note)).await;
}
