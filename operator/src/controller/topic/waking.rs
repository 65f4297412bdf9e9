//! What wakes objects besides changes of their own: that another object, or Strimzi, let go of their topic.

use std::future::{Future, ready};
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use tokio::sync::mpsc;

use super::validate::{effective_name, is_named};
use crate::controller::context::Context;
use crate::controller::strimzi::Change;
use crate::crd::KafkaTopic;

type Wake = mpsc::Sender<ObjectRef<KafkaTopic>>;

/// Drops what is known of deleted objects, and wakes those that waited for the name of their topic.
pub(super) fn heirs_of_the_deleted<S>(
    events: S,
    ctx: &Arc<Context>,
    store: &Store<KafkaTopic>,
    wake: Wake,
) -> impl Stream<Item = watcher::Result<watcher::Event<KafkaTopic>>> + Send + use<S>
where
    S: Stream<Item = watcher::Result<watcher::Event<KafkaTopic>>> + Send,
{
    let (ctx, store) = (Arc::clone(ctx), store.clone());
    events.try_filter_map(move |event| {
        if let watcher::Event::Delete(gone) = &event {
            ctx.topics.forget(&gone.uid().unwrap_or_default());
            all(&wake, naming(&store, Some(&effective_name(gone))));
        }
        ready(Ok(Some(event)))
    })
}

/// Wakes, for as long as it is polled, those whose topic or cluster Strimzi said something about.
pub(super) fn those_that_strimzi_concerns(
    ctx: &Context,
    store: &Store<KafkaTopic>,
    wake: Wake,
) -> impl Future<Output = ()> + Send + use<> {
    let store = store.clone();
    ctx.strimzi.changes().each(move |change| match change {
        Change::Topic(name) => all(&wake, naming(&store, Some(name))),
        Change::Everything => all(&wake, naming(&store, None)),
        Change::User(_) => {}
    })
}

/// A full queue is no loss: whoever is stalled looks again by itself, as does everybody in time.
fn all(wake: &Wake, objects: Vec<ObjectRef<KafkaTopic>>) {
    for object in objects {
        let _ = wake.try_send(object);
    }
}

/// The objects that name `topic`; all of them without a name.
fn naming(objects: &Store<KafkaTopic>, topic: Option<&str>) -> Vec<ObjectRef<KafkaTopic>> {
    let named = |object: &&Arc<KafkaTopic>| topic.is_none_or(|topic| is_named(object, topic));
    objects.state().iter().filter(named).map(|object| ObjectRef::from_obj(&**object)).collect()
}
