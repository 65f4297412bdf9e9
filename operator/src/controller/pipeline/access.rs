//! From the contents of Secrets to what each service may know. No I/O, and no secret in any error.

use std::collections::BTreeMap;

use contract::Service;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::Url;

use super::principals::Logins;
use super::validate::{ValidPipeline, ValidService};
use crate::build::database_job::DatabaseAdmin;
use crate::build::labels::PipelineId;
use crate::build::secret::DATABASE_URL;
use crate::build::workload::{Access, Credentials, short_hex};

/// The Secrets of a pipeline's namespace that were looked for, by name; those that are not there are missing.
pub type Secrets = BTreeMap<String, Secret>;

/// A Secret that does not say what it should. The pipeline waits until somebody changes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not there.
    #[error("Secret {secret}, which spec.{field} names, does not exist; create it")]
    Missing {
        /// Its name.
        secret: String,
        /// The field that names it.
        field: &'static str,
    },
    /// It lacks a key.
    #[error("Secret {secret}, which spec.{field} names, has no key {key}; add it")]
    MissingKey {
        /// Its name.
        secret: String,
        /// The field that names it.
        field: &'static str,
        /// The key.
        key: String,
    },
    /// The value is of no use.
    #[error("key {key} of Secret {secret}, which spec.{field} names, is not {expected}; correct it")]
    Malformed {
        /// Its name.
        secret: String,
        /// The field that names it.
        field: &'static str,
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl Unusable {
    /// One word for the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "SecretMissing",
            Self::MissingKey { .. } | Self::Malformed { .. } => "SecretInvalid",
        }
    }
}

/// All that is secret in a pipeline.
#[derive(Clone, Debug)]
pub struct PipelineAccess {
    /// For the Job that prepares the databases.
    pub admin: DatabaseAdmin,
    /// For each service its own.
    pub services: BTreeMap<Service, Access>,
}

const CREDENTIALS: &str = "kafka.bootstrap.security.credentials";
const CA: &str = "kafka.bootstrap.security.ca";
const DATABASE: &str = "database.secretRef";
const REGISTRY: &str = "events.schemaRegistry.secretRef";

/// The names of the Secrets that the pipeline's spec refers to.
pub fn referenced(pipeline: &crate::crd::OrderPipelineSpec) -> impl Iterator<Item = &str> {
    let security = &pipeline.kafka.bootstrap.security;
    let credentials = security.credentials.iter().map(|credentials| credentials.secret_name.as_str());
    let ca = security.ca.iter().map(|ca| ca.secret_name.as_str());
    let registry = pipeline.events.schema_registry.iter().filter_map(|registry| registry.secret_ref.as_ref());
    let registry = registry.map(|from| from.name.as_str());
    credentials.chain(ca).chain(registry).chain([pipeline.database.secret_ref.name.as_str()])
}

/// What each service of `pipeline` may know. `passwords` holds one for each of its services that has a database,
/// `logins` what each has for Kafka where that is managed.
///
/// # Errors
/// The first Secret that does not say what it should.
pub fn resolve(
    pipeline: &ValidPipeline,
    secrets: &Secrets,
    passwords: &BTreeMap<Service, SecretString>,
    logins: &Logins,
) -> Result<PipelineAccess, Unusable> {
    let security = &pipeline.topic_defaults.kafka.bootstrap.security;
    let operator_credentials = match &security.credentials {
        Some(from) => Some(Credentials {
            username: value(secrets, CREDENTIALS, &from.secret_name, &from.username_key)?,
            password: value(secrets, CREDENTIALS, &from.secret_name, &from.password_key)?,
        }),
        None => None,
    };
    // Services that have users of their own never see the operator's.
    let shared_credentials = operator_credentials.filter(|_| pipeline.managed_access.is_none());
    let kafka_ca = match &security.ca {
        Some(from) => Some(value(secrets, CA, &from.secret_name, &from.key)?),
        None => None,
    };
    let registry = pipeline.events.schema_registry.as_ref().and_then(|registry| registry.secret_ref.as_ref());
    let registry_credentials = match registry {
        Some(from) => Some(Credentials {
            username: value(secrets, REGISTRY, &from.name, &from.username_key)?,
            password: value(secrets, REGISTRY, &from.name, &from.password_key)?,
        }),
        None => None,
    };
    let (admin, url) = admin(pipeline, secrets)?;
    let services = pipeline.services.iter().map(|ValidService { service, .. }| {
        let url_with = |password| database_url(&url, &database_name(&pipeline.id, *service), password);
        let own = logins.get(service);
        let access = Access {
            database_url: passwords.get(service).map(url_with),
            kafka_credentials: own
                .map(|login| login.credentials.clone())
                .or_else(|| shared_credentials.clone()),
            kafka_rotation: own.and_then(|login| login.rotation.clone()),
            kafka_ca: kafka_ca.clone(),
            registry_credentials: registry_credentials.clone(),
        };
        (*service, access)
    });
    Ok(PipelineAccess { admin, services: services.collect() })
}

