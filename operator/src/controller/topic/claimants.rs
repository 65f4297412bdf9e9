//! Several objects may name one topic: who has more right to it, and who else has it.
//!
//! Whether two objects mean the same cluster is only known for certain once it has told its id: it may have several
//! addresses. So the question is asked twice, before the cluster is and after it has answered.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::peers::Peers;
use super::validate::effective_name;
use crate::controller::clusters::Cluster;
use crate::controller::context::Context;
use crate::crd::KafkaTopic;

/// The object that stands for the same topic with more right, as far as that is known without asking any cluster.
pub(super) fn older(ctx: &Context, topic: &KafkaTopic, peers: &Peers) -> Option<ObjectRef<KafkaTopic>> {
    let cluster =
        |topic: &KafkaTopic| ctx.clusters.identity(&topic.namespace().unwrap_or_default(), &topic.spec.kafka);
    let same_cluster = |peer: &&Arc<KafkaTopic>| cluster(peer) == cluster(topic);
    with_more_right(topic, peers).iter().find(same_cluster).map(|peer| ObjectRef::from_obj(&**peer))
}

/// The object that stands for the same topic with more right, now that `cluster` has answered; `topic_id` is the id
/// of the topic, where there is one.
pub(super) async fn older_in(
    ctx: &Context,
    topic: &KafkaTopic,
    peers: &Peers,
    cluster: &Cluster,
    topic_id: Option<&str>,
) -> Option<ObjectRef<KafkaTopic>> {
    let older = with_more_right(topic, peers);
    // All at once: each may wait for the first sign of a cluster.
    let claims = older.iter().map(|peer| async move {
        match means(ctx, peer, cluster).await {
            Some(same) => same,
            // Nobody can tell which cluster it means: then by what it had.
            None => topic_id.is_some_and(|id| has(ctx, peer, id)),
        }
    });
    let claims = futures::future::join_all(claims).await;
    let claimant = older.iter().zip(claims).find(|(_, claims)| *claims);
    claimant.map(|(peer, _)| ObjectRef::from_obj(&**peer))
}

/// Another object that would lose the topic with this id: one that has it as well, or has more right to it.
pub(super) async fn other(
    ctx: &Context,
    topic: &KafkaTopic,
    peers: &Peers,
    cluster: &Cluster,
    topic_id: &str,
) -> Option<ObjectRef<KafkaTopic>> {
    let all = peers.naming(&effective_name(topic));
    let has_it = all.iter().find(|peer| peer.uid() != topic.uid() && has(ctx, peer, topic_id));
    match has_it {
        Some(peer) => Some(ObjectRef::from_obj(&**peer)),
        None => older_in(ctx, topic, peers, cluster, Some(topic_id)).await,
    }
}

/// The objects that name the topic of `topic` and are older, the oldest first.
fn with_more_right(topic: &KafkaTopic, peers: &Peers) -> Vec<Arc<KafkaTopic>> {
    let mut older = peers.naming(&effective_name(topic));
    // Not the object itself, of which the watch may show another version meanwhile.
    older.retain(|peer| peer.uid() != topic.uid() && rank(peer) < rank(topic));
    older.sort_by_key(|peer| rank(peer));
    older
}

/// Whether `peer` means `cluster`; none where that cannot be told.
async fn means(ctx: &Context, peer: &KafkaTopic, cluster: &Cluster) -> Option<bool> {
    let theirs = ctx.clusters.id(&peer.namespace().unwrap_or_default(), &peer.spec.kafka).await?;
    Some(cluster.id()? == theirs)
}

fn has(ctx: &Context, peer: &KafkaTopic, topic_id: &str) -> bool {
    ctx.topics.known(peer).is_some_and(|known| known.topic_id == topic_id)
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
    use crate::crd::fixtures::kafka_topic;

    fn object(uid: &str, second: u8, topic_id: Option<&str>) -> KafkaTopic {
        let created = format!("2026-01-01T00:00:0{second}Z");
        kafka_topic(serde_json::json!({
            "metadata": {"name": uid, "uid": uid, "creationTimestamp": created},
            "status": {"topicId": topic_id},
        }))
    }

    #[test]
    fn the_older_has_more_right_and_then_the_one_that_has_the_topic() {
        let older = object("z", 1, None);

        assert!(rank(&older) < rank(&object("a", 2, Some("id"))));
        assert!(rank(&object("z", 1, Some("id"))) < rank(&object("a", 1, None)));
        assert!(rank(&object("a", 1, None)) < rank(&object("b", 1, None)));
    }
}
