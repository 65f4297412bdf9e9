//! What differs between the services, as data: every builder takes a [`Workload`], none asks which service
//! it builds for.

use std::collections::BTreeMap;

use contract::{Service, Topic};
use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::crd::kafka_ref::{Mechanism, Protocol};
use crate::crd::order_pipeline::{Containers, IngressRoute, ParentRef, Profile};

/// Where a service answers its API.
pub const HTTP_PORT: i32 = 8080;
/// Where a service answers probes and serves metrics.
pub const ADMIN_PORT: i32 = 9090;
/// The same of the container that runs what happens to events, where it is one of its own.
pub const EVENTS_ADMIN_PORT: i32 = 9091;
/// Where the certificates for Kafka are mounted.
pub const KAFKA_DIR: &str = "/run/orderpipeline/kafka";
/// The variable by which services find the certificates of those that signed the database server's.
pub const DATABASE_CA_FILE: &str = "DATABASE_CA_FILE";
/// Where the certificates of other authorities are mounted.
pub const TRUST_DIR: &str = "/run/orderpipeline/trust";

/// A service as it is to run, all defaults resolved.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Which one of the roster.
    pub service: Service,
    /// The image.
    pub image: String,
    /// Pods, where nobody else decides.
    pub replicas: i32,
    /// How its load decides on the number of pods, where it does.
    pub autoscaling: Option<Autoscaling>,
    /// What it reads, for whoever wants to know how far behind it is.
    pub reading: Reading,
    /// What the containers of a pod run.
    pub containers: Containers,
    /// CPU and memory of each container.
    pub resources: ResourceRequirements,
    /// How its API is reached from outside the cluster, where it is.
    pub exposure: Option<Exposure>,
    /// Its environment, as far as it is no secret.
    pub settings: BTreeMap<String, String>,
    /// Variables that the pipeline's author added.
    pub extra_env: Vec<EnvVar>,
    /// What it may know and nobody else.
    pub access: Access,
}

/// How the load of a service decides on its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autoscaling {
    /// Fewest pods.
    pub min_replicas: i32,
    /// Most pods.
    pub max_replicas: i32,
    /// Average CPU of the pods to aim at, in percent of what they request.
    pub target_cpu: i32,
    /// Events that each pod may be behind on average, where that decides too.
    pub target_lag: Option<i64>,
}

/// How the API of a service is reached from outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The names that callers use.
    pub hosts: Vec<String>,
    /// The way in.
    pub entrance: Entrance,
}

/// The way into the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// An ingress controller.
    Ingress(IngressRoute),
    /// Gateways.
    Gateways(Vec<ParentRef>),
}

/// What a service reads in Kafka, and as which group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Addresses of the brokers.
    pub servers: String,
    /// How they are spoken to.
    pub protocol: Protocol,
    /// How one logs in to them, where the protocol has SASL.
    pub mechanism: Mechanism,
    /// Put before every topic's name.
    pub prefix: String,
    /// The consumer group of all its pods.
    pub group: String,
    /// The topics.
    pub topics: Vec<Topic>,
}

/// The secrets of a service.
#[derive(Clone, Debug)]
pub struct Access {
    /// The service's own database, where it has one.
    pub database_url: Option<SecretString>,
    /// The certificates of those that signed the database server's, where it has a database and they are known.
    pub database_ca: Option<SecretString>,
    /// As whom it speaks to Kafka.
    pub kafka: KafkaIdentity,
    /// The certificates of those that signed the brokers', where the system's trust store does not have them.
    pub kafka_ca: Option<SecretString>,
    /// User and password for the schema registry, where it wants them.
    pub registry_credentials: Option<Credentials>,
    /// The certificates of those that signed the schema registry's, where the system's trust store does not have them.
    pub registry_ca: Option<SecretString>,
    /// The certificates of those that signed the token issuer's, where it checks tokens and they are known.
    pub issuer_ca: Option<SecretString>,
}

/// As whom a service speaks to Kafka: nothing of it where the cluster does not ask.
#[derive(Clone, Debug, Default)]
pub struct KafkaIdentity {
    /// User and password.
    pub credentials: Option<Credentials>,
    /// A certificate.
    pub certificate: Option<Certificate>,
    /// For which rotation these were made, where somebody asked for one.
    pub rotation: Option<String>,
}

/// A certificate and its private key, in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, with the chain above it.
    pub certificate: SecretString,
    /// Its key.
    pub key: SecretString,
}

/// A user.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Its name.
    pub username: SecretString,
    /// Its password.
    pub password: SecretString,
}

impl Workload {
    /// How many pods there are at least.
    #[must_use]
    pub fn fewest_replicas(&self) -> i32 {
        self.autoscaling.map_or(self.replicas, |scaling| scaling.min_replicas)
    }

