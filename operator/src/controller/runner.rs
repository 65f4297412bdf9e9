//! Runs the controller of one kind: the watch of its objects, and around each pass a span, metrics and backoff.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::Instrument;

use super::context::Context;
use super::error::Error;
use super::outcome::Outcome;
use super::status::HasConditions;
use super::watches;
use crate::crd::conditions::{self, ConditionType, State};
use crate::metrics::PassResult;

/// A burst of events about one object (its own status write, those of its children) becomes one pass.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// How often the objects are counted for the metrics.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// What the runner needs of a kind of ours.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// The watch of all objects of kind `K`: the cache it fills, and its events. The events must be polled for
/// the cache to fill; `Controller::for_stream` does.
pub fn watch<K: Kind>(
    ctx: &Arc<Context>,
) -> (Store<K>, impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + use<K>) {
    let (store, writer) = reflector::store();
    let mut relist = Relist { store: store.clone(), listed: HashSet::new() };
    // The first list is the most recent one, not any that a cache of the apiserver happens to have: whoever takes
    // over must see what the one before it wrote last.
    let events = watcher(ctx.watched::<K>(), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .map_ok(move |event| stream::iter(relist.with_missed(event).into_iter().map(Ok)))
        .try_flatten()
        .reflect(writer);
    let known = Arc::clone(ctx);
    let events = events.inspect_ok(move |event| {
        if let watcher::Event::Delete(gone) = event {
            known.superseded.forget(&gone.uid().unwrap_or_default());
        }
    });
    (store, events)
}

/// A list tells of the objects that are there. Those that went while the watch was down are the ones known before and
/// not in it: without a word about each, what is known of them would stay, and nobody would inherit from them.
struct Relist<K: Kind> {
    /// What was known before: it changes at the end of the list.
    store: Store<K>,
    /// The objects in the list so far.
    listed: HashSet<ObjectRef<K>>,
}

impl<K: Kind> Relist<K> {
    /// `event`, after the deletions that nobody has told of.
    fn with_missed(&mut self, event: watcher::Event<K>) -> Vec<watcher::Event<K>> {
        let missed: Vec<Arc<K>> = match &event {
            watcher::Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            // Another one of the same name.
            watcher::Event::InitApply(object) => {
                let name = ObjectRef::from_obj(object);
                let before = self.store.get(&name).filter(|before| before.uid() != object.uid());
                self.listed.insert(name);
                before.into_iter().collect()
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone = |object: &Arc<K>| !listed.contains(&ObjectRef::from_obj(&**object));
                self.store.state().into_iter().filter(gone).collect()
            }
            watcher::Event::Apply(_) | watcher::Event::Delete(_) => Vec::new(),
        };
        let deletions = missed.into_iter().map(|object| watcher::Event::Delete(Arc::unwrap_or_clone(object)));
        deletions.chain([event]).collect()
    }
}

/// Runs `controller` until shutdown; every pass under way is finished.
///
/// `store` is the one that the controller's main stream fills.
pub async fn run<K, F, P>(
    name: &'static str,
    controller: Controller<K>,
    store: Store<K>,
    ctx: Arc<Context>,
    pass: P,
) where
    K: Kind + HasStatus,
    K::Status: HasConditions,
    P: Fn(Arc<K>, Arc<Context>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Outcome, Error>> + Send + 'static,
{
    ctx.metrics.set_capacity(name, ctx.settings.concurrency);
    let config = controller::Config::default().debounce(DEBOUNCE).concurrency(ctx.settings.concurrency);
    let passes = controller
        .with_config(config)
        .graceful_shutdown_on(ctx.shutdown.clone().cancelled_owned())
        .run(
            move |object, ctx| observed(name, object, ctx, pass.clone()),
            move |object, error, ctx| failed(name, &*object, error, &ctx),
            Arc::clone(&ctx),
        )
        .for_each(|result| {
            log_queue_errors(name, result);
            ready(())
        });
    tokio::select! {
        () = passes => {}
        () = watches::audit(name, store.clone(), Arc::clone(&ctx)) => {}
        () = ended_before_first_list(&store, &ctx) => {}
        () = count(name, store.clone(), &ctx) => {}
    }
    tracing::info!(controller = name, "controller ended");
}

/// Returns when the operator is to end and no object was ever seen, as without the right to list them:
/// kube's controller would wait for its first list, whatever it is told.
async fn ended_before_first_list<K: Kind>(store: &Store<K>, ctx: &Context) {
    ctx.shutdown.cancelled().await;
    if store.wait_until_ready().now_or_never().is_some() {
        std::future::pending().await
    }
}

/// Counts the objects by the state of their `Ready`, for as long as it is polled.
async fn count<K>(name: &'static str, store: Store<K>, ctx: &Context)
where
    K: Kind + HasStatus,
    K::Status: HasConditions,
{
    loop {
        tokio::time::sleep(COUNT_INTERVAL).await;
        let mut counts =
            BTreeMap::from([State::True, State::False, State::Unknown].map(|state| (state.name(), 0)));
        for object in store.state() {
            let conditions = object.status().map(HasConditions::conditions).unwrap_or_default();
            let ready = conditions::find(conditions, ConditionType::Ready);
            let state = ready.map_or(State::Unknown.name(), |ready| ready.status.as_str());
            counts.entry(state_name(state)).and_modify(|count| *count += 1);
        }
        counts.into_iter().for_each(|(ready, count)| ctx.metrics.set_objects(name, ready, count));
    }
}

/// The state of this name; what is no state is as good as unknown.
fn state_name(name: &str) -> &'static str {
    let known = [State::True, State::False].map(State::name);
    known.into_iter().find(|known| *known == name).unwrap_or(State::Unknown.name())
}

/// One pass, with everything around it that is the same for every kind; none over a version that is known to be old.
async fn observed<K, F>(
    name: &'static str,
    object: Arc<K>,
    ctx: Arc<Context>,
    pass: impl Fn(Arc<K>, Arc<Context>) -> F,
) -> Result<Action, Error>
where
    K: Kind,
    F: Future<Output = Result<Outcome, Error>>,
{
    if ctx.superseded.is(&*object) {
        // The event of the version that we wrote wakes it again.
        return Ok(Action::requeue(ctx.settings.resync));
    }
    let span = tracing::info_span!(
        "reconcile",
        kube.kind = name,
        kube.namespace = object.namespace(),
        kube.name = object.name_any()
    );
    let guard = ctx.metrics.pass(name);
    let outcome = pass(Arc::clone(&object), Arc::clone(&ctx)).instrument(span).await?;
    ctx.backoff.succeeded(&key(name, &*object));
    guard.finish(match &outcome {
        Outcome::Ready(_) => PassResult::Success,
        Outcome::Waiting { .. } | Outcome::Stalled { .. } => PassResult::RequeueAfter,
    });
    Ok(outcome.action(ctx.settings.resync))
}

fn failed<K: Kind>(name: &'static str, object: &K, error: &Error, ctx: &Context) -> Action {
    let (attempt, wait) = ctx.backoff.failed(&key(name, object));
    tracing::warn!(
        kube.kind = name,
        kube.namespace = object.namespace(),
        kube.name = object.name_any(),
        attempt,
        retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        error = error.chain(),
        "reconcile failed, will be tried again"
    );
    Action::requeue(wait)
}

fn key<K: Kind>(name: &str, object: &K) -> String {
    format!("{name}/{}", object.uid().unwrap_or_default())
}

/// Failed passes are logged where they are handled; what is left are watch errors and vanished objects.
fn log_queue_errors<K: Kind>(
    name: &'static str,
    result: Result<(reflector::ObjectRef<K>, Action), controller::Error<Error, watcher::Error>>,
) {
    match result {
        Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
        Err(controller::Error::ObjectNotFound(object)) => {
            tracing::debug!(controller = name, %object, "object is gone");
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(controller = name, error, "watch failed, will be resumed");
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;

    use super::*;
    use crate::crd::KafkaTopic;
    use crate::crd::fixtures::kafka_topic;

    fn object(name: &str, uid: &str) -> KafkaTopic {
        kafka_topic(serde_json::json!({"metadata": {"name": name, "uid": uid}}))
    }

    #[test]
    fn what_went_while_the_watch_was_down_is_told_to_be_deleted() {
        let (store, mut writer) = reflector::store();
        let mut relist = Relist { store: store.clone(), listed: HashSet::new() };
        let mut deleted = Vec::new();
        let events = [
            Event::Init,
            Event::InitApply(object("stays", "1")),
            Event::InitApply(object("goes", "2")),
            Event::InitDone,
            Event::Apply(object("is-replaced", "3")),
            Event::Init,
            Event::InitApply(object("is-replaced", "4")),
            Event::InitApply(object("stays", "1")),
            Event::InitDone,
        ];

        for event in events {
            for event in relist.with_missed(event) {
                writer.apply_watcher_event(&event);
                if let Event::Delete(gone) = event {
                    deleted.push(gone.uid().unwrap());
                }
            }
        }

        let mut left: Vec<String> = store.state().iter().filter_map(|object| object.uid()).collect();
        left.sort();
        assert_eq!(
            (deleted, left),
            (vec!["3".to_owned(), "2".to_owned()], vec!["1".to_owned(), "4".to_owned()])
        );
    }
}
