//! What is asked of Kafka: one request per kind for all users of a pipeline.

use std::collections::BTreeSet;

use kafka_admin::{
    AclBinding, AclFilter, Batch, Principal, ScramDeletion, ScramInfo, ScramMechanism, ScramUpsertion,
};

use super::Login;
use super::wanted::{Wanted, user_of};
use crate::controller::clusters::Cluster;
use crate::controller::error::Error;
use crate::controller::pipeline::progress::Progress;
use crate::crd::conditions::Explanation;

/// Kafka's lowest count, which is enough for passwords of 190 random bits: more only slows logins down.
const ITERATIONS: u32 = 4096;

/// The first of `users` that exists already.
pub(super) async fn taken(cluster: &Cluster, users: &[String]) -> Result<Option<String>, Error> {
    let found = cluster.admin().describe_scram(users).await;
    for (user, found) in users.iter().zip(found) {
        match found {
            Ok(_) => return Ok(Some(user.clone())),
            Err(kafka_admin::Error::NotFound { .. }) => {}
            Err(error) => return Err(noted(cluster, "read SCRAM users", error)),
        }
    }
    Ok(None)
}

/// Gives the users of `wanted` their passwords and ACLs, and takes from them what they should not have.
pub(super) async fn put_right(cluster: &Cluster, wanted: &Wanted) -> Result<(), Error> {
    // Rights first: where the cluster has no authorizer, nobody gets a password.
    let found = acls_of(cluster, wanted.users()).await?;
    let missing: Vec<AclBinding> = wanted.acls.difference(&found).cloned().collect();
    all(cluster, "create ACLs", cluster.admin().create_acls(&missing).await)?;
    let surplus: Vec<AclFilter> = found.difference(&wanted.acls).map(AclFilter::exactly).collect();
    all(cluster, "delete ACLs", cluster.admin().delete_acls(&surplus).await)?;
    // Always, although most have theirs: Kafka does not tell which password a user has.
    let upsertions: Vec<ScramUpsertion> =
        wanted.logins.values().map(|login| upsertion(wanted.mechanism, login)).collect();
    all(cluster, "set SCRAM passwords", cluster.admin().upsert_scram(&upsertions).await)?;
    for (count, what) in [(missing.len(), "created"), (surplus.len(), "deleted")] {
        if count > 0 {
            tracing::info!(count, "{what} ACLs");
        }
    }
    Ok(())
}

fn upsertion(mechanism: ScramMechanism, login: &Login) -> ScramUpsertion {
    ScramUpsertion {
        user: user_of(login),
        credential: ScramInfo { mechanism, iterations: ITERATIONS },
        password: login.credentials.password.clone(),
    }
}

/// The ACLs that each of `users` has.
pub(super) async fn acls_of(
    cluster: &Cluster,
    users: impl Iterator<Item = String>,
) -> Result<BTreeSet<AclBinding>, Error> {
    let filters: Vec<AclFilter> = users.map(|user| AclFilter::of(Principal::user(user))).collect();
    let found = all(cluster, "read ACLs", cluster.admin().describe_acls(&filters).await)?;
    Ok(found.into_iter().flatten().collect())
}

/// Those of `users` that cannot log in by `mechanism` any more.
pub(super) async fn without_password(
    cluster: &Cluster,
    users: &[String],
    mechanism: ScramMechanism,
) -> Result<bool, Error> {
    for found in cluster.admin().describe_scram(users).await {
        match found {
            Ok(infos) if infos.iter().any(|info| info.mechanism == mechanism) => {}
            Ok(_) | Err(kafka_admin::Error::NotFound { .. }) => return Ok(true),
            Err(error) => return Err(noted(cluster, "read SCRAM users", error)),
        }
    }
    Ok(false)
}

/// Takes from `users`, which are ours, all that they may do, and their passwords.
///
/// # Errors
/// [`Error::Kafka`] when Kafka cannot be asked or refuses; what was done stays done.
pub(in crate::controller::pipeline) async fn revoke(
    cluster: &Cluster,
    users: &BTreeSet<String>,
) -> Result<(), Error> {
    cluster.reachable().await?;
    let names: Vec<String> = users.iter().cloned().collect();
    let filters: Vec<AclFilter> = users.iter().map(|user| AclFilter::of(Principal::user(user))).collect();
    match all(cluster, "delete ACLs", cluster.admin().delete_acls(&filters).await) {
        // Without an authorizer there are none.
        Ok(_) | Err(Error::Kafka { source: kafka_admin::Error::SecurityDisabled { .. }, .. }) => {}
        Err(error) => return Err(error),
    }
    let mut deletions = Vec::new();
    for (user, found) in names.iter().zip(cluster.admin().describe_scram(&names).await) {
        match found {
            Ok(infos) => deletions.extend(
                infos.iter().map(|info| ScramDeletion { user: user.clone(), mechanism: info.mechanism }),
            ),
            Err(kafka_admin::Error::NotFound { .. }) => {}
            Err(error) => return Err(noted(cluster, "read SCRAM users", error)),
        }
    }
    // A batch may hold a user once, and a user whose mechanism was changed has two.
    for mechanism in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
        let batch: Vec<_> = deletions.iter().filter(|one| one.mechanism == mechanism).cloned().collect();
        for deleted in cluster.admin().delete_scram(&batch).await {
            match deleted {
                Ok(()) | Err(kafka_admin::Error::NotFound { .. }) => {}
                Err(error) => return Err(noted(cluster, "delete SCRAM users", error)),
            }
        }
    }
    Ok(())
}

/// All answers of a batch, or its first error.
fn all<T>(cluster: &Cluster, doing: &str, answers: Batch<T>) -> Result<Vec<T>, Error> {
    answers.into_iter().collect::<Result<_, _>>().map_err(|error| noted(cluster, doing, error))
}

fn noted(cluster: &Cluster, doing: &str, error: kafka_admin::Error) -> Error {
    cluster.note(&error);
    Error::kafka(format!("{doing} of the pipeline's services"))(error)
}

/// What an error means to the pipeline: whether it can heal by itself, and what to do where it cannot.
pub(in crate::controller::pipeline) fn not_done(error: &Error) -> Progress {
    let Error::Kafka { source, .. } = error else {
        return Progress::Pending(Explanation::new(error.reason(), error.chain()));
    };
    let remedy = match source {
        kafka_admin::Error::NotAuthorized { .. } => {
            "grant the operator's user Alter and Describe on the cluster, or set spec.access.mode to Shared"
        }
        kafka_admin::Error::SecurityDisabled { .. } => {
            "configure an authorizer on the brokers, or set spec.access.mode to Shared"
        }
        kafka_admin::Error::NotAuthenticated { .. } => "correct the Secret that spec.kafka names",
        _ => return Progress::Pending(Explanation::new(error.reason(), error.chain())),
    };
    Progress::Failed(Explanation::new(error.reason(), format!("{}; {remedy}", error.chain())))
}