    /// A digest of all that a pod reads once, at its start. It stands on the pods, so that exactly those roll
    /// whose configuration changed. Passwords cannot be guessed from it: the database password in it is long
    /// and random.
    #[must_use]
    pub fn config_hash(&self) -> String {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update(text.len().to_be_bytes());
            digest.update(text);
        };
        for (name, value) in &self.settings {
            add(name);
            add(value);
        }
        if let Some(url) = &self.access.database_url {
            add(url.expose_secret());
        }
        let kafka = &self.access.kafka;
        for of in [&kafka.credentials, &self.access.registry_credentials].into_iter().flatten() {
            add(of.username.expose_secret());
            add(of.password.expose_secret());
        }
        if let Some(of) = &kafka.certificate {
            add(of.certificate.expose_secret());
            add(of.key.expose_secret());
        }
        let Access { kafka_ca, registry_ca, database_ca, issuer_ca, .. } = &self.access;
        for ca in [kafka_ca, registry_ca, database_ca, issuer_ca].into_iter().flatten() {
            add(ca.expose_secret());
        }
        short_hex(&digest.finalize())
    }
}

/// The first 16 hexadecimal digits: 64 bits tell the versions of one object apart.
#[must_use]
pub fn short_hex(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Pods of a service where the pipeline does not say.
#[must_use]
pub fn default_replicas(profile: Profile) -> i32 {
    match profile {
        Profile::Dev => 1,
        Profile::Staging => 2,
        // One per partition of a topic with default partitions.
        Profile::Prod => 3,
    }
}

/// CPU and memory where the pipeline does not say. A service needs about 20 MB; the rest is room for batches.
/// There is no CPU limit: it would only make consumers late while the node is idle.
#[must_use]
pub fn default_resources(profile: Profile) -> ResourceRequirements {
    let (cpu, memory, limit) = match profile {
        Profile::Dev => ("10m", "48Mi", "256Mi"),
        Profile::Staging => ("100m", "128Mi", "384Mi"),
        Profile::Prod => ("250m", "256Mi", "512Mi"),
    };
    let quantity = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
    ResourceRequirements {
        requests: Some(BTreeMap::from([quantity("cpu", cpu), quantity("memory", memory)])),
        limits: Some(BTreeMap::from([quantity("memory", limit)])),
        ..ResourceRequirements::default()
    }
}

/// A key of `services.<name>.config`, and the variable it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// What its value looks like.
    pub form: Form,
}

/// What the value of a [`Setting`] looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Anything that is not empty.
    Text,
    /// `90s`, `15m`, `1h30m`.
    Duration,
    /// `product=units,…`
    Stock,
    /// `product=price currency,…`
    Catalogue,
    /// `smtp://host:port`, without a password.
    SmtpUrl,
}

/// The settings of `service`, those that all have among them.
#[must_use]
pub fn settings_of(service: Service) -> Vec<Setting> {
    let own: &[Setting] = match service {
        Service::Order => &[Setting { key: "catalogue", variable: "ORDER_CATALOGUE", form: Form::Catalogue }],
        Service::Inventory => &[
            Setting { key: "initialStock", variable: "INVENTORY_INITIAL_STOCK", form: Form::Stock },
            Setting {
                key: "backorderTimeout",
                variable: "INVENTORY_BACKORDER_TIMEOUT",
                form: Form::Duration,
            },
            Setting { key: "reservationTtl", variable: "INVENTORY_RESERVATION_TTL", form: Form::Duration },
        ],
        Service::Payment => &[
            Setting { key: "budget", variable: "PAYMENT_BUDGET", form: Form::Duration },
            Setting { key: "simulator", variable: "PAYMENT_SIMULATOR", form: Form::Text },
        ],
        Service::Shipping => &[
            Setting { key: "budget", variable: "SHIPPING_BUDGET", form: Form::Duration },
            Setting { key: "transit", variable: "SHIPPING_TRANSIT", form: Form::Duration },
            Setting { key: "simulator", variable: "SHIPPING_SIMULATOR", form: Form::Text },
        ],
        Service::Notification => &[
            Setting { key: "smtpUrl", variable: "SMTP_URL", form: Form::SmtpUrl },
            Setting { key: "mailFrom", variable: "MAIL_FROM", form: Form::Text },
        ],
        Service::OrderAnalytics => {
            &[Setting { key: "grace", variable: "ORDER_ANALYTICS_GRACE", form: Form::Duration }]
        }
    };
    let common = [Setting { key: "logLevel", variable: "LOG_LEVEL", form: Form::Text }];
    common.into_iter().chain(own.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_explained_where_it_is_written() {
        let definitions = serde_json::to_string(&crate::crd::all()).unwrap();

        for service in Service::ALL {
            for Setting { key, .. } in settings_of(*service) {
                assert!(definitions.contains(&format!("`{key}`")), "{service}: {key} is not explained");
            }
        }
    }
}
