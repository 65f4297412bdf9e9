//! What is known of the objects of one kind: the newest that the watch or an answer to a write of ours has told. Pure.
//!
//! Both come in any order. Per object the newest version wins, and of what is gone a tombstone stays for a while, so
//! that an answer or an event that comes late does not bring it back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::DynamicObject;

use crate::controller::apply::OWNER_LABEL;

/// A watch shows a write within a second or so. One that has not after this time is not to be relied on.
const UNSEEN_LIMIT: Duration = Duration::from_secs(30);
/// No answer comes later than this (`client::ANSWER_LIMIT`, and some time to take it in).
const TOMBSTONE_TTL: Duration = Duration::from_secs(60);

/// Namespace and name.
type Place = (String, String);
/// An object as JSON: a tenth of what it takes parsed, and it is looked at much more rarely than kept.
pub(super) type Json = Arc<[u8]>;

/// Who tells of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The watch.
    Watch,
    /// The apiserver's answer to a write of ours, which the watch is still to show.
    Answer,
}

/// Something that was not known before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    /// The object as it was known until now, if it was.
    pub before: Option<Json>,
}

/// The objects of one kind.
#[derive(Default)]
pub(super) struct Cache {
    slots: BTreeMap<Place, Slot>,
    listing: Option<Listing>,
    swept: Option<Instant>,
}

struct Slot {
    uid: String,
    version: u64,
    owner: String,
    state: State,
    /// Since when the watch owes us a write of ours.
    unseen: Option<Instant>,
}

enum State {
    There(Json),
    Gone {
        since: Instant,
        /// This very object was deleted, whatever version of it anybody tells of; else it is gone up to the version.
        deleted: bool,
    },
}

/// A list of the watch that is being received.
struct Listing {
    begun: Instant,
    seen: BTreeSet<Place>,
}

impl Cache {
    /// The objects of `owner` in `namespace`; none where the watch has not shown for too long what we wrote, so that
    /// the apiserver has to be asked.
    pub(super) fn of(&self, namespace: &str, owner: &str, now: Instant) -> Option<Vec<Json>> {
        let mut found = Vec::new();
        for (_, slot) in self.of_namespace(namespace).filter(|(_, slot)| slot.owner == owner) {
            if slot.unseen.is_some_and(|since| now.duration_since(since) > UNSEEN_LIMIT) {
                return None;
            }
            if let State::There(json) = &slot.state {
                found.push(Arc::clone(json));
            }
        }
        Some(found)
    }

    /// Uid and version of every object.
    pub(super) fn versions(&self) -> impl Iterator<Item = (String, String)> {
        let there = self.slots.values().filter(|slot| !slot.is_gone());
        there.map(|slot| (slot.uid.clone(), slot.version.to_string()))
    }

    /// Takes in an object; nothing, where it is no news.
    pub(super) fn put(&mut self, object: &DynamicObject, by: By, now: Instant) -> Option<News> {
        let (place, uid, version) = (place(object), object.uid().unwrap_or_default(), version(object));
        if let Some(known) = self.slots.get_mut(&place) {
            if known.is_newer_than(&uid, version) {
                return None;
            }
            if known.version == version && !known.is_gone() {
                if by == By::Watch {
                    known.unseen = None;
                }
                return None;
            }
        }
        let owner = object.labels().get(OWNER_LABEL).cloned().unwrap_or_default();
        // What has no JSON form is as good as unknown, and nothing that came as JSON has none.
        let state = State::There(serde_json::to_vec(object).ok()?.into());
        let unseen = (by == By::Answer).then_some(now);
        let before = self.slots.insert(place, Slot { uid, version, owner, state, unseen });
        Some(News { before: before.and_then(|slot| slot.state.into_json()) })
    }

    /// The watch tells that an object is gone, or none of ours any more; nothing, where that is no news.
    pub(super) fn gone(&mut self, object: &DynamicObject, now: Instant) -> Option<Json> {
        self.sweep(now);
        let (place, uid, version) = (place(object), object.uid().unwrap_or_default(), version(object));
        let owner = object.labels().get(OWNER_LABEL).cloned().unwrap_or_default();
        let state = State::Gone { since: now, deleted: false };
        match self.slots.get_mut(&place) {
            // Its successor is there already, or it is ours again.
            Some(known) if known.version > version => None,
            Some(known) => {
                known.version = known.version.max(version);
                known.unseen = None;
                std::mem::replace(&mut known.state, state).into_json()
            }
            None => {
                self.slots.insert(place, Slot { uid, version, owner, state, unseen: None });
                None
            }
        }
    }

