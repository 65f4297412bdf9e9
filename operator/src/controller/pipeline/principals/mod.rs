//! The services' users in Kafka: where `spec.access` is Managed, each service has one of its own.
//!
//! ```text
//! claim ──► look ──► SCRAM password, ACLs ──► Secret ──► pods roll          revoke, once nobody uses it
//! status    strangers                         (by the checksum on their template)
//! ```
//! - **Whose a user is**: a user belongs to the pipeline once its name stands in `status.access.users`, which is
//!   written before the user is created. A user that is there and not ours is never touched (`UserTaken`).
//! - **What it may do**: the ACLs that the roster gives it and no others. All ACLs of our users are ours, so what
//!   somebody adds to them is removed, and what somebody removes comes back; ACLs of other users are never looked at.
//! - **When Kafka is asked**: in a pass that finds anything changed, and by one look in bulk per cluster and interval.
//! - **Rotation**: see [`ROTATE_ANNOTATION`]. Kafka knows one password per user, so between the moment it gets the
//!   new one and the end of the rollout old pods keep the connections they have, and cannot open others; a rollout
//!   takes an old pod away only when a new one is ready. Brokers that end sessions
//!   (`connections.max.reauth.ms`, off by default) should grant more than a rollout takes.

mod drift;
mod kafka;
mod registry;
mod wanted;

pub(crate) use drift::watch;
pub(super) use kafka::revoke;
pub use registry::PrincipalRegistry;
pub(super) use wanted::held_in;
pub use wanted::{ROTATE_ANNOTATION, user_name};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::Service;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use self::registry::Entry;
use self::wanted::Wanted;
use super::progress::Progress;
use super::validate::ValidPipeline;
use crate::build::workload::Credentials;
use crate::controller::clusters::{Cluster, Resolved};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::pipeline::status::{self, Applied};
use crate::crd::OrderPipeline;
use crate::crd::conditions::Explanation;
use crate::crd::order_pipeline::AccessStatus;

/// The credentials that a service's Secret holds or gets, and which rotation they are of.
#[derive(Clone, Debug)]
pub struct Login {
    /// User and password.
    pub credentials: Credentials,
    /// Value of [`ROTATE_ANNOTATION`] that the password was made for.
    pub rotation: Option<String>,
}

/// By service.
pub type Logins = BTreeMap<Service, Login>;

/// How far a pipeline's users are.
pub(super) struct Principals {
    /// How far.
    pub progress: Progress,
    /// What the services log in with: the new credentials once Kafka knows them, else those they had.
    pub logins: Logins,
}

/// Sees to it that Kafka has the users of `valid`, with their passwords and ACLs, and nothing else of theirs. Asks
/// Kafka nothing while all of it is as a pass or a look in bulk left it.
///
/// New users are noted in the status of `pipeline` first.
///
/// # Errors
/// [`Error::Kubernetes`] when a Secret cannot be read or the status not be written. What Kafka refuses is no error
/// but the progress: it does not hold back what has nothing to do with it.
pub(super) async fn ensure(
    ctx: &Context,
    pipeline: &mut OrderPipeline,
    valid: &ValidPipeline,
    held: &Logins,
) -> Result<Principals, Error> {
    let not_yet = |progress| Ok(Principals { progress, logins: held.clone() });
    let uid = pipeline.uid().unwrap_or_default();
    let Some(mechanism) = valid.managed_access else {
        ctx.principals.forget(&uid);
        return Ok(Principals { progress: Progress::Done, logins: Logins::new() });
    };
    let kafka = &valid.topic_defaults.kafka;
    let cluster = match ctx.clusters.resolve(&valid.id.namespace, kafka).await? {
        Resolved::Cluster(cluster) => cluster,
        Resolved::Missing(missing) => {
            return not_yet(Progress::Pending(Explanation::new(missing.reason(), missing.to_string())));
        }
    };
    let rotation = pipeline.annotations().get(ROTATE_ANNOTATION).cloned();
    let wanted = Wanted::of(valid, mechanism, rotation, held);
    let fingerprint = wanted.fingerprint(cluster.key());
    if ctx.principals.is_settled(&uid, &fingerprint) {
        return Ok(Principals { progress: Progress::Done, logins: wanted.logins });
    }
    ctx.principals.forget(&uid);
    if let Err(progress) = put_right(ctx, pipeline, &cluster, &wanted, held).await? {
        return not_yet(progress);
    }
    let object = ObjectRef::from_obj(&*pipeline);
    ctx.principals.settle(&uid, Entry::of(object, cluster, &wanted, fingerprint));
    Ok(Principals { progress: Progress::Done, logins: wanted.logins })
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
    let ours = users_of(pipeline);
    let held: BTreeSet<String> = held.values().map(wanted::user_of).collect();
    let new: Vec<String> =
        wanted.users().filter(|user| !ours.contains(user) && !held.contains(user)).collect();
    match kafka::taken(cluster, &new).await {
        Ok(None) => {}
        Ok(Some(user)) => return Ok(Err(taken(&user))),
        Err(error) => return Ok(Err(kafka::not_done(&error))),
    }
    if !claim(ctx, pipeline, &ours, wanted).await? {
        let message = "the pipeline has changed meanwhile and is looked at again";
        return Ok(Err(Progress::Pending(Explanation::new("AccessPending", message))));
    }
    Ok(kafka::put_right(cluster, wanted).await.map_err(|error| kafka::not_done(&error)))
}

