//! Every read of a pass.
//!
//! What belongs to the pipeline is known by watches and by our own writes ([`Owned`](crate::controller::owned::Owned)).
//! A password is never generated a second time because these were behind: a Secret is only created where there is none.
//! Secrets of others are read one by one ([`Secrets`](crate::controller::secrets::Secrets)): the operator's memory
//! holds none that no pipeline names.

use std::collections::{BTreeMap, BTreeSet};

use contract::Service;
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use rand::Rng;
use rand::distr::Alphanumeric;
use secrecy::SecretString;

use super::access::{self, Secrets};
use super::principals::{self, Identities};
use super::validate::ValidPipeline;
use super::{routes, scaling};
use crate::build::Availability;
use crate::controller::apply::{self, Owner};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::crd::OrderPipeline;

/// 190 bits; letters and digits only, so that it is the same in a URL.
const PASSWORD_LENGTH: usize = 32;

/// A Deployment as it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// How many pods it is to have.
    pub replicas: i32,
    /// Its version at that time.
    pub version: Option<String>,
}

/// What a pass needs to know about the cluster.
pub(super) struct Observed {
    /// The Secrets that the spec names for anything but Kafka, as far as they exist.
    pub secrets: Secrets,
    /// The password of each service's database role: the one it has, else a new one.
    pub passwords: BTreeMap<Service, SecretString>,
    /// As whom each service's Secret lets it speak to Kafka.
    pub identities: Identities,
    /// Our Deployments, by name.
    pub deployments: BTreeMap<String, Running>,
    /// Whether services can be scaled by lag.
    pub keda: Availability,
    /// Whether services can have HTTPRoutes.
    pub gateway_api: Availability,
}

/// Reads what a pass over `pipeline` needs.
pub(super) async fn fetch(
    ctx: &Context,
    pipeline: &OrderPipeline,
    valid: &ValidPipeline,
    owner: &Owner,
) -> Result<Observed, Error> {
    let (secrets, own, deployments, keda, gateway_api) = futures::future::try_join5(
        secrets(ctx, pipeline, owner),
        own_secrets(ctx, valid, owner),
        deployments(ctx, owner),
        scaling::keda(ctx, valid, owner),
        routes::gateway_api(ctx, valid, owner),
    )
    .await?;
    let passwords = passwords(valid, &own);
    Ok(Observed { secrets, passwords, identities: principals::held_in(&own), deployments, keda, gateway_api })
}

async fn secrets(ctx: &Context, pipeline: &OrderPipeline, owner: &Owner) -> Result<Secrets, Error> {
    let names: BTreeSet<String> = access::referenced(&pipeline.spec).collect();
    let reads = names.into_iter().map(|name| async move {
        let found = ctx.secrets.get(owner.namespace(), &name).await?;
        Ok::<_, Error>(found.map(|found| (name, found)))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// The Secret of each service, where it has one of ours.
async fn own_secrets(
    ctx: &Context,
    valid: &ValidPipeline,
    owner: &Owner,
) -> Result<BTreeMap<Service, Secret>, Error> {
    let own = apply::owned::<Secret>(ctx, owner).await?;
    let mut own: BTreeMap<String, Secret> =
        own.into_iter().map(|secret| (secret.name_any(), secret)).collect();
    let services = valid.services.iter().map(|service| service.service);
    Ok(services.filter_map(|service| Some((service, own.remove(&valid.id.object_name(service))?))).collect())
}

fn passwords(valid: &ValidPipeline, own: &BTreeMap<Service, Secret>) -> BTreeMap<Service, SecretString> {
    let services = valid.services.iter().map(|service| service.service);
    let owners = services.filter(|service| service.spec().has_database);
    let password = |service| own.get(&service).and_then(access::password_in).unwrap_or_else(new_password);
    owners.map(|service| (service, password(service))).collect()
}

/// From the thread's generator, which is cryptographically secure and seeded by the operating system.
pub(super) fn new_password() -> SecretString {
    let password: String =
        rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect();
    SecretString::from(password)
}

/// Our Deployments, by name.
async fn deployments(ctx: &Context, owner: &Owner) -> Result<BTreeMap<String, Running>, Error> {
    let all = apply::owned::<Deployment>(ctx, owner).await?;
    // What is on its way out does not count: it will have to be made anew.
    let alive = all.iter().filter(|object| object.metadata.deletion_timestamp.is_none());
    let running = |object: &Deployment| Running {
        replicas: object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        version: object.resource_version(),
    };
    Ok(alive.map(|object| (object.name_any(), running(object))).collect())
}
