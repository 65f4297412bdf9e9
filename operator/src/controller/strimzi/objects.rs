//! What is read of Strimzi's objects: of their many fields those that matter here. Both API versions that are served
//! anywhere (`v1`, `v1beta2`) have them.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use super::CLUSTER_LABEL;

/// Annotation of a topic: `false` tells Strimzi to leave it alone.
const MANAGED: &str = "strimzi.io/managed";
/// Annotation of a `Kafka`: the namespaces whose pipelines and topics may use it, besides its own.
pub const ALLOWED_NAMESPACES: &str = "orderpipeline.dev/allowed-namespaces";

/// Variable of Strimzi's User Operator: whom it leaves alone.
const IGNORED_USERS: &str = "STRIMZI_IGNORED_USERS_PATTERN";

/// Namespace and name of an object.
pub type Key = (String, String);

/// A topic of Strimzi's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name in Kafka.
    pub name: String,
    /// The cluster that it is in.
    pub kafka: Key,
}

impl Topic {
    /// The topic that `object` stands for; none where Strimzi leaves it alone, or it names no cluster.
    pub fn of(object: &DynamicObject) -> Option<Self> {
        if object.annotations().get(MANAGED).is_some_and(|managed| managed == "false") {
            return None;
        }
        let name = object.data.pointer("/spec/topicName").and_then(Value::as_str);
        Some(Self {
            name: name.map_or_else(|| object.name_any(), str::to_owned),
            kafka: (object.namespace()?, object.labels().get(CLUSTER_LABEL)?.clone()),
        })
    }
}

/// A Kafka cluster of Strimzi's, as its spec and its status tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kafka {
    /// The cluster's own id, once it has one.
    pub cluster_id: Option<String>,
    /// By name.
    pub listeners: BTreeMap<String, Listener>,
    /// What [`ALLOWED_NAMESPACES`] says.
    pub allowed_namespaces: Vec<String>,
    /// Whether an authorizer looks at ACLs. Strimzi refuses users with rights where there is none.
    pub has_authorization: bool,
    /// Whether Strimzi runs a User Operator for it.
    pub has_user_operator: bool,
    /// Whether that one was told to leave users of some names alone. Which names these are is a Java expression;
    /// whoever wrote it is trusted to have meant ours.
    pub spares_some_users: bool,
}

/// A way into a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// Comma-separated `host:port`; none until Strimzi has found out.
    pub servers: Option<String>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// How one says who one is.
    pub authentication: Authentication,
    /// The certificates that it shows, in PEM, where they are its own and not signed by the cluster's authority.
    pub own_certificates: Vec<String>,
}

/// How clients of a listener say who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    #[default]
    None,
    /// By user and password.
    Scram,
    /// By a certificate.
    Tls,
    /// In a way that is not known here.
    Other(String),
}

impl Kafka {
    /// The cluster that `object` stands for.
    pub fn of(object: &DynamicObject) -> Option<Self> {
        let at = |path| object.data.pointer(path).filter(|found| !found.is_null());
        let allowed = object.annotations().get(ALLOWED_NAMESPACES).map(String::as_str).unwrap_or_default();
        let allowed = allowed.split(',').map(str::trim).filter(|name| !name.is_empty());
        let addresses = list(at("/status/listeners"));
        let listeners = list(at("/spec/kafka/listeners")).iter().filter_map(|listener| {
            let name = text(listener, "name")?;
            let status = addresses.iter().find(|status| is_named(status, &name));
            Some((name, Listener::of(listener, status)))
        });
        Some(Self {
            cluster_id: at("/status/clusterId").and_then(Value::as_str).map(str::to_owned),
            listeners: listeners.collect(),
            allowed_namespaces: allowed.map(str::to_owned).collect(),
            has_authorization: at("/spec/kafka/authorization").is_some(),
            has_user_operator: at("/spec/entityOperator/userOperator").is_some(),
            spares_some_users: list(at("/spec/entityOperator/template/userOperatorContainer/env"))
                .iter()
                .any(|variable| text(variable, "name").as_deref() == Some(IGNORED_USERS)),
        })
    }

