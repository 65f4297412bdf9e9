//! Topics that belong to Strimzi's Topic Operator: two operators that both look after one topic undo each
//! other's work for ever. Where Strimzi's `KafkaTopic` (`kafkatopics.kafka.strimzi.io`) is served, it is watched,
//! and whatever topic it names is left to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;

use super::validate::is_named;
use crate::controller::clusters::Cluster;
use crate::controller::context::Context;
use crate::crd::KafkaTopic;

const GROUP: &str = "kafka.strimzi.io";
/// Strimzi's API versions, the newer first; both have all that is read here.
const VERSIONS: [&str; 2] = ["v1", "v1beta2"];
/// Whether Strimzi is there is asked so often; it comes and goes with a platform, not with a topic.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(300);
/// The cluster that a topic belongs to.
const CLUSTER_LABEL: &str = "strimzi.io/cluster";
/// `false` tells Strimzi to leave a topic alone.
const MANAGED: &str = "strimzi.io/managed";

/// Namespace and name of an object.
type Key = (String, String);

/// What Strimzi looks after.
#[derive(Debug)]
pub struct StrimziTopics {
    topics: Mutex<HashMap<Key, Topic>>,
    kafkas: Mutex<HashMap<Key, Kafka>>,
    known: watch::Sender<bool>,
}

/// A topic of Strimzi's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Topic {
    name: String,
    kafka: Key,
}

/// A Kafka cluster of Strimzi's, as its status tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kafka {
    cluster_id: Option<String>,
    addresses: Vec<String>,
}

impl Default for StrimziTopics {
    fn default() -> Self {
        Self { topics: Mutex::default(), kafkas: Mutex::default(), known: watch::Sender::new(false) }
    }
}

