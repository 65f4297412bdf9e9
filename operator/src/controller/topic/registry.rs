//! What is known about the topic of each object, so that a pass without work asks nobody.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kafka_admin::TopicName;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::access::Bindings;
use super::identity::TopicIdentity;
use super::observed::{ObservedTopic, Settings, Sighting};
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
    /// What the object's last pass left of the ACLs that concern it; none where none do.
    pub rights: Option<Arc<Rights>>,
}

/// ACLs that concern an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Rights {
    /// Which ones do.
    pub asked: Bindings,
    /// Those of them that were there.
    pub found: Bindings,
}

/// Every object that stands for a topic, by uid.
#[derive(Debug, Default)]
pub struct TopicRegistry {
    entries: Mutex<HashMap<String, Entry>>,
    /// What each object stands for, by uid, as its last pass that saw the topic found it. Statuses say the same, but
    /// later, and not if they could not be written.
    identities: Mutex<HashMap<String, TopicIdentity>>,
    settings: Shared,
}

/// Settings that topics have, each combination once: thousands of topics are set in a few ways.
#[derive(Debug, Default)]
struct Shared(Mutex<HashSet<Arc<Settings>>>);

impl Shared {
    /// `sighting`, its settings shared with those of other topics.
    fn share(&self, sighting: Sighting) -> Sighting {
        let Ok(Some(topic)) = sighting else { return sighting };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = if let Some(known) = all.get(&topic.settings) {
            Arc::clone(known)
        } else {
            all.retain(|settings| Arc::strong_count(settings) > 1);
            all.insert(Arc::clone(&topic.settings));
            Arc::clone(&topic.settings)
        };
        Ok(Some(ObservedTopic { settings, ..topic }))
    }
}

impl TopicRegistry {
    /// `object` (with this uid) stands for `name` in `cluster`. Keeps what is known unless one of them changed.
    pub fn enrol(&self, uid: &str, object: ObjectRef<KafkaTopic>, name: &TopicName, cluster: &Arc<Cluster>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.get(uid).is_some_and(|e| e.name == *name && e.cluster.key() == cluster.key());
        if !known {
            let cluster = Arc::clone(cluster);
            let name = name.clone();
            let entry = Entry { object, name, cluster, settled: None, latest: None, rights: None };
            entries.insert(uid.to_owned(), entry);
        }
    }

    /// What was seen last of the topic, if that can be trusted.
    pub fn latest(&self, uid: &str) -> Option<Sighting> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(uid)?.latest.clone()
    }

    /// A pass saw this and acted on it: from now on only another sight is drift.
    pub fn settle(&self, uid: &str, sighting: Sighting) {
        let sighting = self.settings.share(sighting);
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
            entry.rights = None;
        }
    }

    /// A look in bulk saw this. Returns whether the object has to act: it is not what its last pass went by.
    ///
    /// A pass that is under way (not settled) will look itself.
    pub fn sighted(&self, uid: &str, sighting: Sighting) -> bool {
        let sighting = self.settings.share(sighting);
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

    /// What is known of the ACLs that concern the object, if that can be trusted.
    pub fn rights(&self, uid: &str) -> Option<Arc<Rights>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(uid)?.rights.clone()
    }

    /// A pass left the ACLs so: from now on only others are drift.
    pub fn settle_rights(&self, uid: &str, rights: Rights) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(uid) {
            entry.rights = Some(Arc::new(rights));
        }
    }

    /// The ACLs are being changed, or somebody asks for a look: what was seen of them is history.
    pub fn unsettle_rights(&self, uid: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(uid) {
            entry.rights = None;
        }
    }

    /// A look in bulk for `rights` saw `found`. Returns whether the object has to act: it is not what its last pass
    /// left, and no pass has changed it meanwhile.
    pub fn rights_sighted(&self, uid: &str, rights: &Arc<Rights>, found: &Bindings) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(uid) else { return false };
        let is_current = entry.rights.as_ref().is_some_and(|current| Arc::ptr_eq(current, rights));
        let drifted = is_current && rights.found != *found;
        if drifted {
            entry.rights = None;
        }
        drifted
    }

    /// The object does not look after its topic for now.
    pub fn unenrol(&self, uid: &str) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// The object stands for this topic.
    pub fn stands_for(&self, uid: &str, identity: TopicIdentity) {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), identity);
    }

    /// The topic that `object` stands for, if it ever had one.
    pub fn known(&self, object: &KafkaTopic) -> Option<TopicIdentity> {
        let identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = object.uid().and_then(|uid| identities.get(&uid).cloned());
        seen.or_else(|| TopicIdentity::told_by(object.status.as_ref()?))
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.unenrol(uid);
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Only the objects with these uids are there.
    pub fn retain(&self, uids: &HashSet<String>) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| uids.contains(uid));
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| uids.contains(uid));
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

#[cfg(test)]
mod tests {
    use kafka_admin::TopicId;

    use super::*;
    use crate::controller::topic::observed::Setting;

    fn seen(retention: &str) -> Sighting {
        let setting = Setting { value: Some(retention.to_owned()), overridden: true };
        let settings = Arc::new(Settings::from([("retention.ms".to_owned(), setting)]));
        Ok(Some(ObservedTopic { id: TopicId::from_bits(1), partitions: 1, replicas: 1, settings }))
    }

    fn settings(sighting: &Sighting) -> &Arc<Settings> {
        &sighting.as_ref().unwrap().as_ref().unwrap().settings
    }

    #[test]
    fn topics_that_are_set_alike_share_their_settings_for_as_long_as_there_are_any() {
        let shared = Shared::default();

        let (one, other) = (shared.share(seen("1")), shared.share(seen("1")));
        assert!(Arc::ptr_eq(settings(&one), settings(&other)));
        drop((one, other));
        let different = shared.share(seen("2"));

        assert_eq!(settings(&different).len(), 1);
        assert_eq!(shared.0.lock().unwrap().len(), 1);
    }
}
