//! The platform, installed the way its README tells a platform team to.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, root};
use crate::console::eventually;

/// The namespace of the demo's pipeline.
pub const NAMESPACE: &str = "shop";

/// Installs CRDs, RBAC and the operator, and waits until it runs.
///
/// # Errors
/// What `kubectl` answers, or what the operator's Deployment still lacks after two minutes.
pub async fn install_operator(cluster: &Cluster) -> anyhow::Result<()> {
    let base = root().join("manifests/base");
    let base = base.to_string_lossy();
    cluster.kubectl(&["apply", "--server-side", "-k", &base])?;
    eventually("operator", Duration::from_secs(120), async || {
        let deployment = cluster
            .get(&["deployment", "operator", "-n", "orderpipeline-system"])
            .map_err(|error| error.to_string())?;
        match deployment.pointer("/status/readyReplicas").and_then(Value::as_u64) {
            Some(ready) if ready > 0 => Ok(()),
            _ => Err("its pod is not ready yet".to_owned()),
        }
    })
    .await
}

/// Makes a namespace and in it the two Secrets a pipeline refers to: Kafka credentials and the
/// PostgreSQL address. In production an external-secrets operator or the platform's own puts them there.
///
/// # Errors
/// What `kubectl` answers.
pub fn prepare_namespace(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let secrets = serde_json::json!({
        "apiVersion": "v1", "kind": "List",
        "items": [
            { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } },
            secret(namespace, "kafka-credentials", &serde_json::json!({
                "username": cluster.value("/credentials/kafka/username")?,
                "password": cluster.value("/credentials/kafka/password")?,
            })),
            secret(namespace, "postgres-admin", &serde_json::json!({
                "url": cluster.value("/credentials/postgres/clusterUrl")?,
            })),
        ]
    });
    cluster.apply(&secrets.to_string()).map(drop)
}

fn secret(namespace: &str, name: &str, data: &Value) -> Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": name, "namespace": namespace }, "stringData": data
    })
}

/// Waits until an object's `Ready` condition is true for its newest generation.
///
/// # Errors
/// The condition's reason and message, when it is not ready in time.
pub async fn wait_ready(
    cluster: &Cluster,
    namespace: &str,
    object: &str,
    limit: Duration,
) -> anyhow::Result<Value> {
    eventually(object, limit, async || {
        let found = cluster.get(&[object, "-n", namespace]).map_err(|error| error.to_string())?;
        match condition(&found, "Ready") {
            Some(ready) if text(ready, "status") == "True" && is_current(&found) => Ok(found),
            Some(ready) => Err(format!("{}: {}", text(ready, "reason"), text(ready, "message"))),
            None => Err("no status yet".to_owned()),
        }
    })
    .await
}

/// A condition of an object's status by its type.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| text(condition, "type") == kind)
}

/// A string field, empty when it is missing.
#[must_use]
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn is_current(object: &Value) -> bool {
    object.pointer("/status/observedGeneration") == object.pointer("/metadata/generation")
}
