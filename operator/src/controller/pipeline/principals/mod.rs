//! The services' users in Kafka: where `spec.access` is Managed, each service has one of its own.
//!
//! ```text
//! claim ──► look ──► SCRAM password, ACLs ──► Secret ──► pods roll          revoke, once nobody uses it
//! status    strangers                         (by the checksum on their template)
//! ```
//! - **Whose a user is**: a user belongs to the pipeline once its name stands in `status.access`, with the id of the
//!   cluster, which is written before the user is created. A user that is there and not ours is never touched
//!   (`UserTaken`); in another cluster, to which an address may lead one day, none is ours yet.
//! - **What it may do**: the ACLs that the roster gives it and no others. All ACLs of our users are ours, so what
//!   somebody adds to them is removed, and what somebody removes comes back; ACLs of other users are never looked at.
//! - **When Kafka is asked**: in a pass that finds anything changed, and by one look in bulk per cluster and interval.
//! - **Rotation**: see [`ROTATE_ANNOTATION`]. Kafka knows one password per user, so between the moment it gets the
//!   new one and the end of the rollout old pods keep the connections they have, and cannot open others; a rollout
//!   takes an old pod away only when a new one is ready. Brokers that end sessions
//!   (`connections.max.reauth.ms`, off by default) should grant more than a rollout takes.
//!
//! Where Strimzi runs the cluster, its User Operator does all this, from `KafkaUser`s: see [`strimzi`].

mod drift;
mod held;
mod kafka;
mod ours;
mod registry;
mod service_users;
pub(super) mod strimzi;
mod wanted;

pub(crate) use drift::watch;
pub(super) use held::held_in;
pub(super) use kafka::revoke;
pub(super) use ours::{is_elsewhere, noted, users_of};
pub use registry::PrincipalRegistry;
pub use service_users::ServiceUsers;
pub use wanted::{ROTATE_ANNOTATION, user_name};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::Service;
use kafka_admin::ScramMechanism;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use self::registry::Entry;
use self::wanted::Wanted;
use super::progress::Progress;
use super::validate::{ManagedAccess, ValidPipeline, ValidService};
use crate::build::workload::{Credentials, KafkaIdentity};
use crate::controller::apply::Owner;
use crate::controller::clusters::{Cluster, Connection};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::pipeline::status::{self, Applied};
use crate::crd::OrderPipeline;
use crate::crd::conditions::Explanation;
use crate::crd::order_pipeline::AccessStatus;

/// As whom each service speaks to Kafka.
pub type Identities = BTreeMap<Service, KafkaIdentity>;

/// A user with a password of our making, and which rotation that is of.
#[derive(Clone, Debug)]
struct Login {
    /// User and password.
    credentials: Credentials,
    /// Value of [`ROTATE_ANNOTATION`] that the password was made for.
    rotation: Option<String>,
}

type Logins = BTreeMap<Service, Login>;

/// How far a pipeline's users are.
pub(super) struct Principals {
    /// How far.
    pub progress: Progress,
    /// As whom the services speak to Kafka: the new ones once Kafka knows them, else those they were.
    pub identities: Identities,
    /// The users that belong to the pipeline.
    pub users: AccessStatus,
}

/// Sees to it that Kafka has the users of `valid`, with their passwords and ACLs, and nothing else of theirs.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver cannot be asked or told. What Kafka refuses is no error but the progress:
/// it does not hold back what has nothing to do with it.
pub(super) async fn ensure(
    ctx: &Context,
    pipeline: &mut OrderPipeline,
    valid: &ValidPipeline,
    connection: &Connection,
    owner: &Owner,
    held: &Identities,
) -> Result<Principals, Error> {
    match (valid.managed_access, &connection.endpoint.strimzi) {
        (Some(ManagedAccess::Strimzi), Some(cluster)) => {
            let place = strimzi::Place { cluster, namespace: &connection.endpoint.namespace, owner };
            strimzi::ensure(ctx, pipeline, valid, place, held).await
        }
        (Some(ManagedAccess::Scram(mechanism)), _) => {
            let (progress, identities) = scram(ctx, pipeline, valid, connection, mechanism, held).await?;
            Ok(Principals { progress, identities, users: noted(pipeline) })
        }
        (Some(ManagedAccess::Strimzi) | None, _) => {
            ctx.principals.forget(&pipeline.uid().unwrap_or_default());
            let users = noted(pipeline);
            Ok(Principals { progress: Progress::Done, identities: Identities::new(), users })
        }
    }
}

