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
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use rand::Rng;
use rand::distr::Alphanumeric;
use secrecy::SecretString;

use super::access::{self, Secrets};
use super::validate::ValidPipeline;
use crate::controller::apply::{OWNER_LABEL, Owner};
use crate::controller::error::Error;
use crate::crd::OrderPipeline;

/// 190 bits; letters and digits only, so that it is the same in a URL.
const PASSWORD_LENGTH: usize = 32;

/// What a pass needs to know about the cluster.
pub(super) struct Observed {
    /// The Secrets that the spec names, as far as they exist.
    pub secrets: Secrets,
    /// The password of each service's database role: the one it has, else a new one.
    pub passwords: BTreeMap<Service, SecretString>,
    /// Names of our Deployments.
    pub deployments: BTreeSet<String>,
}

/// Reads what a pass over `pipeline` needs.
pub(super) async fn fetch(
    client: &Client,
    pipeline: &OrderPipeline,
    valid: &ValidPipeline,
    owner: &Owner,
) -> Result<Observed, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), owner.namespace());
    let (secrets, passwords, deployments) = futures::future::try_join3(
        secrets(&api, pipeline),
        passwords(&api, valid),
        deployments(client, pipeline, owner),
    )
    .await?;
    Ok(Observed { secrets, passwords, deployments })
}

async fn secrets(api: &Api<Secret>, pipeline: &OrderPipeline) -> Result<Secrets, Error> {
    let names: BTreeSet<&str> = access::referenced(&pipeline.spec).collect();
    let found = try_join_all(names.into_iter().map(|name| read(api, name))).await?;
    Ok(found.into_iter().flatten().map(|secret| (secret.name_any(), secret)).collect())
}

async fn passwords(
    api: &Api<Secret>,
    valid: &ValidPipeline,
) -> Result<BTreeMap<Service, SecretString>, Error> {
    let owners = valid.services.iter().filter(|service| service.service.spec().has_database);
    let found = owners.map(|service| async {
        let secret = read(api, &valid.id.object_name(service.service)).await?;
        let password = secret.as_ref().and_then(access::password_in).unwrap_or_else(new_password);
        Ok::<_, Error>((service.service, password))
    });
    Ok(try_join_all(found).await?.into_iter().collect())
}

async fn read(api: &Api<Secret>, name: &str) -> Result<Option<Secret>, Error> {
    api.get_opt(name).await.map_err(Error::kubernetes(format!("read Secret {name}")))
}

/// From the thread's generator, which is cryptographically secure and seeded by the operating system.
fn new_password() -> SecretString {
    let password: String =
        rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect();
    SecretString::from(password)
}

/// Names of our Deployments.
async fn deployments(
    client: &Client,
    pipeline: &OrderPipeline,
    owner: &Owner,
) -> Result<BTreeSet<String>, Error> {
    let api: Api<PartialObjectMeta<Deployment>> = Api::namespaced(client.clone(), owner.namespace());
    let mine = format!("{OWNER_LABEL}={}", pipeline.uid().unwrap_or_default());
    let list = api.list_metadata(&ListParams::default().labels(&mine)).await;
    let list = list.map_err(Error::kubernetes("list deployments"))?;
    // What is on its way out does not count: it will have to be made anew.
    let alive = list.items.iter().filter(|object| object.metadata.deletion_timestamp.is_none());
    Ok(alive.map(ResourceExt::name_any).collect())
}
