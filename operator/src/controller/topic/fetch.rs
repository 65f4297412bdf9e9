//! Everything a pass reads, from caches wherever they can be trusted.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::observed::{self, ObservedTopic, Sighting};
use super::peers::Peers;
use super::plan::Memory;
use super::validate::{ValidatedTopic, effective_name};
use crate::controller::clusters::{Cluster, Resolved};
use crate::controller::connection::Missing;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::crd::KafkaTopic;
use crate::crd::conditions::{self, ConditionType};

/// Reason of `Ready` between the announcement of a creation and its end.
pub const CREATING: &str = "Creating";

/// What a pass goes by.
#[derive(Debug)]
pub struct Fetched {
    /// Where the topic is or will be.
    pub cluster: Arc<Cluster>,
    /// The topic, if there is one.
    pub observed: Option<ObservedTopic>,
    /// Whether `observed` is what was seen in bulk a while ago: good enough to do nothing, not to act.
    pub from_cache: bool,
}

/// Why there is nothing to go by, without anything having failed.
#[derive(Debug)]
pub enum Absent {
    /// An older object stands for the same topic.
    Taken(ObjectRef<KafkaTopic>),
    /// Strimzi's object of this name stands for it.
    Strimzi(String),
    /// Something that `spec.kafka` names is not there.
    Missing(Missing),
}

/// What the pass goes by; `latest` if anything was seen of the topic lately.
///
/// # Errors
/// [`Error::Kafka`] when the cluster cannot be asked, [`Error::Kubernetes`] when a Secret cannot be read.
pub async fn fetch(
    ctx: &Context,
    topic: &KafkaTopic,
    wanted: &ValidatedTopic,
    peers: &Peers,
) -> Result<Result<Fetched, Absent>, Error> {
    let uid = topic.uid().unwrap_or_default();
    if let Some(older) = older_claimant(ctx, topic, peers) {
        ctx.topics.unenrol(&uid);
        return Ok(Err(Absent::Taken(older)));
    }
    let namespace = topic.namespace().unwrap_or_default();
    let cluster = match ctx.clusters.resolve(&namespace, &topic.spec.kafka).await? {
        Resolved::Cluster(cluster) => cluster,
        Resolved::Missing(missing) => return Ok(Err(Absent::Missing(missing))),
    };
    ctx.topics.enrol(&uid, ObjectRef::from_obj(topic), &wanted.name, &cluster);
    cluster.reachable().await?;
    // After the cluster has answered: its id tells it from others.
    ctx.strimzi.until_known().await;
    if let Some(owner) = ctx.strimzi.owner(wanted.name.as_str(), &cluster) {
        ctx.topics.unenrol(&uid);
        return Ok(Err(Absent::Strimzi(owner)));
    }
    if let Some(Ok(observed)) = ctx.topics.latest(&uid) {
        return Ok(Ok(Fetched { cluster, observed, from_cache: true }));
    }
    let observed = look(ctx, topic, wanted, &cluster).await?;
    Ok(Ok(Fetched { cluster, observed, from_cache: false }))
}

/// Looks at the topic itself.
///
/// # Errors
/// [`Error::Kafka`] when the cluster cannot be asked.
pub async fn look(
    ctx: &Context,
    topic: &KafkaTopic,
    wanted: &ValidatedTopic,
    cluster: &Cluster,
) -> Result<Option<ObservedTopic>, Error> {
    let sighting: Sighting = observed::look_at(cluster, &wanted.name).await;
    if sighting.is_err() {
        // Remembered, so that the bulk look wakes the object when it sees something else.
        ctx.topics.settle(&topic.uid().unwrap_or_default(), sighting.clone());
    }
    sighting.map_err(Error::kafka(format!("read topic {}", wanted.name)))
}

/// What is remembered of the object's topic in `cluster`.
pub fn memory(ctx: &Context, topic: &KafkaTopic, cluster: &Cluster) -> Memory {
    let known = ctx.topics.known(topic).filter(|known| known.may_be_in(cluster));
    Memory { topic_id: known.map(|known| known.topic_id), creating: is_creating(topic) }
}

/// Whether the status announces a creation whose end nobody wrote down.
pub fn is_creating(topic: &KafkaTopic) -> bool {
    let status = topic.status.as_ref();
    let ready = status.and_then(|status| conditions::find(&status.conditions, ConditionType::Ready));
    ready.is_some_and(|ready| ready.reason == CREATING)
}

/// The object that stands for the same topic with more right, if there is one.
fn older_claimant(ctx: &Context, topic: &KafkaTopic, peers: &Peers) -> Option<ObjectRef<KafkaTopic>> {
    let same_cluster = |peer: &KafkaTopic| {
        let cluster = |topic: &KafkaTopic| {
            ctx.clusters.identity(&topic.namespace().unwrap_or_default(), &topic.spec.kafka)
        };
        cluster(peer) == cluster(topic)
    };
    let older = |peer: &Arc<KafkaTopic>| rank(peer) < rank(topic) && same_cluster(peer);
    let older = peers.naming(&effective_name(topic)).into_iter().filter(older).min_by_key(|peer| rank(peer));
    older.map(|peer| ObjectRef::from_obj(&*peer))
}

/// The older has more right to a topic. Ages are whole seconds, so of two made in the same second it is the
/// one that has the topic already.
fn rank(topic: &KafkaTopic) -> (Option<Timestamp>, bool, Option<String>) {
    let has_topic = topic.status.as_ref().is_some_and(|status| status.topic_id.is_some());
    (topic.creation_timestamp().map(|time| time.0), !has_topic, topic.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, second: u8, topic_id: Option<&str>) -> KafkaTopic {
        let created = format!("2026-01-01T00:00:0{second}Z");
        serde_json::from_value(serde_json::json!({
            "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {"name": uid, "uid": uid, "creationTimestamp": created},
            "spec": {"kafka": {"bootstrap": {"servers": "kafka:9092"}}},
            "status": {"topicId": topic_id},
        }))
        .unwrap()
    }

    #[test]
    fn the_older_has_more_right_and_then_the_one_that_has_the_topic() {
        let older = object("z", 1, None);

        assert!(rank(&older) < rank(&object("a", 2, Some("id"))));
        assert!(rank(&object("z", 1, Some("id"))) < rank(&object("a", 1, None)));
        assert!(rank(&object("a", 1, None)) < rank(&object("b", 1, None)));
    }
}
