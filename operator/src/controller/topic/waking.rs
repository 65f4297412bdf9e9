//! What wakes objects besides changes of their own: that another object, or Strimzi, let go of their topic.

use std::future::Future;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use tokio::sync::mpsc;

use super::peers::Peers;
use super::validate::effective_name;
use crate::controller::context::Context;
use crate::controller::strimzi::Change;
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
        if let watcher::Event::Delete(gone) = event {
            ctx.topics.forget(&gone.uid().unwrap_or_default());
            all(&wake, &peers.naming(&effective_name(gone)));
        }
    })
}

/// Wakes, for as long as it is polled, those whose topic or cluster Strimzi said something about.
pub(super) fn those_that_strimzi_concerns(
    ctx: &Context,
    peers: &Peers,
    wake: Wake,
) -> impl Future<Output = ()> + Send + use<> {
    let peers = peers.clone();
    ctx.strimzi.changes().each(move |change| match change {
        Change::Topic(name) => all(&wake, &peers.naming(name)),
        Change::Everything => all(&wake, &peers.all()),
        Change::User(_) => {}
    })
}

/// A full queue is no loss: whoever is stalled looks again by itself, as does everybody in time.
fn all(wake: &Wake, objects: &[Arc<KafkaTopic>]) {
    for object in objects {
        let _ = wake.try_send(ObjectRef::from_obj(&**object));
    }
}
