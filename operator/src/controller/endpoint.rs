//! From `spec.kafka` to where its cluster is and in which Secrets stands how one connects. Pure: what Strimzi says of
//! its clusters is known already.

use super::strimzi::Strimzi;
use super::strimzi::objects::{ALLOWED_NAMESPACES, Authentication, Kafka, Key, Listener};
use crate::crd::kafka_ref::{
    Bootstrap, ClientCertificate, KafkaRef, Mechanism, Protocol, SecretKey, StrimziRef,
};

/// The `KafkaUser` as whom the operator speaks to clusters of Strimzi's, and so the name of its Secret. Fixed, so that
/// nobody gets at another user's Secret by naming it in a spec.
pub const OPERATOR_USER: &str = "orderpipeline-operator";

/// Where a cluster is, and where stands how one connects to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Comma-separated `host:port`.
    pub servers: String,
    /// How the connection is encrypted and authenticated.
    pub protocol: Protocol,
    /// How a password is proven, where there is one.
    pub mechanism: Mechanism,
    /// Namespace of the Secrets.
    pub namespace: String,
    /// The operator's user and password, where the protocol has SASL.
    pub login: Option<LoginFrom>,
    /// Whom to trust, where the protocol has TLS.
    pub trust: Trust,
    /// The operator's certificate.
    pub certificate: Option<ClientCertificate>,
    /// Strimzi's cluster, where it is one of its own.
    pub strimzi: Option<StrimziCluster>,
}

/// A Secret with a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginFrom {
    /// Its name.
    pub secret: String,
    /// The user.
    pub username: Username,
    /// The key of the password.
    pub password_key: String,
}

/// The name of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Username {
    /// This one.
    Known(String),
    /// The one under this key of the Secret.
    Key(String),
}

/// Whose certificates are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the system's authorities.
    System,
    /// Those of the authority under this key.
    Key(SecretKey),
    /// Those of all authorities in this Secret (each key that ends in `.crt`; while an authority is renewed there are
    /// two), and these themselves.
    All {
        /// Name of the Secret.
        secret: String,
        /// More certificates, in PEM.
        more: Vec<String>,
    },
}

/// A cluster that Strimzi runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrimziCluster {
    /// Name of the `Kafka`.
    pub name: String,
    /// How clients of the listener say who they are.
    pub authentication: Authentication,
    /// Whether ACLs are looked at.
    pub has_authorization: bool,
    /// Whether a User Operator makes its users.
    pub has_user_operator: bool,
}

/// Why a cluster of Strimzi's cannot be used, as yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No `Kafka` of this name is known.
    #[error(
        "Kafka {namespace}/{name} (kafkas.kafka.strimzi.io) does not exist, or the operator may not look into its \
         namespace; create it, or correct spec.kafka.strimzi"
    )]
    NotFound {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// It is in another namespace and has not consented.
    #[error(
        "Kafka {namespace}/{name} does not let objects of namespace {user} use it; add {user} to its annotation \
         {ALLOWED_NAMESPACES}"
    )]
    NotAllowed {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The namespace that would use it.
        user: String,
    },
    /// It has no such listener.
    #[error("Kafka {namespace}/{name} has no listener {listener}; there are: {there}")]
    NoListener {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What was looked for.
        listener: String,
        /// What there is.
        there: String,
    },
    /// One logs in to the listener in a way that is not known here.
    #[error(
        "listener {listener} of Kafka {namespace}/{name} has authentication {authentication}, which is not supported; \
         name a listener with scram-sha-512, tls or none"
    )]
    Authentication {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The listener.
        listener: String,
        /// Its type of authentication.
        authentication: String,
    },
    /// Its address is not known yet.
    #[error("Strimzi has not told the address of listener {listener} of Kafka {namespace}/{name} yet")]
    NoAddress {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The listener.
        listener: String,
    },
}

impl Unusable {
    /// Reason for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "KafkaNotFound",
            Self::NotAllowed { .. } => "KafkaNotAllowed",
            Self::NoListener { .. } | Self::Authentication { .. } => "ListenerUnusable",
            Self::NoAddress { .. } => "ListenerPending",
        }
    }
}

