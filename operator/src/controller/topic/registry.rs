//! What is known about the topic of each object, so that a pass without work asks nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kafka_admin::TopicName;
use kube::runtime::reflector::ObjectRef;

use super::observed::Sighting;
use crate::controller::clusters::Cluster;
use crate::crd::KafkaTopic;

/// One object that stands for a topic.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The object.
    pub object: ObjectRef<KafkaTopic>,
    /// Its topic.
    pub name: TopicName,
    /// Where the topic is.
    pub cluster: Arc<Cluster>,
    /// What the object's last pass went by; none before it, and after a pass that failed.
    pub settled: Option<Sighting>,
    /// What was seen last, in a pass or in bulk; none when that is no longer to be trusted.
    pub latest: Option<Sighting>,
}

/// Every object that stands for a topic, by uid.
#[derive(Debug, Default)]
pub struct TopicRegistry {
    entries: Mutex<HashMap<String, Entry>>,
}

impl TopicRegistry {
    /// `object` (with this uid) stands for `name` in `cluster`. Keeps what is known unless one of them changed.
    pub fn enrol(&self, uid: &str, object: ObjectRef<KafkaTopic>, name: &TopicName, cluster: &Arc<Cluster>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.get(uid).is_some_and(|e| e.name == *name && e.cluster.key() == cluster.key());
        if !known {
            let cluster = Arc::clone(cluster);
            let entry = Entry { object, name: name.clone(), cluster, settled: None, latest: None };
            entries.insert(uid.to_owned(), entry);
        }
    }

    /// What was seen last of the topic, if that can be trusted.
    pub fn latest(&self, uid: &str) -> Option<Sighting> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(uid)?.latest.clone()
    }

    /// A pass saw this and acted on it: from now on only another sight is drift.
    pub fn settle(&self, uid: &str, sighting: Sighting) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(uid) {
            entry.settled = Some(sighting.clone());
            entry.latest = Some(sighting);
        }
    }

    /// The topic is being changed: what was seen of it is history.
    pub fn unsettle(&self, uid: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(uid) {
            entry.settled = None;
            entry.latest = None;
        }
    }

    /// A look in bulk saw this. Returns whether the object has to act: it is not what its last pass went by.
    ///
    /// A pass that is under way (not settled) will look itself.
    pub fn sighted(&self, uid: &str, sighting: Sighting) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(uid) else { return false };
        match &entry.settled {
            Some(settled) if *settled != sighting => {
                entry.latest = Some(sighting);
                true
            }
            Some(_) => {
                entry.latest = Some(sighting);
                false
            }
            None => false,
        }
    }

    /// The object is gone, or does not stand for its topic any more.
    pub fn forget(&self, uid: &str) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// The cluster that the object's topic was last seen in.
    pub fn cluster(&self, uid: &str) -> Option<Arc<Cluster>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(uid).map(|entry| Arc::clone(&entry.cluster))
    }

    /// Every entry of a cluster, with its uid.
    pub fn of_cluster(&self, key: &str) -> Vec<(String, Entry)> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .filter(|(_, e)| e.cluster.key() == key)
            .map(|(uid, e)| (uid.clone(), e.clone()))
            .collect()
    }
}