    /// Whether objects of `namespace`, which is not its own, may use it.
    pub fn allows(&self, namespace: &str) -> bool {
        self.allowed_namespaces.iter().any(|allowed| allowed == "*" || allowed == namespace)
    }

    /// Whether one of its listeners is at `address`.
    pub fn has_address(&self, address: &str) -> bool {
        let servers = self.listeners.values().filter_map(|listener| listener.servers.as_deref());
        servers.flat_map(|servers| servers.split(',')).any(|known| known == address)
    }
}

impl Listener {
    fn of(spec: &Value, status: Option<&Value>) -> Self {
        let authentication = match spec.pointer("/authentication/type").and_then(Value::as_str) {
            None => Authentication::None,
            Some("scram-sha-512") => Authentication::Scram,
            Some("tls") => Authentication::Tls,
            Some(other) => Authentication::Other(other.to_owned()),
        };
        let has_own = spec.pointer("/configuration/brokerCertChainAndKey").is_some();
        let certificates = list(status.and_then(|status| status.get("certificates")));
        let own = certificates.iter().filter(|_| has_own).filter_map(Value::as_str);
        Self {
            servers: status.and_then(|status| text(status, "bootstrapServers")),
            tls: spec.get("tls").and_then(Value::as_bool).unwrap_or_default(),
            authentication,
            own_certificates: own.map(str::to_owned).collect(),
        }
    }
}

/// Whether an entry of a status is about this listener; `v1beta2` has had `type` for the name.
fn is_named(status: &Value, name: &str) -> bool {
    status.get("name").or_else(|| status.get("type")).and_then(Value::as_str) == Some(name)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(json: Value) -> DynamicObject {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_topic_that_strimzi_leaves_alone_has_no_owner() {
        let mut topic = json!({
            "apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic",
            "metadata": {"name": "orders", "namespace": "kafka", "labels": {"strimzi.io/cluster": "main"}},
            "spec": {"topicName": "orders.created"},
        });

        let managed = Topic::of(&object(topic.clone()));
        topic["metadata"]["annotations"] = json!({"strimzi.io/managed": "false"});

        let kafka = ("kafka".to_owned(), "main".to_owned());
        assert_eq!(managed, Some(Topic { name: "orders.created".to_owned(), kafka }));
        assert_eq!(Topic::of(&object(topic)), None);
    }

    #[test]
    fn a_cluster_tells_its_listeners_and_whom_it_lets_in() {
        let kafka = Kafka::of(&object(json!({
            "apiVersion": "kafka.strimzi.io/v1", "kind": "Kafka",
            "metadata": {"name": "main", "annotations": {ALLOWED_NAMESPACES: "shop, staging,"}},
            "spec": {
                "kafka": {"authorization": {"type": "simple"}, "listeners": [
                    {"name": "plain", "port": 9092, "type": "internal", "tls": false},
                    {"name": "tls", "port": 9093, "type": "internal", "tls": true,
                     "authentication": {"type": "scram-sha-512"}},
                ]},
                "entityOperator": {"userOperator": {}, "template": {"userOperatorContainer": {"env": [
                    {"name": "STRIMZI_IGNORED_USERS_PATTERN", "value": ".*"},
                ]}}},
            },
            "status": {"clusterId": "one", "listeners": [
                {"name": "tls", "bootstrapServers": "main-kafka-bootstrap.kafka.svc:9093", "certificates": ["PEM"]},
            ]},
        })))
        .unwrap();

        assert!(kafka.has_authorization && kafka.has_user_operator && kafka.spares_some_users);
        assert!(kafka.allows("shop") && kafka.allows("staging") && !kafka.allows("") && !kafka.allows("sho"));
        assert_eq!(kafka.listeners["plain"].servers, None);
        let tls = &kafka.listeners["tls"];
        assert!(tls.tls && tls.own_certificates.is_empty());
        assert_eq!(tls.authentication, Authentication::Scram);
        assert!(kafka.has_address("main-kafka-bootstrap.kafka.svc:9093"));
    }
}