/// What [`ensure`] would do about users, a sentence each; asks Kafka nothing.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver cannot be asked.
pub(super) async fn pending(
    ctx: &Context,
    pipeline: &OrderPipeline,
    valid: &ValidPipeline,
    connection: &Connection,
    owner: &Owner,
) -> Result<Vec<String>, Error> {
    if let (Some(ManagedAccess::Strimzi), Some(cluster)) =
        (valid.managed_access, &connection.endpoint.strimzi)
    {
        let place = strimzi::Place { cluster, namespace: &connection.endpoint.namespace, owner };
        return strimzi::wanted(ctx, valid, place).0.pending(ctx).await;
    }
    let (ours, wanted) = (users_of(pipeline), own_users(valid));
    let create = wanted.difference(&ours).map(|user| format!("create the Kafka user {user}"));
    let remove = ours.difference(&wanted).map(|user| format!("remove the Kafka user {user}"));
    Ok(create.chain(remove).collect())
}

/// Names of the users of `valid` that are ours to make.
fn own_users(valid: &ValidPipeline) -> BTreeSet<String> {
    let name = |service: &ValidService| user_name(&valid.id, &valid.topic_defaults.prefix, service.service);
    let ours = matches!(valid.managed_access, Some(ManagedAccess::Scram(_)));
    valid.services.iter().filter(|_| ours).map(name).collect()
}

/// The users that are ours to make. Asks Kafka nothing while all of it is as a pass or a look in bulk left it; new
/// users are noted in the status of `pipeline` first.
async fn scram(
    ctx: &Context,
    pipeline: &mut OrderPipeline,
    valid: &ValidPipeline,
    connection: &Connection,
    mechanism: ScramMechanism,
    held: &Identities,
) -> Result<(Progress, Identities), Error> {
    let uid = pipeline.uid().unwrap_or_default();
    let cluster = ctx.clusters.cluster(&connection.options)?;
    let rotation = pipeline.annotations().get(ROTATE_ANNOTATION).cloned();
    let logins: Logins =
        held.iter().filter_map(|(service, held)| Some((*service, Login::of(held)?))).collect();
    let wanted = Wanted::of(valid, mechanism, rotation, &logins);
    let identities = || wanted.logins.iter().map(|(service, login)| (*service, login.identity())).collect();
    let fingerprint = wanted.fingerprint(cluster.key());
    if ctx.principals.is_settled(&uid, &fingerprint) {
        return Ok((Progress::Done, identities()));
    }
    ctx.principals.forget(&uid);
    if let Err(progress) = put_right(ctx, pipeline, &cluster, &wanted, &logins).await? {
        return Ok((progress, held.clone()));
    }
    let object = ObjectRef::from_obj(&*pipeline);
    ctx.principals.settle(&uid, Entry::of(object, cluster, &wanted, fingerprint));
    Ok((Progress::Done, identities()))
}

impl Login {
    fn of(held: &KafkaIdentity) -> Option<Self> {
        Some(Self { credentials: held.credentials.clone()?, rotation: held.rotation.clone() })
    }

    fn identity(&self) -> KafkaIdentity {
        let (credentials, rotation) = (Some(self.credentials.clone()), self.rotation.clone());
        KafkaIdentity { credentials, certificate: None, rotation }
    }
}

/// Makes Kafka what `wanted` says; the inner error says how far that got.
async fn put_right(
    ctx: &Context,
    pipeline: &mut OrderPipeline,
    cluster: &Arc<Cluster>,
    wanted: &Wanted,
    held: &Logins,
) -> Result<Result<(), Progress>, Error> {
    if let Err(error) = cluster.reachable().await {
        return Ok(Err(kafka::not_done(&error)));
    }
    // After the cluster has answered: its id tells it from others.
    ctx.strimzi.until_known().await;
    if let Some(kafka) = ctx.strimzi.with_user_operator(cluster) {
        return Ok(Err(conflict(&kafka)));
    }
    let Some(id) = cluster.id() else { return Ok(Err(again("Kafka has gone away meanwhile"))) };
    let ours = ours::in_cluster(pipeline, held.values().map(wanted::user_of), &id);
    let new: Vec<String> = wanted.users().filter(|user| !ours.contains(user)).collect();
    match kafka::taken(cluster, &new).await {
        Ok(None) => {}
        Ok(Some(user)) => return Ok(Err(taken(&user))),
        Err(error) => return Ok(Err(kafka::not_done(&error))),
    }
    if !claim(ctx, pipeline, wanted, id).await? {
        return Ok(Err(again("the pipeline has changed meanwhile")));
    }
    Ok(kafka::put_right(cluster, wanted).await.map_err(|error| kafka::not_done(&error)))
}

