//! The users that a pipeline should have: names, passwords, ACLs. Asks nobody.

use std::collections::BTreeSet;

use contract::Service;
use kafka_admin::{AclBinding, Principal, ScramMechanism};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{Login, Logins};
use crate::build::labels::PipelineId;
use crate::build::rights;
use crate::build::workload::{Credentials, short_hex};
use crate::controller::pipeline::fetch::new_password;
use crate::controller::pipeline::validate::ValidPipeline;

/// Annotation of a pipeline: with every new value, the services' users get new passwords, and their pods roll.
pub const ROTATE_ANNOTATION: &str = "orderpipeline.dev/rotate-kafka-passwords";

/// The users of a pipeline and what they may do.
pub(super) struct Wanted {
    /// For which mechanism the passwords are.
    pub mechanism: ScramMechanism,
    /// Users and passwords.
    pub logins: Logins,
    /// What they may do.
    pub acls: BTreeSet<AclBinding>,
}

impl Wanted {
    /// The users of `valid`. Passwords in `held` stay unless `rotation` is another one than they were made for.
    pub(super) fn of(
        valid: &ValidPipeline,
        mechanism: ScramMechanism,
        rotation: Option<String>,
        held: &Logins,
    ) -> Self {
        let prefix = &valid.topic_defaults.prefix;
        let services = || valid.services.iter().map(|service| service.service);
        let login =
            |service| login(user_name(&valid.id, prefix, service), rotation.clone(), held.get(&service));
        let acls =
            |service| rights::acls(service, prefix, &Principal::user(user_name(&valid.id, prefix, service)));
        Self {
            mechanism,
            logins: services().map(|service| (service, login(service))).collect(),
            acls: services().flat_map(acls).collect(),
        }
    }

    /// Names of the users.
    pub(super) fn users(&self) -> impl Iterator<Item = String> {
        self.logins.values().map(user_of)
    }

    /// Tells states of Kafka apart: equal for equal users, passwords and ACLs in the same cluster.
    pub(super) fn fingerprint(&self, cluster: &str) -> String {
        let mut digest = Sha256::new();
        let mut feed = |text: &str| {
            digest.update(text.len().to_be_bytes());
            digest.update(text);
        };
        feed(cluster);
        feed(&self.mechanism.to_string());
        for Login { credentials, .. } in self.logins.values() {
            feed(credentials.username.expose_secret());
            feed(credentials.password.expose_secret());
        }
        self.acls.iter().for_each(|acl| feed(&format!("{acl:?}")));
        short_hex(&digest.finalize())
    }
}

/// Name of the user of a service: `<prefix><namespace>.<pipeline>.<service>`. Neither of the last three has a dot in
/// it, and the prefix tells apart what several Kubernetes clusters have in one Kafka.
#[must_use]
pub fn user_name(id: &PipelineId, prefix: &str, service: Service) -> String {
    format!("{prefix}{}.{}.{service}", id.namespace, id.name)
}

/// The user of `login`.
pub(super) fn user_of(login: &Login) -> String {
    login.credentials.username.expose_secret().to_owned()
}

fn login(user: String, rotation: Option<String>, held: Option<&Login>) -> Login {
    let kept = held.filter(|held| user_of(held) == user && (rotation.is_none() || held.rotation == rotation));
    kept.cloned().unwrap_or_else(|| Login {
        credentials: Credentials { username: SecretString::from(user), password: new_password() },
        rotation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_login(user: &str, rotation: Option<&str>) -> Login {
        let credentials = Credentials { username: user.into(), password: "old".into() };
        Login { credentials, rotation: rotation.map(str::to_owned) }
    }

    fn keeps(rotation: Option<&str>, held: &Login) -> bool {
        let login = login("u".to_owned(), rotation.map(str::to_owned), Some(held));
        login.credentials.password.expose_secret() == "old"
    }

    #[test]
    fn a_password_stays_until_another_rotation_is_asked_for() {
        assert!(keeps(None, &held_login("u", None)));
        assert!(keeps(Some("1"), &held_login("u", Some("1"))));
        assert!(!keeps(Some("1"), &held_login("u", None)));
        assert!(!keeps(Some("2"), &held_login("u", Some("1"))));
        // To remove the annotation asks for nothing.
        assert!(keeps(None, &held_login("u", Some("1"))));
    }

    #[test]
    fn the_password_of_another_user_is_not_taken_over() {
        assert!(!keeps(None, &held_login("admin", None)));
    }

    #[test]
    fn users_of_different_pipelines_differ() {
        let id = |namespace: &str, name: &str| PipelineId {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };

        assert_eq!(user_name(&id("shop", "main"), "eu.", Service::Order), "eu.shop.main.order");
        assert_ne!(
            user_name(&id("a-b", "c"), "", Service::Order),
            user_name(&id("a", "b-c"), "", Service::Order)
        );
    }
}
