//! What an apiserver has to serve, and to know, before an operator can run.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use operator::crd::{KafkaTopic, OrderPipeline};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::rights::install_rights;
use super::world::eventually;

/// Has the apiserver of this kubeconfig serve our kinds and know the operator's rights: once, since it checks a
/// definition anew, rule by rule, each time that it gets it.
pub(crate) async fn install(kubeconfig: &Path, client: &Client) {
    static INSTALLED: Mutex<BTreeSet<PathBuf>> = Mutex::const_new(BTreeSet::new());
    let mut installed = INSTALLED.lock().await;
    if !installed.contains(kubeconfig) {
        install_crds(client).await;
        install_rights(client).await;
        installed.insert(kubeconfig.to_owned());
    }
}

async fn install_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in operator::crd::all() {
        let name = crd.name_any();
        let params = PatchParams::apply("test").force();
        api.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap();
        eventually(&name, || async {
            let crd = api.get(&name).await.unwrap();
            let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
            let established = conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
            if established { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }
    // Established comes a moment before the apiserver serves it.
    served::<KafkaTopic>(client).await;
    served::<OrderPipeline>(client).await;
}

async fn served<K>(client: &Client)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    eventually(&format!("{} are served", K::plural(&())), || async {
        let objects: Api<K> = Api::all(client.clone());
        objects.list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}
