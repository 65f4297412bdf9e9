//! Everything a pass reads, from caches wherever they can be trusted.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::announcement::announced;
use super::claimants;
use super::observed::{self, ObservedTopic, Sighting};
use super::peers::Peers;
use super::plan::{Claim, Memory};
use super::validate::ValidatedTopic;
use crate::controller::clusters::{Cluster, Resolved};
use crate::controller::connection::Missing;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::outcome::Outcome;
use crate::crd::KafkaTopic;

/// A missing Secret is not watched for, so that the operator needs no right to list Secrets of others.
const MISSING_RETRY: Duration = Duration::from_secs(10);

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

impl Absent {
    /// What is decided about the topic, if anything.
    pub fn claim(&self) -> Option<Claim> {
        match self {
            Self::Taken(_) | Self::Strimzi(_) => Some(Claim::Refused),
            Self::Missing(_) => None,
        }
    }

    /// What the pass comes to.
    pub fn outcome(self, wanted: &ValidatedTopic) -> Outcome {
        match self {
            Self::Taken(older) => Outcome::stalled(
                "TopicNameTaken",
                format!(
                    "topic {} belongs to the older KafkaTopic {}/{}: delete one of the two, or choose another topicName",
                    wanted.name,
                    older.namespace.unwrap_or_default(),
                    older.name
                ),
            ),
            Self::Strimzi(owner) => Outcome::stalled(
                "ConflictsWithStrimzi",
                format!(
                    "topic {} belongs to Strimzi's KafkaTopic {owner} (kafkatopics.kafka.strimzi.io): delete one of \
                     the two; annotated with strimzi.io/managed=false Strimzi's can be deleted without its topic",
                    wanted.name
                ),
            ),
            Self::Missing(missing @ Missing::Credentials(_)) => {
                Outcome::stalled(missing.reason(), missing.to_string())
            }
            Self::Missing(missing) => Outcome::waiting(missing.reason(), missing.to_string(), MISSING_RETRY),
        }
    }
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
    if let Some(older) = claimants::older(ctx, topic, peers) {
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
    let (observed, from_cache) = match ctx.topics.latest(&uid) {
        Some(Ok(observed)) => (observed, true),
        Some(Err(_)) | None => (look(ctx, topic, wanted, &cluster).await?, false),
    };
    let id = observed.as_ref().map(|topic| topic.id.to_string());
    if let Some(older) = claimants::older_in(ctx, topic, peers, &cluster, id.as_deref()).await {
        ctx.topics.unenrol(&uid);
        return Ok(Err(Absent::Taken(older)));
    }
    Ok(Ok(Fetched { cluster, observed, from_cache }))
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
    let creating = announced(topic, cluster.id().as_deref());
    Memory { topic_id: known.map(|known| known.topic_id), creating }
}
