//! Rights of the operator's in a namespace.

use kube::Client;

use super::rights::{apply, kind_of, rights};

/// Lets the operator have its Lease in `namespace`, as it has one in its own.
pub(crate) async fn grant_lease(client: &Client, namespace: &str) {
    for object in rights().into_iter().filter(|object| kind_of(object).starts_with("Role")) {
        apply(client, Some(namespace), object).await;
    }
}

/// Gives the operator of `namespace` what `manifests/base` gives the one of the cluster, in that namespace only: as
/// `manifests/namespaced` does.
pub(crate) async fn grant_in(client: &Client, namespace: &str) {
    for mut object in rights().into_iter().filter(|object| kind_of(object) != "ServiceAccount") {
        object["kind"] = kind_of(&object).trim_start_matches("Cluster").into();
        if kind_of(&object) == "RoleBinding" {
            object["roleRef"]["kind"] = "Role".into();
            object["subjects"][0]["namespace"] = namespace.into();
        }
        apply(client, Some(namespace), object).await;
    }
}
