//! All objects of a kind as the apiserver has them, kept up to date by a watch.

use futures::StreamExt;
use kube::core::object::HasStatus;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use operator::controller::runner::Kind;
use operator::controller::status::HasConditions;
use operator::crd::conditions::{self, ConditionType, State};
use tokio_util::task::AbortOnDropHandle;

/// A mirror of all objects of kind `K`.
pub(crate) struct Mirror<K: Kind> {
    store: Store<K>,
    _watch: AbortOnDropHandle<()>,
}

impl<K: Kind + HasStatus> Mirror<K>
where
    K::Status: HasConditions,
{
    pub(crate) fn of(api: Api<K>) -> Self {
        let (store, writer) = reflector::store();
        let events = watcher(api, watcher::Config::default())
            .default_backoff()
            .modify(|object| object.managed_fields_mut().clear())
            .reflect(writer);
        let watch = tokio::spawn(events.for_each(|_| std::future::ready(())));
        Self { store, _watch: AbortOnDropHandle::new(watch) }
    }

    /// How many are Ready by a pass over this generation or a later one.
    pub(crate) fn ready(&self, generation: i64) -> usize {
        let is_ready = |object: &K| {
            let conditions = object.status().map(HasConditions::conditions).unwrap_or_default();
            conditions::find(conditions, ConditionType::Ready).is_some_and(|ready| {
                ready.status == State::True.name() && ready.observed_generation >= Some(generation)
            })
        };
        self.store.state().iter().filter(|object| is_ready(object)).count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.store.is_empty()
    }
}
