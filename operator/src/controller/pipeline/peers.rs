//! Several pipelines on one Kafka cluster: each prefix belongs to one of them, since topics and consumer groups are named
//! by it.

use std::future::ready;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use tokio::sync::mpsc;

use crate::controller::context::Context;
use crate::controller::outcome::Outcome;
use crate::crd::OrderPipeline;

/// The pipeline that has more right to the prefix of `pipeline` in its Kafka cluster, if there is one. Clusters are
/// asked who they are, where nobody has yet, only if another pipeline has the prefix.
pub(super) async fn claimant(
    ctx: &Context,
    pipeline: &OrderPipeline,
    peers: &Store<OrderPipeline>,
) -> Option<ObjectRef<OrderPipeline>> {
    let mut first = peers.state();
    first.retain(|peer| {
        let same_prefix = peer.spec.topics.prefix == pipeline.spec.topics.prefix;
        // Not the pipeline itself, of which the watch may show another version meanwhile.
        same_prefix && peer.uid() != pipeline.uid() && rank(peer) < rank(pipeline)
    });
    first.sort_by_key(|peer| rank(peer));
    for peer in first {
        if in_one_cluster(ctx, pipeline, &peer).await {
            return Some(ObjectRef::from_obj(&*peer));
        }
    }
    None
}

/// Whether both are in one Kafka cluster, which may have several addresses. Of one that does not say which it is, it is
/// not known; nothing of the pipeline is ready there before it does.
async fn in_one_cluster(ctx: &Context, one: &OrderPipeline, other: &OrderPipeline) -> bool {
    let place = |pipeline: &OrderPipeline| {
        ctx.clusters.identity(&pipeline.namespace().unwrap_or_default(), &pipeline.spec.kafka)
    };
    place(one) == place(other)
        || matches!((id(ctx, one).await, id(ctx, other).await), (Some(one), Some(other)) if one == other)
}

/// The id of the pipeline's Kafka cluster, as it says itself, else as it was when the pipeline's users were made.
async fn id(ctx: &Context, pipeline: &OrderPipeline) -> Option<String> {
    let told = ctx.clusters.id(&pipeline.namespace().unwrap_or_default(), &pipeline.spec.kafka).await;
    told.or_else(|| pipeline.status.as_ref()?.access.as_ref()?.cluster_id.clone())
}

/// The one that has topics has more right: their objects are older than any that another could still make, so that it
/// alone can go on. Before there are any, the older has.
fn rank(pipeline: &OrderPipeline) -> (bool, Option<Timestamp>, Option<String>) {
    let has_topics = pipeline.status.as_ref().is_some_and(|status| status.summary.is_some());
    (!has_topics, pipeline.creation_timestamp().map(|time| time.0), pipeline.uid())
}

/// What the other one is told.
pub(super) fn prefix_taken(pipeline: &OrderPipeline, claimant: &ObjectRef<OrderPipeline>) -> Outcome {
    let message = format!(
        "OrderPipeline {}/{} came first and has the topics with prefix {:?} in this Kafka cluster: delete one of the two, or \
         create this one with another spec.topics.prefix",
        claimant.namespace.as_deref().unwrap_or_default(),
        claimant.name,
        pipeline.spec.topics.prefix,
    );
    Outcome::stalled("PrefixTaken", message)
}

/// Wakes, when a pipeline is gone, those that may have waited for its prefix, and drops what is known of its users.
pub(super) fn waking_heirs<S>(
    events: S,
    ctx: &Arc<Context>,
    store: &Store<OrderPipeline>,
    wake: mpsc::Sender<ObjectRef<OrderPipeline>>,
) -> impl Stream<Item = watcher::Result<watcher::Event<OrderPipeline>>> + Send + use<S>
where
    S: Stream<Item = watcher::Result<watcher::Event<OrderPipeline>>> + Send,
{
    let (ctx, store) = (Arc::clone(ctx), store.clone());
    events.try_filter_map(move |event| {
        if let watcher::Event::Delete(gone) = &event {
            ctx.principals.forget(&gone.uid().unwrap_or_default());
            let prefix = &gone.spec.topics.prefix;
            for heir in store.state().iter().filter(|peer| peer.spec.topics.prefix == *prefix) {
                // A full queue is no loss: stalled objects look again by themselves.
                let _ = wake.try_send(ObjectRef::from_obj(&**heir));
            }
        }
        ready(Ok(Some(event)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::fixtures::order_pipeline;

    fn pipeline(uid: &str, second: u8, topics: bool) -> OrderPipeline {
        let summary = topics.then(|| serde_json::json!({"topics": "1/1", "services": "0/1"}));
        order_pipeline(serde_json::json!({
            "metadata": {"name": uid, "uid": uid, "creationTimestamp": format!("2026-01-01T00:00:0{second}Z")},
            "status": {"summary": summary}
        }))
    }

    #[test]
    fn the_one_that_has_topics_has_more_right_and_then_the_older() {
        let older = pipeline("z", 1, false);

        assert!(rank(&pipeline("a", 2, true)) < rank(&older), "its topics are older than any of theirs");
        assert!(rank(&older) < rank(&pipeline("a", 2, false)));
        assert!(rank(&pipeline("z", 1, true)) < rank(&pipeline("a", 1, false)));
        assert!(rank(&pipeline("a", 1, false)) < rank(&pipeline("b", 1, false)));
    }
}
