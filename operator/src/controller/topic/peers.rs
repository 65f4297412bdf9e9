//! All objects, by the topic that they stand for: several may name one, and every pass has to know.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;

use super::validate::{effective_name, is_named};
use crate::crd::KafkaTopic;

type Claims = HashMap<String, HashSet<ObjectRef<KafkaTopic>>>;

/// The objects that the watch has shown.
#[derive(Clone)]
pub struct Peers {
    store: Store<KafkaTopic>,
    claims: Arc<Mutex<Claims>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl Peers {
    /// The objects in `store`; [`Peers::saw`] has to be told of each event after the store.
    pub fn of(store: Store<KafkaTopic>) -> Self {
        Self { store, claims: Arc::default() }
    }

    /// The watch has shown `event`.
    pub fn saw(&self, event: &Event<KafkaTopic>) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(topic) | Event::InitApply(topic) => {
                claims.entry(effective_name(topic)).or_default().insert(ObjectRef::from_obj(topic));
            }
            Event::Delete(topic) => {
                let (name, gone) = (effective_name(topic), ObjectRef::from_obj(topic));
                let others = claims.get_mut(&name).is_some_and(|claims| {
                    claims.remove(&gone);
                    !claims.is_empty()
                });
                if !others {
                    claims.remove(&name);
                }
            }
            // Those that went while the watch was down are told before the end of the list.
            Event::Init | Event::InitDone => {}
        }
    }

    /// The objects that stand for `topic`.
    pub fn naming(&self, topic: &str) -> Vec<Arc<KafkaTopic>> {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = claims.get(topic).into_iter().flatten().filter_map(|object| self.store.get(object));
        objects.filter(|object| is_named(object, topic)).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<KafkaTopic>> {
        self.store.state()
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use kube::runtime::reflector::{self, store::Writer};
    use serde_json::json;

    use super::*;
    use crate::crd::fixtures::kafka_topic;

    struct Watch {
        writer: Writer<KafkaTopic>,
        peers: Peers,
    }

    impl Watch {
        fn new() -> Self {
            let (store, writer) = reflector::store();
            Self { writer, peers: Peers::of(store) }
        }

        fn shows(&mut self, events: impl IntoIterator<Item = Event<KafkaTopic>>) {
            for event in events {
                self.writer.apply_watcher_event(&event);
                self.peers.saw(&event);
            }
        }

        fn naming(&self, topic: &str) -> Vec<String> {
            let mut names: Vec<_> = self.peers.naming(topic).iter().map(|peer| peer.name_any()).collect();
            names.sort();
            names
        }
    }

    fn object(name: &str, topic: Option<&str>) -> KafkaTopic {
        kafka_topic(json!({"metadata": {"name": name}, "spec": {"topicName": topic}}))
    }

    #[test]
    fn objects_are_found_by_their_topic_and_not_after_they_are_gone() {
        let mut watch = Watch::new();
        let (own, other) = (object("orders", None), object("other", Some("orders")));

        watch.shows([own.clone(), other.clone(), object("mails", None)].map(Event::Apply));
        assert_eq!(watch.naming("orders"), ["orders", "other"]);
        watch.shows([Event::Delete(own)]);
        assert_eq!(watch.naming("orders"), ["other"]);
        watch.shows([Event::Delete(other)]);

        assert!(watch.naming("orders").is_empty());
        assert_eq!(watch.peers.claims.lock().unwrap().len(), 1);
    }
}
