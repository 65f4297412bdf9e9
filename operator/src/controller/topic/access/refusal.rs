//! Whose access is not to be had: principals that somebody else looks after, and clusters that take no ACLs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kafka_admin::Principal;

use crate::controller::clusters::Cluster;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::strimzi;
use crate::crd::conditions::Explanation;

/// Why access is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Strimzi's User Operator looks after all ACLs of the cluster.
    UserOperator {
        /// The `Kafka`, as `namespace/name`.
        kafka: String,
    },
    /// Strimzi's User Operator looks after the ACLs of this principal.
    KafkaUser {
        /// The principal.
        principal: Principal,
        /// Its `KafkaUser`, as `namespace/name`.
        user: String,
    },
    /// The principal is a service's of a pipeline, which looks after its ACLs.
    Service {
        /// The principal.
        principal: Principal,
        /// The pipeline, as `namespace/name`.
        pipeline: String,
    },
}

impl Refusal {
    /// Reason and remedy for the condition.
    pub(super) fn explanation(&self) -> Explanation {
        let reason = match self {
            Self::UserOperator { .. } => "UserOperatorConflict",
            Self::KafkaUser { .. } | Self::Service { .. } => "PrincipalTaken",
        };
        Explanation::new(reason, self.to_string())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserOperator { kafka } => write!(
                f,
                "the User Operator of Strimzi's Kafka {kafka} removes ACLs that are not its own: grant access in a \
                 KafkaUser, and remove spec.access"
            ),
            Self::KafkaUser { principal, user } => write!(
                f,
                "{principal} is Strimzi's KafkaUser {user}, whose ACLs its User Operator looks after: grant access \
                 there, and remove {principal} from spec.access"
            ),
            Self::Service { principal, pipeline } => write!(
                f,
                "{principal} is the user of a service of OrderPipeline {pipeline}, which has the rights that its service \
                 needs and no others: remove it from spec.access"
            ),
        }
    }
}

/// Principals whose ACLs somebody else looks after.
pub(super) type Taken = BTreeMap<Principal, Refusal>;

/// Those of `principals` that are users of pipelines' services. Asks nobody.
///
/// # Errors
/// [`Error::Kubernetes`] while the pipelines are not known.
pub(super) async fn taken_by_pipelines(
    ctx: &Context,
    cluster_id: &str,
    principals: &BTreeSet<Principal>,
) -> Result<Taken, Error> {
    ctx.service_users.until_known().await?;
    let mut taken = Taken::new();
    for principal in principals {
        let Some(user) = name_of(principal) else { continue };
        if let Some(pipeline) = ctx.service_users.owner(user, cluster_id) {
            let principal = principal.clone();
            taken.insert(principal.clone(), Refusal::Service { principal, pipeline });
        }
    }
    Ok(taken)
}

/// Those of `principals` that are `KafkaUser`s. Asks the apiserver, but only where a User Operator leaves some users
/// alone; where it leaves nobody alone, [`Refusal::UserOperator`] has been said before.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver cannot be asked.
pub(super) async fn taken_by_strimzi(
    ctx: &Context,
    cluster: &Cluster,
    principals: &BTreeSet<Principal>,
) -> Result<Taken, Error> {
    let mut taken = Taken::new();
    let Some(kafka) = ctx.strimzi.with_any_user_operator(cluster) else { return Ok(taken) };
    for principal in principals {
        let Some(name) = name_of(principal) else { continue };
        if strimzi::has_user(ctx, &kafka, name).await? {
            let (principal, user) = (principal.clone(), format!("{}/{name}", kafka.0));
            taken.insert(principal.clone(), Refusal::KafkaUser { principal, user });
        }
    }
    Ok(taken)
}

/// The name by which Kubernetes objects know a user: of one with a certificate, its common name.
fn name_of(principal: &Principal) -> Option<&str> {
    let user = principal.as_str().strip_prefix("User:")?;
    Some(user.strip_prefix("CN=").unwrap_or(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_known_by_name_or_common_name() {
        let name = |principal: &str| name_of(&principal.parse().unwrap()).map(str::to_owned);

        assert_eq!(name("User:shop.main.order").as_deref(), Some("shop.main.order"));
        assert_eq!(name("User:CN=analytics").as_deref(), Some("analytics"));
        assert_eq!(name("Group:analytics"), None);
    }
}
