//! Every read of a pass.
//!
//! Secrets are read one by one and live, never through a watch: the operator's memory holds no Secret that no
//! pipeline names, and a password is never generated a second time because a cache was behind.

use std::collections::{BTreeMap, BTreeSet};

use contract::Service;
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use rand::Rng;
use rand::distr::Alphanumeric;
use secrecy::SecretString;

use super::access::{self, Secrets};
use super::principals::{self, Identities};
use super::scaling;
use super::validate::{ValidPipeline, ValidService};
use crate::build::autoscaler::Keda;
use crate::controller::apply::{OWNER_LABEL, Owner};
use crate::controller::error::Error;
use crate::crd::OrderPipeline;

/// 190 bits; letters and digits only, so that it is the same in a URL.
const PASSWORD_LENGTH: usize = 32;

/// What a pass needs to know about the cluster.
pub(super) struct Observed {
    /// The Secrets that the spec names for anything but Kafka, as far as they exist.
    pub secrets: Secrets,
    /// The password of each service's database role: the one it has, else a new one.
    pub passwords: BTreeMap<Service, SecretString>,
    /// As whom each service's Secret lets it speak to Kafka.
    pub identities: Identities,
    /// Names of our Deployments, and how many pods each is to have at the moment.
    pub deployments: BTreeMap<String, i32>,
    /// Whether services can be scaled by lag.
    pub keda: Keda,
}

/// Reads what a pass over `pipeline` needs.
pub(super) async fn fetch(
    client: &Client,
    pipeline: &OrderPipeline,
    valid: &ValidPipeline,
    owner: &Owner,
) -> Result<Observed, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), owner.namespace());
    let (secrets, own, deployments, keda) = futures::future::try_join4(
        secrets(&api, pipeline),
        own_secrets(&api, pipeline, valid),
        deployments(client, pipeline, owner),
        scaling::keda(client, owner.namespace()),
    )
    .await?;
    let passwords = passwords(valid, &own);
    Ok(Observed { secrets, passwords, identities: principals::held_in(&own), deployments, keda })
}

async fn secrets(api: &Api<Secret>, pipeline: &OrderPipeline) -> Result<Secrets, Error> {
    let names: BTreeSet<String> = access::referenced(&pipeline.spec).collect();
    let found = try_join_all(names.iter().map(|name| read(api, name))).await?;
    Ok(found.into_iter().flatten().map(|secret| (secret.name_any(), secret)).collect())
}

/// The Secret of each service, where it has one of ours.
async fn own_secrets(
    api: &Api<Secret>,
    pipeline: &OrderPipeline,
    valid: &ValidPipeline,
) -> Result<BTreeMap<Service, Secret>, Error> {
    let ours = |secret: &Secret| secret.labels().get(OWNER_LABEL).cloned() == pipeline.uid();
    let found = valid.services.iter().map(|ValidService { service, .. }| async move {
        let secret = read(api, &valid.id.object_name(*service)).await?;
        Ok::<_, Error>(secret.filter(ours).map(|secret| (*service, secret)))
    });
    Ok(try_join_all(found).await?.into_iter().flatten().collect())
}

fn passwords(valid: &ValidPipeline, own: &BTreeMap<Service, Secret>) -> BTreeMap<Service, SecretString> {
    let services = valid.services.iter().map(|service| service.service);
    let owners = services.filter(|service| service.spec().has_database);
    let password = |service| own.get(&service).and_then(access::password_in).unwrap_or_else(new_password);
    owners.map(|service| (service, password(service))).collect()
}

async fn read(api: &Api<Secret>, name: &str) -> Result<Option<Secret>, Error> {
    api.get_opt(name).await.map_err(Error::kubernetes(format!("read Secret {name}")))
}

/// From the thread's generator, which is cryptographically secure and seeded by the operating system.
pub(super) fn new_password() -> SecretString {
    let password: String =
        rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect();
    SecretString::from(password)
}

/// Our Deployments, with the number of pods that each is to have.
async fn deployments(
    client: &Client,
    pipeline: &OrderPipeline,
    owner: &Owner,
) -> Result<BTreeMap<String, i32>, Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), owner.namespace());
    let mine = format!("{OWNER_LABEL}={}", pipeline.uid().unwrap_or_default());
    let list = api.list(&ListParams::default().labels(&mine)).await;
    let list = list.map_err(Error::kubernetes("list deployments"))?;
    // What is on its way out does not count: it will have to be made anew.
    let alive = list.items.iter().filter(|object| object.metadata.deletion_timestamp.is_none());
    let replicas = |object: &Deployment| object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    Ok(alive.map(|object| (object.name_any(), replicas(object))).collect())
}