fn admin(pipeline: &ValidPipeline, secrets: &Secrets) -> Result<(DatabaseAdmin, Url), Unusable> {
    let from = &pipeline.database;
    let text = value(secrets, DATABASE, &from.name, &from.key)?;
    let url = Url::parse(text.expose_secret().trim()).ok().filter(|url| {
        matches!(url.scheme(), "postgres" | "postgresql")
            && url.host_str().is_some_and(|host| !host.is_empty())
    });
    let url = url.ok_or_else(|| Unusable::Malformed {
        secret: from.name.clone(),
        field: DATABASE,
        key: from.key.clone(),
        expected: "a URL such as postgres://user:password@host:5432/postgres",
    })?;
    Ok((DatabaseAdmin { secret: from.clone(), url: text, image: pipeline.image.clone() }, url))
}

fn value(secrets: &Secrets, field: &'static str, secret: &str, key: &str) -> Result<SecretString, Unusable> {
    let found = secrets.get(secret).ok_or_else(|| Unusable::Missing { secret: secret.to_owned(), field })?;
    let bytes = found.data.as_ref().and_then(|data| data.get(key)).filter(|bytes| !bytes.0.is_empty());
    let bytes = bytes.ok_or_else(|| Unusable::MissingKey {
        secret: secret.to_owned(),
        field,
        key: key.to_owned(),
    })?;
    std::str::from_utf8(&bytes.0).map(SecretString::from).map_err(|_| Unusable::Malformed {
        secret: secret.to_owned(),
        field,
        key: key.to_owned(),
        expected: "text",
    })
}

/// The admin's URL with the service's own role, password and database; TLS settings stay as they are.
fn database_url(admin: &Url, name: &str, password: &SecretString) -> SecretString {
    let mut url = admin.clone();
    url.set_path(&format!("/{name}"));
    // These fail only for URLs without a host, and the admin's URL was checked to have one.
    let named = url.set_username(name).and_then(|()| url.set_password(Some(password.expose_secret())));
    named.expect("a URL with a host takes a user and a password");
    SecretString::from(url.to_string())
}

/// The password in the Secret of a service, if it is there.
pub fn password_in(secret: &Secret) -> Option<SecretString> {
    let url = secret.data.as_ref()?.get(DATABASE_URL)?;
    let url = Url::parse(std::str::from_utf8(&url.0).ok()?).ok()?;
    url.password().map(SecretString::from)
}

/// Longest identifier of PostgreSQL (NAMEDATALEN - 1); longer ones are cut silently.
const IDENTIFIER_MAX: usize = 63;
/// `_` and 16 digits.
const SUFFIX_LENGTH: usize = 17;

/// Name of a service's database and role: `<namespace>_<pipeline>_<service>`.
///
/// Namespace `a-b` with pipeline `c` must not meet namespace `a` with pipeline `b-c` in one database, so a name
/// that is not spelled out in full (a dash became `_`, or it was cut) ends in a digest of the full one.
#[must_use]
pub fn database_name(id: &PipelineId, service: Service) -> String {
    let full = format!("{}_{}_{}", id.namespace, id.name, service.name());
    if full.len() <= IDENTIFIER_MAX && !full.contains('-') {
        return full;
    }
    let mut name = full.replace('-', "_");
    name.truncate(IDENTIFIER_MAX - SUFFIX_LENGTH);
    format!("{name}_{}", short_hex(&Sha256::digest(&full)))
}
