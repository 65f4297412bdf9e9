//! What wakes objects besides changes of their own: that another object, or Strimzi, let go of their topic.

use std::future::Future;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use tokio::sync::mpsc;

use super::peers::Peers;
use super::registry::TopicRegistry;
use super::validate::effective_name;
use crate::controller::context::Context;
use crate::controller::endpoint;
use crate::controller::strimzi::{Change, Key};
use crate::crd::KafkaTopic;

type Wake = mpsc::Sender<ObjectRef<KafkaTopic>>;

/// Drops what is known of deleted objects, and wakes those that waited for the name of their topic.
pub(super) fn heirs_of_the_deleted<S>(
    events: S,
    ctx: &Arc<Context>,
    peers: &Peers,
    wake: Wake,
) -> impl Stream<Item = watcher::Result<watcher::Event<KafkaTopic>>> + Send + use<S>
where
    S: Stream<Item = watcher::Result<watcher::Event<KafkaTopic>>> + Send,
{
    let (ctx, peers) = (Arc::clone(ctx), peers.clone());
    events.inspect_ok(move |event| {
        peers.saw(event);
        forget_the_deleted(event, &ctx.topics, &peers);
        if let watcher::Event::Delete(gone) = event {
            all(&wake, &peers.naming(&effective_name(gone)));
        }
    })
}

/// Drops what is known of objects that `event` tells to be gone.
fn forget_the_deleted(event: &watcher::Event<KafkaTopic>, topics: &TopicRegistry, peers: &Peers) {
    match event {
        watcher::Event::Delete(gone) => topics.forget(&gone.uid().unwrap_or_default()),
        // What a pass took note of that was still under way when its object went.
        watcher::Event::InitDone => {
            topics.retain(&peers.all().iter().filter_map(|topic| topic.uid()).collect());
        }
        watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::Apply(_) => {}
    }
}

/// Wakes, for as long as it is polled, those whose topic or cluster Strimzi said something about.
pub(super) fn those_that_strimzi_concerns(
    ctx: &Context,
    peers: &Peers,
    wake: Wake,
) -> impl Future<Output = ()> + Send + use<> {
    let peers = peers.clone();
    ctx.strimzi.changes().each(move |change| match change.unwrap_or(&Change::Everything) {
        Change::Topic(name) => all(&wake, &peers.naming(name)),
        Change::Everything => all(&wake, &peers.all()),
        Change::User(_) => {}
    })
}

/// Wakes, for as long as it is polled, those whose way to their cluster stands in a Secret that has changed.
pub(super) fn those_that_read(
    ctx: &Arc<Context>,
    peers: &Peers,
    wake: Wake,
) -> impl Future<Output = ()> + Send + use<> {
    let (changes, ctx, peers) = (ctx.secrets.changes(), Arc::clone(ctx), peers.clone());
    changes.each(move |secret| {
        let mut objects = peers.all();
        objects.retain(|topic| secret.is_none_or(|secret| reads(&ctx, topic, secret)));
        all(&wake, &objects);
    })
}

fn reads(ctx: &Context, topic: &KafkaTopic, secret: &Key) -> bool {
    let namespace = topic.metadata.namespace.as_deref().unwrap_or_default();
    endpoint::reads(&ctx.strimzi, namespace, &topic.spec.kafka, secret)
}

/// A full queue is no loss: whoever is stalled looks again by itself, as does everybody in time.
fn all(wake: &Wake, objects: &[Arc<KafkaTopic>]) {
    for object in objects {
        let _ = wake.try_send(ObjectRef::from_obj(&**object));
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;

    use super::*;
    use crate::controller::topic::identity::TopicIdentity;
    use crate::crd::fixtures::kafka_topic;

    fn object(uid: &str) -> KafkaTopic {
        kafka_topic(serde_json::json!({"metadata": {"name": uid, "uid": uid}}))
    }

    #[test]
    fn what_is_known_goes_with_its_object_even_when_it_was_noted_later() {
        let (topics, (store, mut writer)) = (TopicRegistry::default(), reflector::store());
        let peers = Peers::of(store);
        let objects = ["stays", "deleted", "late"].map(object);
        for object in &objects {
            let identity = TopicIdentity { topic_id: object.name_any(), cluster_id: None };
            topics.stands_for(&object.uid().unwrap(), identity);
        }
        let [stays, deleted, late] = objects;

        let events = [
            watcher::Event::Delete(deleted.clone()),
            watcher::Event::Init,
            watcher::Event::InitApply(stays.clone()),
            watcher::Event::InitDone,
        ];
        for event in events {
            writer.apply_watcher_event(&event);
            forget_the_deleted(&event, &topics, &peers);
        }

        assert!(topics.known(&stays).is_some());
        assert_eq!((topics.known(&deleted), topics.known(&late)), (None, None));
    }
}
