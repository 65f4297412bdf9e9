//! What belongs to owners, kept so that a pass over one of them asks nobody: fed by watches of everything that carries
//! the owner's label, and by the answers to our own writes, so that a pass always reads what was written before it.
//!
//! Of a kind that is not watched, or whose watch is not to be relied on, nothing is told: whoever asks has to list
//! then.

mod cache;
mod watching;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kube::api::{ApiResource, DynamicObject};
use kube::core::TypeMeta;
use kube::runtime::watcher;
use tokio::sync::watch;

use self::cache::{By, Cache, Json, News};
pub use self::watching::changes;
pub(super) use self::watching::is_refusal;
use super::apply::Owner;
use super::watches::Versions;

/// Whether the watch of a kind can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    /// It was announced, and has not seen its first list: passes wait for it.
    Awaited,
    /// It has.
    Listed,
    /// Nobody watches, or it cannot be done: passes list.
    #[default]
    Lost,
}

#[derive(Default)]
struct Kind {
    trust: Trust,
    cache: Cache,
}

/// An object that is new, other than it was, or gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// As it is; as it was last, where it is gone.
    pub object: DynamicObject,
    /// As it was, where it was there and still is.
    pub before: Option<DynamicObject>,
}

impl Change {
    fn of(object: DynamicObject, news: &News) -> Self {
        Self { object, before: news.before.as_ref().and_then(self::object) }
    }

    fn gone(json: &Json) -> Option<Self> {
        object(json).map(|object| Self { object, before: None })
    }
}

/// Everything of ours that is watched.
pub struct Owned {
    kinds: Mutex<HashMap<ApiResource, Kind>>,
    /// Whether no watch is awaited.
    known: watch::Sender<bool>,
}

impl Default for Owned {
    fn default() -> Self {
        Self { kinds: Mutex::default(), known: watch::Sender::new(true) }
    }
}

impl std::fmt::Debug for Owned {
    /// Without the objects: there are Secrets among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = self.kinds();
        let trust = kinds.iter().map(|(kind, known)| (&kind.plural, known.trust));
        f.debug_map().entries(trust).finish()
    }
}

impl Owned {
    /// Announces the watch of `kind`, so that passes wait for its first list.
    pub fn expect(&self, kind: &ApiResource) {
        self.set_trust(kind, Trust::Awaited);
    }

    /// Waits until each watch that was announced has had its first list, or cannot have it.
    pub async fn until_listed(&self) {
        // The sender lives as long as this does.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    /// The objects of `kind` that belong to `owner`; none where the apiserver has to be asked.
    pub fn of(&self, kind: &ApiResource, owner: &Owner) -> Option<Vec<DynamicObject>> {
        let found = {
            let kinds = self.kinds();
            let known = kinds.get(kind).filter(|known| known.trust == Trust::Listed)?;
            known.cache.of(owner.namespace(), owner.uid(), Instant::now())?
        };
        // One that cannot be read, which none is that could be written, is found again when it is to be made.
        Some(found.iter().filter_map(object).collect())
    }

    /// Uid and version of every object of `kind`; none where the watch is not to be relied on.
    pub fn versions(&self, kind: &ApiResource) -> Option<Versions> {
        let kinds = self.kinds();
        let known = kinds.get(kind).filter(|known| known.trust == Trust::Listed)?;
        Some(known.cache.versions().collect())
    }

    /// The apiserver answered a write of ours with `object`.
    pub fn wrote(&self, kind: &ApiResource, object: &DynamicObject) {
        if let Some(known) = self.kinds().get_mut(kind) {
            known.cache.put(&kept(kind, object.clone()), By::Answer, Instant::now());
        }
    }

    /// The apiserver said that `object`, which we deleted, is gone.
    pub fn deleted(&self, kind: &ApiResource, object: &DynamicObject) {
        if let Some(known) = self.kinds().get_mut(kind) {
            known.cache.deleted(object, Instant::now());
        }
    }

    /// These are the objects of `owner`, by a list that was begun at `begun`.
    pub fn listed(&self, kind: &ApiResource, owner: &Owner, objects: &[DynamicObject], begun: Instant) {
        if let Some(known) = self.kinds().get_mut(kind) {
            let objects: Vec<DynamicObject> =
                objects.iter().map(|object| kept(kind, object.clone())).collect();
            let times = (begun, Instant::now());
            known.cache.listed(owner.namespace(), owner.uid(), &objects, times);
        }
    }

    /// Nothing is known of `kind` any more.
    fn forget(&self, kind: &ApiResource) {
        let mut kinds = self.kinds();
        kinds.remove(kind);
        self.tell(&kinds);
    }

    /// Takes in what the watch of `kind` says; returns what of it was not known. Nothing in the very first list is
    /// news: no pass was made without it.
    fn observe(&self, kind: &ApiResource, event: watcher::Event<DynamicObject>) -> Vec<Change> {
        use watcher::Event;
        let now = Instant::now();
        // A watch that tells of a single change has been resumed where it was.
        let reliable = matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_));
        let mut kinds = self.kinds();
        let known = kinds.entry(kind.clone()).or_default();
        let changes: Vec<Change> = match event {
            Event::Init => {
                known.cache.begin_list(now);
                Vec::new()
            }
            Event::InitApply(object) => {
                let object = kept(kind, object);
                known
                    .cache
                    .put_listed(&object, now)
                    .map(|news| Change::of(object, &news))
                    .into_iter()
                    .collect()
            }
            Event::Apply(object) => {
                let object = kept(kind, object);
                let news = known.cache.put(&object, By::Watch, now);
                news.map(|news| Change::of(object, &news)).into_iter().collect()
            }
            Event::Delete(object) => known.cache.gone(&object, now).iter().filter_map(Change::gone).collect(),
            Event::InitDone => known.cache.end_list(now).iter().filter_map(Change::gone).collect(),
        };
        let first = known.trust == Trust::Awaited;
        if reliable {
            known.trust = Trust::Listed;
            self.tell(&kinds);
        }
        if first { Vec::new() } else { changes }
    }

    fn set_trust(&self, kind: &ApiResource, trust: Trust) {
        let mut kinds = self.kinds();
        kinds.entry(kind.clone()).or_default().trust = trust;
        self.tell(&kinds);
    }

    /// Under the lock, so that what is told last is true.
    fn tell(&self, kinds: &HashMap<ApiResource, Kind>) {
        let known = kinds.values().all(|known| known.trust != Trust::Awaited);
        self.known.send_if_modified(|before| std::mem::replace(before, known) != known);
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<ApiResource, Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `object` as it is kept: who manages which field is half of it and of no use here, and items of lists of built-in
/// kinds do not say of which kind they are.
fn kept(kind: &ApiResource, mut object: DynamicObject) -> DynamicObject {
    object.metadata.managed_fields = None;
    object.types = Some(TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() });
    object
}

fn object(json: &Json) -> Option<DynamicObject> {
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests;