/// Notes the users of `wanted` in the status, before they are created; false, when the pipeline is not the newest
/// version of itself and nothing was noted.
async fn claim(
    ctx: &Context,
    pipeline: &mut OrderPipeline,
    ours: &BTreeSet<String>,
    wanted: &Wanted,
) -> Result<bool, Error> {
    let claimed: BTreeSet<String> = ours.iter().cloned().chain(wanted.users()).collect();
    if claimed == *ours {
        return Ok(true);
    }
    let status = status::claiming(pipeline, AccessStatus { users: claimed.into_iter().collect() });
    let written = crate::controller::status::write(ctx, pipeline, pipeline.status.as_ref(), &status).await?;
    Ok(written.map(|written| *pipeline = written).is_some())
}

/// Removes the users that belong to the pipeline and to none of its services: those that left, and all where access
/// is not managed any more. Services that were given other credentials must all have them first; pods of a service
/// that left may meet a refusal while they end, which repeats a delivery at worst.
///
/// # Errors
/// [`Error::Kubernetes`] when a Secret cannot be read.
pub(super) async fn revoke_leaving(
    ctx: &Context,
    pipeline: &OrderPipeline,
    valid: &ValidPipeline,
    applied: Applied,
) -> Result<Applied, Error> {
    let prefix = &valid.topic_defaults.prefix;
    let services = valid.services.iter().filter(|_| valid.managed_access.is_some());
    let wanted: BTreeSet<String> =
        services.map(|service| user_name(&valid.id, prefix, service.service)).collect();
    let leaving: BTreeSet<String> = users_of(pipeline).difference(&wanted).cloned().collect();
    let in_use = valid.managed_access.is_none() && applied.services.progress != Progress::Done;
    if leaving.is_empty() || in_use || applied.access != Progress::Done {
        return Ok(applied);
    }
    let kafka = &valid.topic_defaults.kafka;
    let access = match ctx.clusters.resolve(&valid.id.namespace, kafka).await? {
        Resolved::Missing(missing) => {
            Progress::Pending(Explanation::new(missing.reason(), missing.to_string()))
        }
        Resolved::Cluster(cluster) => match revoke(&cluster, &leaving).await {
            Ok(()) => {
                tracing::info!(?leaving, "removed users from Kafka");
                return Ok(Applied { users: wanted, ..applied });
            }
            Err(error) => kafka::not_done(&error),
        },
    };
    Ok(Applied { access, ..applied })
}

fn taken(user: &str) -> Progress {
    let message = format!(
        "Kafka has a user {user} that this pipeline did not create; delete it if nobody needs it (kafka-configs.sh \
         --alter --delete-config, --entity-type users), or set spec.access.mode to Shared"
    );
    Progress::Failed(Explanation::new("UserTaken", message))
}

/// The users that belong to the pipeline.
pub(super) fn users_of(pipeline: &OrderPipeline) -> BTreeSet<String> {
    let access = pipeline.status.as_ref().and_then(|status| status.access.as_ref());
    access.map(|access| access.users.iter().cloned().collect()).unwrap_or_default()
}