/// Notes the users of `wanted` in the status, before they are created; false, when the pipeline is not the newest
/// version of itself and nothing was noted.
async fn claim(
    ctx: &Context,
    pipeline: &mut OrderPipeline,
    wanted: &Wanted,
    cluster_id: String,
) -> Result<bool, Error> {
    let claimed = ours::in_cluster(pipeline, std::iter::empty(), &cluster_id);
    let users: BTreeSet<String> = claimed.into_iter().chain(wanted.users()).collect();
    let access = AccessStatus { users: users.into_iter().collect(), cluster_id: Some(cluster_id) };
    if access == noted(pipeline) {
        return Ok(true);
    }
    let status = status::claiming(pipeline, access);
    let written = crate::controller::status::write(ctx, pipeline, &status).await?;
    Ok(written.map(|written| *pipeline = written).is_some())
}

/// Removes the users that belong to the pipeline and to none of its services: those that left, and all where access
/// is not managed any more. Services that were given other credentials must all have them first; pods of a service
/// that left may meet a refusal while they end, which repeats a delivery at worst.
///
/// # Errors
/// [`Error::Kafka`] when there is no client for the cluster.
pub(super) async fn revoke_leaving(
    ctx: &Context,
    pipeline: &OrderPipeline,
    valid: &ValidPipeline,
    connection: &Connection,
    applied: Applied,
) -> Result<Applied, Error> {
    if valid.managed_access == Some(ManagedAccess::Strimzi) {
        // Those that left are gone with their KafkaUsers.
        return Ok(applied);
    }
    let wanted = own_users(valid);
    let leaving: BTreeSet<String> = users_of(pipeline).difference(&wanted).cloned().collect();
    let in_use = valid.managed_access.is_none() && applied.services.progress != Progress::Done;
    if leaving.is_empty() || in_use || applied.access != Progress::Done {
        return Ok(applied);
    }
    let cluster = ctx.clusters.cluster(&connection.options)?;
    // Only a cluster that answers says which one it is.
    match cluster.reachable().await {
        Err(error) => return Ok(Applied { access: kafka::not_done(&error), ..applied }),
        Ok(()) if is_elsewhere(pipeline, &cluster) => return Ok(applied),
        Ok(()) => {}
    }
    match revoke(&cluster, &leaving).await {
        Ok(()) => {
            tracing::info!(?leaving, "removed users from Kafka");
            let users = AccessStatus { users: wanted.into_iter().collect(), ..applied.users };
            Ok(Applied { users, ..applied })
        }
        Err(error) => Ok(Applied { access: kafka::not_done(&error), ..applied }),
    }
}

/// Something has changed during the pass, so that another one is to come.
fn again(what: &str) -> Progress {
    Progress::Pending(Explanation::new("AccessPending", format!("{what}, and the users are looked at again")))
}

/// Strimzi's User Operator would remove, within minutes, every user that we make.
fn conflict(kafka: &str) -> Progress {
    let message = format!(
        "the User Operator of Strimzi's Kafka {kafka} removes users that are not its own: name the cluster by \
         spec.kafka.strimzi, or set spec.access.mode to Shared"
    );
    Progress::Failed(Explanation::new("UserOperatorConflict", message))
}

fn taken(user: &str) -> Progress {
    let message = format!(
        "Kafka has a user {user} that this pipeline did not create; delete it if nobody needs it (kafka-configs.sh \
         --alter --delete-config, --entity-type users), or set spec.access.mode to Shared"
    );
    Progress::Failed(Explanation::new("UserTaken", message))
}