    /// We have deleted this object.
    pub(super) fn deleted(&mut self, object: &DynamicObject, now: Instant) {
        let Some(known) = self.slots.get_mut(&place(object)) else { return };
        if object.uid().as_ref() == Some(&known.uid) && !known.is_gone() {
            known.state = State::Gone { since: now, deleted: true };
            known.unseen = Some(now);
        }
    }

    /// The watch begins to list all objects.
    pub(super) fn begin_list(&mut self, now: Instant) {
        self.listing = Some(Listing { begun: now, seen: BTreeSet::new() });
    }

    /// The watch tells of an object in its list.
    pub(super) fn put_listed(&mut self, object: &DynamicObject, now: Instant) -> Option<News> {
        let listing = self.listing.as_mut()?;
        listing.seen.insert(place(object));
        let begun = listing.begun;
        self.confirm(object, begun, now)
    }

    /// The watch has listed all objects: those that it did not tell of are gone. Returns them.
    pub(super) fn end_list(&mut self, now: Instant) -> Vec<Json> {
        let Some(Listing { begun, seen }) = self.listing.take() else { return Vec::new() };
        let all = self.slots.iter_mut();
        all.filter(|(place, _)| !seen.contains(*place))
            .filter_map(|(_, slot)| slot.not_listed(begun, now))
            .collect()
    }

    /// We have listed the objects of `owner` in `namespace`, and begun that at `begun`.
    pub(super) fn listed(
        &mut self,
        namespace: &str,
        owner: &str,
        objects: &[DynamicObject],
        (begun, now): (Instant, Instant),
    ) {
        for object in objects {
            self.confirm(object, begun, now);
        }
        let seen: BTreeSet<Place> = objects.iter().map(place).collect();
        let others = self.slots.iter_mut().filter(|((at, _), slot)| at == namespace && slot.owner == owner);
        for (_, slot) in others.filter(|(place, _)| !seen.contains(*place)) {
            slot.not_listed(begun, now);
        }
    }

    /// A list that was begun at `begun` has `object`.
    fn confirm(&mut self, object: &DynamicObject, begun: Instant, now: Instant) -> Option<News> {
        let place = place(object);
        let known = self.slots.get(&place);
        // What is still there was not deleted, whatever the answer was.
        if known.is_some_and(|slot| slot.is_gone() && slot.owes_since_before(begun)) {
            self.slots.remove(&place);
        }
        self.put(object, By::Watch, now)
    }

    fn of_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Place, &'a Slot)> {
        let from = (namespace.to_owned(), String::new());
        self.slots.range(from..).take_while(move |((at, _), _)| at == namespace)
    }

    /// Removes tombstones that nothing late can pass any more.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < TOMBSTONE_TTL) {
            return;
        }
        self.swept = Some(now);
        self.slots.retain(|_, slot| match slot.state {
            State::There(_) => true,
            // What the watch has not shown to be gone it may still show as it was before.
            State::Gone { since, .. } => slot.unseen.is_some() || now.duration_since(since) < TOMBSTONE_TTL,
        });
    }
}

impl Slot {
    /// Whether more is known than this version of this object.
    fn is_newer_than(&self, uid: &str, version: u64) -> bool {
        match self.state {
            State::There(_) => self.version > version,
            State::Gone { deleted, .. } => (deleted && self.uid == uid) || self.version >= version,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone { .. })
    }

    fn owes_since_before(&self, begun: Instant) -> bool {
        self.unseen.is_some_and(|since| since < begun)
    }

    /// A list that was begun at `begun` does not have it.
    fn not_listed(&mut self, begun: Instant, now: Instant) -> Option<Json> {
        // Written after the list was: the watch will tell of it.
        if self.unseen.is_some() && !self.owes_since_before(begun) {
            return None;
        }
        self.unseen = None;
        if self.is_gone() {
            return None;
        }
        std::mem::replace(&mut self.state, State::Gone { since: now, deleted: false }).into_json()
    }
}

impl State {
    fn into_json(self) -> Option<Json> {
        match self {
            Self::There(json) => Some(json),
            Self::Gone { .. } => None,
        }
    }
}

fn place(object: &DynamicObject) -> Place {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Versions of one kind are numbers that grow: a promise of Kubernetes since 1.35, and true of etcd's revisions before.
fn version(object: &DynamicObject) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