/// Where the cluster is that an object in `namespace` means by `kafka`. What Strimzi says must be known
/// ([`Strimzi::until_known`]).
///
/// # Errors
/// Why a cluster of Strimzi's cannot be used; its watch wakes everybody when that changes.
pub fn endpoint(strimzi: &Strimzi, namespace: &str, kafka: &KafkaRef) -> Result<Endpoint, Unusable> {
    match kafka {
        KafkaRef::Bootstrap(bootstrap) => Ok(by_address(namespace, bootstrap)),
        KafkaRef::Strimzi(reference) => {
            let key = key(namespace, reference);
            let Some(kafka) = strimzi.kafka(&key) else {
                return Err(Unusable::NotFound { namespace: key.0, name: key.1 });
            };
            of_strimzi(namespace, key, &kafka, &reference.listener)
        }
    }
}

/// Namespace and name of the `Kafka` that an object in `namespace` means.
pub fn key(namespace: &str, reference: &StrimziRef) -> Key {
    (reference.namespace.clone().unwrap_or_else(|| namespace.to_owned()), reference.cluster.clone())
}

fn by_address(namespace: &str, bootstrap: &Bootstrap) -> Endpoint {
    let security = &bootstrap.security;
    let login = security.credentials.as_ref().map(|from| LoginFrom {
        secret: from.secret_name.clone(),
        username: Username::Key(from.username_key.clone()),
        password_key: from.password_key.clone(),
    });
    Endpoint {
        servers: bootstrap.servers.clone(),
        protocol: security.protocol,
        mechanism: security.mechanism,
        namespace: namespace.to_owned(),
        login,
        trust: security.ca.clone().map_or(Trust::System, Trust::Key),
        certificate: security.client_certificate.clone(),
        strimzi: None,
    }
}

fn of_strimzi(user: &str, key: Key, kafka: &Kafka, listener: &str) -> Result<Endpoint, Unusable> {
    let (namespace, name) = key;
    if namespace != user && !kafka.allows(user) {
        return Err(Unusable::NotAllowed { namespace, name, user: user.to_owned() });
    }
    let Some(found) = kafka.listeners.get(listener) else {
        let there: Vec<&str> = kafka.listeners.keys().map(String::as_str).collect();
        let there = there.join(", ");
        return Err(Unusable::NoListener { namespace, name, listener: listener.to_owned(), there });
    };
    if let Authentication::Other(authentication) = found.authentication.clone() {
        return Err(Unusable::Authentication {
            namespace,
            name,
            listener: listener.to_owned(),
            authentication,
        });
    }
    let Some(servers) = found.servers.clone() else {
        return Err(Unusable::NoAddress { namespace, name, listener: listener.to_owned() });
    };
    let scram = found.authentication == Authentication::Scram;
    let secret = || OPERATOR_USER.to_owned();
    Ok(Endpoint {
        servers,
        protocol: protocol(found),
        mechanism: Mechanism::ScramSha512,
        login: scram.then(|| LoginFrom {
            secret: secret(),
            username: Username::Known(OPERATOR_USER.to_owned()),
            password_key: USER_PASSWORD.to_owned(),
        }),
        trust: if found.tls {
            Trust::All { secret: format!("{name}-cluster-ca-cert"), more: found.own_certificates.clone() }
        } else {
            Trust::System
        },
        certificate: (found.authentication == Authentication::Tls).then(|| ClientCertificate {
            secret_name: secret(),
            certificate_key: USER_CERTIFICATE.to_owned(),
            private_key_key: USER_KEY.to_owned(),
        }),
        strimzi: Some(StrimziCluster {
            name,
            authentication: found.authentication.clone(),
            has_authorization: kafka.has_authorization,
            has_user_operator: kafka.has_user_operator,
        }),
        namespace,
    })
}

/// Key of the Secret of a `KafkaUser` that holds its password.
pub const USER_PASSWORD: &str = "password";
/// Key of the Secret of a `KafkaUser` that holds its certificate.
pub const USER_CERTIFICATE: &str = "user.crt";
/// Key of the Secret of a `KafkaUser` that holds its private key.
pub const USER_KEY: &str = "user.key";

