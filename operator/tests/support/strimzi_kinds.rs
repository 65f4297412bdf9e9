//! Strimzi's kinds, by its own CRDs.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::world::eventually;

/// Objects of Strimzi's in a namespace.
pub(crate) fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kafka.strimzi.io", "v1", kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Has the apiserver serve them. Before the operator starts, which asks for them now and then only.
pub(crate) async fn install(client: &Client) {
    let crds = tokio::task::spawn_blocking(|| devcluster::strimzi::crds().unwrap()).await.unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for text in crds {
        let crd: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
        let params = PatchParams::apply("test").force();
        definitions.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await.unwrap();
    }
    for kind in ["Kafka", "KafkaTopic", "KafkaUser"] {
        eventually("Strimzi's kinds are served", || async {
            let list = api(client, "default", kind).list(&Default::default()).await;
            list.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
}

/// Creates or changes an object: what Strimzi's users do.
pub(crate) async fn put(api: &Api<DynamicObject>, kind: &str, name: &str, rest: Value) {
    let mut object = rest;
    object["apiVersion"] = json!("kafka.strimzi.io/v1");
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!(name);
    api.patch(name, &PatchParams::apply("strimzi").force(), &Patch::Apply(&object)).await.unwrap();
}
