//! What Strimzi says of its Kafka clusters, topics and users, where its kinds are served: kept by watches, so that a
//! pass asks nobody.
//!
//! - A topic that Strimzi's `KafkaTopic` names is left to it: two operators that both look after one topic undo each
//!   other's work for ever.
//! - A `Kafka` says where its listeners are, how one logs in, and which namespaces may use it ([`objects::Kafka`]).
//! - Its User Operator removes every user and ACL that no `KafkaUser` asks for. On its clusters the services' users are
//!   `KafkaUser`s therefore; those of ours are watched, to know when they are ready.

pub mod objects;
mod watching;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use tokio::sync::watch;

pub use self::objects::Key;
use self::objects::{Kafka, Topic};
pub use self::watching::{served, watch};
use super::changes::{Changes, Teller};
use super::clusters::Cluster;
use super::context::Context;
use super::error::Error;
use crate::crd::is_object_name;

/// The group of Strimzi's kinds.
pub const GROUP: &str = "kafka.strimzi.io";
/// Label: the cluster that a topic or a user belongs to.
pub const CLUSTER_LABEL: &str = "strimzi.io/cluster";

/// What changed about Strimzi's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A topic of this name got, or lost, an owner.
    Topic(String),
    /// A user of the pipeline with this uid.
    User(String),
    /// A cluster, or more than can be told.
    Everything,
}

/// What Strimzi looks after.
#[derive(Debug)]
pub struct Strimzi {
    topics: Mutex<HashMap<Key, Topic>>,
    kafkas: Mutex<HashMap<Key, Kafka>>,
    version: Mutex<Option<&'static str>>,
    known: watch::Sender<bool>,
    changes: Teller<Change>,
}

impl Default for Strimzi {
    fn default() -> Self {
        Self {
            topics: Mutex::default(),
            kafkas: Mutex::default(),
            version: Mutex::default(),
            known: watch::Sender::new(false),
            changes: Teller::default(),
        }
    }
}

impl Strimzi {
    /// Waits until it is known what Strimzi looks after, so that nothing of it is touched by mistake.
    pub async fn until_known(&self) {
        // The sender lives as long as this does.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    /// The changes from now on.
    pub fn changes(&self) -> Changes<Change> {
        self.changes.changes()
    }

    /// The newest version in which Strimzi's kinds are served, where they are.
    pub fn version(&self) -> Option<&'static str> {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Strimzi's kind of users, where it is served.
    pub fn user_kind(&self) -> Option<ApiResource> {
        self.version().map(user_kind)
    }

    /// Strimzi's object for the topic `name` of `cluster`, as `namespace/name`.
    pub fn owner(&self, name: &str, cluster: &Cluster) -> Option<String> {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let kafkas = self.kafkas.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owners = topics.iter().filter(|(_, topic)| {
            topic.name == name && is(&topic.kafka, kafkas.get(&topic.kafka), cluster.id(), cluster.servers())
        });
        owners.next().map(|((namespace, object), _)| format!("{namespace}/{object}"))
    }

    /// The cluster of Strimzi's with this namespace and name.
    pub fn kafka(&self, key: &Key) -> Option<Kafka> {
        self.kafkas.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The `Kafka` that `cluster` is, as `namespace/name`, where a User Operator removes the users that are not its
    /// own.
    pub fn with_user_operator(&self, cluster: &Cluster) -> Option<String> {
        let found = self.that_is(cluster, |kafka| kafka.has_user_operator && !kafka.spares_some_users);
        found.map(|(namespace, name)| format!("{namespace}/{name}"))
    }

    /// The `Kafka` that `cluster` is, where a User Operator looks after its users, or after some of them.
    pub fn with_any_user_operator(&self, cluster: &Cluster) -> Option<Key> {
        self.that_is(cluster, |kafka| kafka.has_user_operator)
    }

    /// The `Kafka` that `cluster` is, of those that `fit`.
    fn that_is(&self, cluster: &Cluster, fit: impl Fn(&Kafka) -> bool) -> Option<Key> {
        let kafkas = self.kafkas.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = kafkas
            .iter()
            .filter(|(key, kafka)| fit(kafka) && is(key, Some(kafka), cluster.id(), cluster.servers()));
        found.next().map(|(key, _)| key.clone())
    }

    fn tell(&self, change: Change) {
        self.changes.tell(change);
    }

    /// Strimzi's kinds are not served, and so none of its objects is there.
    fn is_gone(&self) {
        self.known.send_replace(true);
        if self.version().is_none() {
            return;
        }
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.kafkas.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.tell(Change::Everything);
    }
}

/// Strimzi's kind of users in a version.
pub fn user_kind(version: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, "KafkaUser"))
}