fn protocol(listener: &Listener) -> Protocol {
    match (listener.tls, listener.authentication == Authentication::Scram) {
        (false, false) => Protocol::Plaintext,
        (false, true) => Protocol::SaslPlaintext,
        (true, false) => Protocol::Ssl,
        (true, true) => Protocol::SaslSsl,
    }
}

/// Whether what an object in `namespace` means by `kafka` is connected to with what stands in this Secret.
pub fn reads(strimzi: &Strimzi, namespace: &str, kafka: &KafkaRef, (place, name): &Key) -> bool {
    // First what costs nothing: there may be thousands of objects.
    let elsewhere = match kafka {
        KafkaRef::Bootstrap(_) => namespace != place,
        KafkaRef::Strimzi(reference) => key(namespace, reference).0 != *place,
    };
    !elsewhere
        && endpoint(strimzi, namespace, kafka)
            .is_ok_and(|endpoint| secrets(&endpoint).any(|named| named == name))
}

/// Names of the Secrets that connecting needs, in the namespace of `endpoint`.
pub fn secrets(endpoint: &Endpoint) -> impl Iterator<Item = &str> {
    let login = endpoint.login.iter().map(|login| login.secret.as_str());
    let certificate = endpoint.certificate.iter().map(|from| from.secret_name.as_str());
    let trust = match &endpoint.trust {
        Trust::System => None,
        Trust::Key(key) => Some(key.secret_name.as_str()),
        Trust::All { secret, .. } => Some(secret.as_str()),
    };
    login.chain(certificate).chain(trust)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn kafka(tls: bool, authentication: Authentication) -> Kafka {
        let listener =
            Listener { servers: Some("main:9093".to_owned()), tls, authentication, ..Listener::default() };
        let listeners = [("it".to_owned(), listener)].into();
        Kafka { listeners, allowed_namespaces: vec!["shop".to_owned()], ..Kafka::default() }
    }

    fn resolve(user: &str, kafka: &Kafka, listener: &str) -> Result<Endpoint, Unusable> {
        of_strimzi(user, ("kafka".to_owned(), "main".to_owned()), kafka, listener)
    }

    #[rstest]
    #[case(false, Authentication::None, Protocol::Plaintext, &[])]
    #[case(true, Authentication::None, Protocol::Ssl, &["main-cluster-ca-cert"])]
    #[case(false, Authentication::Scram, Protocol::SaslPlaintext, &[OPERATOR_USER])]
    #[case(true, Authentication::Scram, Protocol::SaslSsl, &[OPERATOR_USER, "main-cluster-ca-cert"])]
    #[case(true, Authentication::Tls, Protocol::Ssl, &[OPERATOR_USER, "main-cluster-ca-cert"])]
    fn a_listener_says_how_one_connects(
        #[case] tls: bool,
        #[case] authentication: Authentication,
        #[case] protocol: Protocol,
        #[case] needed: &[&str],
    ) {
        let endpoint = resolve("shop", &kafka(tls, authentication), "it").unwrap();

        assert_eq!(endpoint.protocol, protocol);
        assert_eq!(endpoint.namespace, "kafka");
        assert_eq!(secrets(&endpoint).collect::<Vec<_>>(), needed);
    }

    #[test]
    fn another_namespace_needs_consent_and_its_own_none() {
        let kafka = kafka(true, Authentication::Scram);

        assert!(resolve("shop", &kafka, "it").is_ok());
        assert!(resolve("kafka", &kafka, "it").is_ok());
        assert_eq!(resolve("other", &kafka, "it").unwrap_err().reason(), "KafkaNotAllowed");
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let mut without_address = kafka(true, Authentication::Scram);
        without_address.listeners.values_mut().for_each(|listener| listener.servers = None);

        assert_eq!(resolve("shop", &without_address, "it").unwrap_err().reason(), "ListenerPending");
        let oauth = kafka(true, Authentication::Other("oauth".to_owned()));
        assert_eq!(resolve("shop", &oauth, "it").unwrap_err().reason(), "ListenerUnusable");
        assert_eq!(resolve("shop", &oauth, "that").unwrap_err().reason(), "ListenerUnusable");
    }
}