impl StrimziTopics {
    /// Waits until it is known what Strimzi looks after, so that nothing of it is touched by mistake.
    pub async fn until_known(&self) {
        // The sender lives as long as this does.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
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

    fn forget(&self) {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.kafkas.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
    servers.split(',').any(|address| known.addresses.iter().any(|known| known == address) || service(address))
}

fn topic(object: &DynamicObject) -> Option<Topic> {
    if object.annotations().get(MANAGED).is_some_and(|managed| managed == "false") {
        return None;
    }
    let name = object.data.pointer("/spec/topicName").and_then(Value::as_str);
    Some(Topic {
        name: name.map_or_else(|| object.name_any(), str::to_owned),
        kafka: (object.namespace()?, object.labels().get(CLUSTER_LABEL)?.clone()),
    })
}

fn kafka(object: &DynamicObject) -> Option<Kafka> {
    let status = object.data.get("status")?;
    let listeners = status.get("listeners").and_then(Value::as_array).into_iter().flatten();
    let addresses = listeners.filter_map(|listener| listener.get("bootstrapServers")?.as_str());
    Some(Kafka {
        cluster_id: status.get("clusterId").and_then(Value::as_str).map(str::to_owned),
        addresses: addresses.flat_map(|servers| servers.split(',')).map(str::to_owned).collect(),
    })
}

/// Keeps what is known up to date, for as long as it is polled; `wake` is given the name of each topic whose
/// owner may have changed, or none when all may have.
pub async fn watch(ctx: &Context, wake: impl Fn(Option<&str>)) {
    loop {
        match served(&ctx.client).await {
            Ok(Some(version)) => {
                tracing::info!(version, "Strimzi is there; its topics are left to it");
                follow(ctx, version, &wake).await;
                ctx.strimzi.forget();
                wake(None);
            }
            Ok(None) => {
                ctx.strimzi.known.send_replace(true);
            }
            Err(error) => {
                tracing::warn!(%error, "whether Strimzi is there is not known, will be asked again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        tokio::time::sleep(DISCOVERY_INTERVAL).await;
    }
}

/// The newest version in which Strimzi's topics are served, if they are.
async fn served(client: &Client) -> kube::Result<Option<&'static str>> {
    let groups = client.list_api_groups().await?.groups;
    let Some(group) = groups.into_iter().find(|group| group.name == GROUP) else { return Ok(None) };
    for version in VERSIONS {
        if group.versions.iter().any(|served| served.version == version) {
            let resources = client.list_api_group_resources(&format!("{GROUP}/{version}")).await?.resources;
            return Ok(resources.iter().any(|resource| resource.name == "kafkatopics").then_some(version));
        }
    }
    Ok(None)
}

/// Follows both kinds until one of them is no longer to be had.
async fn follow(ctx: &Context, version: &str, wake: &impl Fn(Option<&str>)) {
    let changed = |before: Option<&Topic>, after: Option<&Topic>| {
        for topic in [before, after].into_iter().flatten().filter(|_| before != after) {
            wake(Some(&topic.name));
        }
    };
    let (topics_listed, kafkas_listed) = (watch::Sender::new(false), watch::Sender::new(false));
    let both_listed = async {
        // The senders live as long as this future.
        let _ = kafkas_listed.subscribe().wait_for(|listed| *listed).await;
        let _ = topics_listed.subscribe().wait_for(|listed| *listed).await;
        ctx.strimzi.known.send_replace(true);
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = mirror(ctx, version, "KafkaTopic", topic, &ctx.strimzi.topics, &topics_listed, changed) => {}
        () = mirror(ctx, version, "Kafka", kafka, &ctx.strimzi.kafkas, &kafkas_listed, |before, after| {
            if before != after {
                wake(None);
            }
        }) => {}
        () = both_listed => {}
    }
    // Not to be had: that must not keep anybody from working.
    ctx.strimzi.known.send_replace(true);
}

/// Keeps in `known` what `read` makes of each object of a kind, and tells of changes. Ends when the kind is not
/// served any more, or may not be read.
async fn mirror<T: Clone + PartialEq>(
    ctx: &Context,
    version: &str,
    kind: &str,
    read: impl Fn(&DynamicObject) -> Option<T>,
    known: &Mutex<HashMap<Key, T>>,
    listed: &watch::Sender<bool>,
    changed: impl Fn(Option<&T>, Option<&T>),
) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, kind));
    let api: Api<DynamicObject> = match &ctx.settings.namespace {
        Some(namespace) => Api::namespaced_with(ctx.client.clone(), namespace, &resource),
        None => Api::all_with(ctx.client.clone(), &resource),
    };
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut listing: BTreeMap<Key, Option<T>> = BTreeMap::new();
    let put = |key: Key, value: Option<T>| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match value.clone() {
            Some(value) => known.insert(key, value),
            None => known.remove(&key),
        };
        drop(known);
        changed(before.as_ref(), value.as_ref());
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listing.clear(),
            Ok(watcher::Event::InitApply(object)) => drop(listing.insert(key(&object), read(&object))),
            Ok(watcher::Event::InitDone) => {
                let gone: Vec<Key> = {
                    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                    known.keys().filter(|key| !listing.contains_key(*key)).cloned().collect()
                };
                gone.into_iter().for_each(|key| put(key, None));
                std::mem::take(&mut listing).into_iter().for_each(|(key, value)| put(key, value));
                listed.send_replace(true);
            }
            Ok(watcher::Event::Apply(object)) => put(key(&object), read(&object)),
            Ok(watcher::Event::Delete(object)) => put(key(&object), None),
            Err(error) if lost(&error) => {
                tracing::warn!(kind, %error, "Strimzi's objects can no longer be watched");
                return;
            }
            Err(error) => tracing::debug!(kind, %error, "watch failed, will be resumed"),
        }
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Whether the apiserver says that there is no such kind, or that it is not for us.
fn lost(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        watcher::Error::WatchError(status) => status,
        _ => return false,
    };
    status.is_not_found() || status.is_forbidden()
}

/// The objects of ours that name `topic`; all of them without a name.
pub fn naming(objects: &Store<KafkaTopic>, topic: Option<&str>) -> Vec<ObjectRef<KafkaTopic>> {
    let named = |object: &&Arc<KafkaTopic>| topic.is_none_or(|topic| is_named(object, topic));
    objects.state().iter().filter(named).map(|object| ObjectRef::from_obj(&**object)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: Value) -> DynamicObject {
        serde_json::from_value(json).unwrap()
    }

    fn key_of(namespace: &str, name: &str) -> Key {
        (namespace.to_owned(), name.to_owned())
    }

    #[test]
    fn a_topic_that_strimzi_leaves_alone_has_no_owner() {
        let mut json = serde_json::json!({
            "apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic",
            "metadata": {"name": "orders", "namespace": "kafka", "labels": {"strimzi.io/cluster": "main"}},
            "spec": {"topicName": "orders.created"},
        });

        let managed = topic(&object(json.clone()));
        json["metadata"]["annotations"] = serde_json::json!({"strimzi.io/managed": "false"});

        let kafka = key_of("kafka", "main");
        assert_eq!(managed, Some(Topic { name: "orders.created".to_owned(), kafka }));
        assert_eq!(topic(&object(json)), None);
    }

    #[test]
    fn clusters_are_told_by_id_then_by_address_then_by_service() {
        let main = key_of("kafka", "main");
        let addresses = vec!["main.example:9094".to_owned()];
        let known = Kafka { cluster_id: Some("one".to_owned()), addresses };
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