/// Whether the cluster `kafka` has a `KafkaUser` of this name, as the apiserver says now.
///
/// # Errors
/// [`Error::Kubernetes`] when it does not say.
pub async fn has_user(ctx: &Context, (namespace, kafka): &Key, name: &str) -> Result<bool, Error> {
    let Some(kind) = ctx.strimzi.user_kind() else { return Ok(false) };
    // Of another, such as a distinguished name, no address can be made to ask for it.
    if !is_object_name(name) {
        return Ok(false);
    }
    let users: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &kind);
    match users.get_metadata_opt(name).await {
        Ok(user) => Ok(user.is_some_and(|user| user.labels().get(CLUSTER_LABEL) == Some(kafka))),
        Err(error) => Err(Error::kubernetes(format!("look for the KafkaUser {namespace}/{name}"))(error)),
    }
}

/// Whether Strimzi's cluster `key` is the one with this id, or at these addresses.
///
/// A cluster of which nothing is known is told by the names that Strimzi gives its Services.
fn is(key: &Key, kafka: Option<&Kafka>, id: Option<String>, servers: &str) -> bool {
    let (namespace, name) = key;
    let known = kafka.cloned().unwrap_or_default();
    if let (Some(theirs), Some(ours)) = (&known.cluster_id, &id) {
        return theirs == ours;
    }
    let (prefix, place) = (format!("{name}-kafka-"), format!("bootstrap.{namespace}"));
    let service = |address: &str| {
        let rest = address.strip_prefix(&prefix).and_then(|rest| rest.split_once(&place));
        rest.is_some_and(|(_, rest)| rest.starts_with(['.', ':']))
    };
    servers.split(',').any(|address| known.has_address(address) || service(address))
}

#[cfg(test)]
mod tests {
    use super::objects::Listener;
    use super::*;

    #[test]
    fn clusters_are_told_by_id_then_by_address_then_by_service() {
        let main = ("kafka".to_owned(), "main".to_owned());
        let listener = Listener { servers: Some("main.example:9094".to_owned()), ..Listener::default() };
        let listeners = [("external".to_owned(), listener)].into();
        let known = Kafka { cluster_id: Some("one".to_owned()), listeners, ..Kafka::default() };
        let id = |id: &str| Some(id.to_owned());

        assert!(is(&main, Some(&known), id("one"), "elsewhere:9092"));
        assert!(!is(&main, Some(&known), id("two"), "main.example:9094"));
        assert!(is(&main, Some(&known), None, "other:1,main.example:9094"));
        assert!(is(&main, None, id("one"), "main-kafka-bootstrap.kafka.svc:9093"));
        assert!(is(&main, None, id("one"), "main-kafka-tls-bootstrap.kafka.svc.cluster.local:9093"));
        assert!(!is(&main, None, id("one"), "main-kafka-bootstrap.other.svc:9093"));
        assert!(!is(&main, None, id("one"), "main-kafka-bootstrap.kafka-2.svc:9093"));
        assert!(!is(&main, None, id("one"), "kafka:9092"));
    }
}
