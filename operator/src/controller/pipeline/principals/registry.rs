//! What each pipeline's users were when a pass left them, so that a pass without work asks nobody.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kafka_admin::{AclBinding, ScramMechanism};
use kube::runtime::reflector::ObjectRef;

use super::wanted::Wanted;
use crate::controller::clusters::Cluster;
use crate::crd::OrderPipeline;

/// A pipeline whose users are as they should be.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The pipeline.
    pub object: ObjectRef<OrderPipeline>,
    /// Where its users are.
    pub cluster: Arc<Cluster>,
    /// Their names.
    pub users: Vec<String>,
    /// What they log in with.
    pub mechanism: ScramMechanism,
    /// What they may do.
    pub acls: BTreeSet<AclBinding>,
    fingerprint: String,
}

impl Entry {
    pub(super) fn of(
        object: ObjectRef<OrderPipeline>,
        cluster: Arc<Cluster>,
        wanted: &Wanted,
        fingerprint: String,
    ) -> Self {
        let (users, acls) = (wanted.users().collect(), wanted.acls.clone());
        Self { object, cluster, users, mechanism: wanted.mechanism, acls, fingerprint }
    }
}

/// Every pipeline whose users are as a pass left them, by uid.
#[derive(Debug, Default)]
pub struct PrincipalRegistry {
    settled: Mutex<HashMap<String, Entry>>,
}

impl PrincipalRegistry {
    pub(super) fn settle(&self, uid: &str, entry: Entry) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), entry);
    }

    pub(super) fn is_settled(&self, uid: &str, fingerprint: &str) -> bool {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.get(uid).is_some_and(|entry| entry.fingerprint == fingerprint)
    }

    /// What is known of the pipeline's users is no longer to be trusted. Whether anything was.
    pub(in crate::controller::pipeline) fn forget(&self, uid: &str) -> bool {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).remove(uid).is_some()
    }

    /// The cluster that the pipeline's users were last seen in.
    pub(in crate::controller::pipeline) fn cluster(&self, uid: &str) -> Option<Arc<Cluster>> {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.get(uid).map(|entry| Arc::clone(&entry.cluster))
    }

    pub(super) fn all(&self) -> Vec<(String, Entry)> {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.iter().map(|(uid, entry)| (uid.clone(), entry.clone())).collect()
    }
}
