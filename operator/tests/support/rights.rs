//! The rights that `manifests/base` gives the operator, given to the one under test.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

/// Those for a whole cluster. Impersonation needs no ServiceAccount, and most tests no Lease.
pub(crate) async fn install_rights(client: &Client) {
    for object in rights().into_iter().filter(|object| kind_of(object).starts_with("Cluster")) {
        apply(client, None, object).await;
    }
}

pub(crate) async fn apply(client: &Client, namespace: Option<&str>, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let params = PatchParams::apply("test").force();
    api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.unwrap();
}

/// What `manifests/base` gives the operator.
pub(crate) fn rights() -> Vec<Value> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base/rbac.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

pub(crate) fn kind_of(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}
