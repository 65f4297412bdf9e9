//! The rights that `manifests/base` gives the operator, given to the one under test.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

pub(crate) async fn install_rights(client: &Client) {
    for object in rights() {
        let (name, params) = (name_of(&object), PatchParams::apply("test").force());
        let patch = Patch::Apply(&object);
        match object["kind"].as_str().unwrap() {
            "ClusterRole" => {
                drop(Api::<ClusterRole>::all(client.clone()).patch(&name, &params, &patch).await.unwrap())
            }
            "ClusterRoleBinding" => {
                drop(
                    Api::<ClusterRoleBinding>::all(client.clone())
                        .patch(&name, &params, &patch)
                        .await
                        .unwrap(),
                );
            }
            // Impersonation needs no ServiceAccount, and most tests no Lease.
            _ => {}
        }
    }
}

/// Lets the operator have its Lease in `namespace`, as it has one in its own.
pub(crate) async fn grant_lease(client: &Client, namespace: &str) {
    for object in rights() {
        let (name, params) = (name_of(&object), PatchParams::apply("test").force());
        let patch = Patch::Apply(&object);
        let (roles, bindings) =
            (Api::namespaced(client.clone(), namespace), Api::namespaced(client.clone(), namespace));
        match object["kind"].as_str().unwrap() {
            "Role" => drop::<Role>(roles.patch(&name, &params, &patch).await.unwrap()),
            "RoleBinding" => drop::<RoleBinding>(bindings.patch(&name, &params, &patch).await.unwrap()),
            _ => {}
        }
    }
}

/// Gives the operator of `namespace` what `manifests/base` gives the one of the cluster, in that namespace only: as
/// `manifests/namespaced` does.
pub(crate) async fn grant_in(client: &Client, namespace: &str) {
    let params = PatchParams::apply("test").force();
    for mut object in rights() {
        let name = name_of(&object);
        match object["kind"].as_str().unwrap() {
            "ClusterRole" | "Role" => {
                object["kind"] = "Role".into();
                let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
                roles.patch(&name, &params, &Patch::Apply(&object)).await.unwrap();
            }
            "ClusterRoleBinding" | "RoleBinding" => {
                object["kind"] = "RoleBinding".into();
                object["roleRef"]["kind"] = "Role".into();
                object["subjects"][0]["namespace"] = namespace.into();
                let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
                bindings.patch(&name, &params, &Patch::Apply(&object)).await.unwrap();
            }
            _ => {}
        }
    }
}

/// What `manifests/base` gives the operator.
fn rights() -> Vec<Value> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base/rbac.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}
