//! From the contents of Secrets to what each service may know. No I/O, and no secret in any error.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::Service;
use k8s_openapi::api::core::v1::Secret;
use kafka_admin::{ClientIdentity, SaslCredentials, Security, TlsOptions};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::{Digest, Sha256};
use url::Url;

use super::principals::Identities;
use super::validate::{ValidPipeline, ValidService};
use crate::build::database_job::{DatabaseAdmin, DatabaseAuthority};
use crate::build::labels::PipelineId;
use crate::build::secret::DATABASE_URL;
use crate::build::workload::{Access, Certificate, Credentials, KafkaIdentity, short_hex};
use crate::controller::clusters::Connection;
use crate::controller::endpoint::Endpoint;
use crate::controller::secrets::Contents;
use crate::crd::ca_secret_ref::CaSecretRef;
use crate::crd::events::LoginRef;

/// The Secrets of a pipeline's namespace that were looked for, by name; those that are not there are missing.
pub type Secrets = BTreeMap<String, Arc<Contents>>;

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
            Self::Missing { .. } => "SecretNotFound",
            Self::MissingKey { .. } => "SecretKeyNotFound",
            Self::Malformed { .. } => "SecretInvalid",
        }
    }
}

/// All that is secret in a pipeline, and where it is of use.
#[derive(Clone, Debug)]
pub struct PipelineAccess {
    /// Where Kafka is.
    pub kafka: Endpoint,
    /// For the Job that prepares the databases.
    pub admin: DatabaseAdmin,
    /// For each service its own.
    pub services: BTreeMap<Service, Access>,
}

const REGISTRY: &str = "events.schemaRegistry.secretRef";
const REGISTRY_TRUST: &str = "events.schemaRegistry.caSecretRef";
const ISSUER_TRUST: &str = "gateway.jwt.caSecretRef";

/// The names of the Secrets that the pipeline's spec refers to, those for Kafka left out
/// ([`endpoint::secrets`](crate::controller::endpoint::secrets)).
pub fn referenced(pipeline: &crate::crd::OrderPipelineSpec) -> impl Iterator<Item = String> {
    let registry = pipeline.events.schema_registry.iter();
    let login = registry.clone().filter_map(|registry| registry.secret_ref.as_ref()).map(|from| &from.name);
    let ca = registry.filter_map(|registry| registry.ca_secret_ref.as_ref()).map(|from| &from.name);
    let database = [pipeline.database.admin_url().name].into_iter();
    let database = database.chain(pipeline.database.authority().map(|from| from.name));
    let issuer = pipeline.gateway.iter().filter_map(|gateway| gateway.jwt.as_ref()?.ca_secret_ref.as_ref());
    login.chain(ca).chain(issuer.map(|from| &from.name)).cloned().chain(database)
}

/// What each service of `pipeline` may know. `passwords` holds one for each of its services that has a database,
/// `identities` as whom each speaks to Kafka where that is managed; elsewhere they do so as the operator does.
///
/// # Errors
/// The first Secret that does not say what it should.
pub fn resolve(
    pipeline: &ValidPipeline,
    connection: Connection,
    secrets: &Secrets,
    passwords: &BTreeMap<Service, SecretString>,
    identities: &Identities,
) -> Result<PipelineAccess, Unusable> {
    let shared = match pipeline.managed_access {
        // Services that have users of their own never see the operator's.
        Some(_) => KafkaIdentity::default(),
        None => identity(&connection.options.security),
    };
    let kafka_ca =
        tls(&connection.options.security).and_then(|tls| tls.ca_pem.clone()).map(SecretString::from);
    let (registry_credentials, registry_ca) = registry(pipeline, secrets)?;
    let issuer_ca = pipeline.gateway.jwt.iter().find_map(|jwt| jwt.ca_secret_ref.as_ref());
    let issuer_ca = issuer_ca.map(|from| certificates(secrets, ISSUER_TRUST, from)).transpose()?;
    let (admin, url) = admin(pipeline, secrets)?;
    let database_ca = admin.authority.as_ref().map(|authority| authority.certificates.clone());
    let services = pipeline.services.iter().map(|ValidService { service, .. }| {
        let url_with = |password| database_url(&url, &database_name(&pipeline.id, *service), password);
        let access = Access {
            database_url: passwords.get(service).map(url_with),
            database_ca: passwords.get(service).and(database_ca.clone()),
            kafka: identities.get(service).unwrap_or(&shared).clone(),
            kafka_ca: kafka_ca.clone(),
            registry_credentials: registry_credentials.clone(),
            registry_ca: registry_ca.clone(),
            // Only who has an API checks tokens.
            issuer_ca: issuer_ca.clone().filter(|_| service.spec().has_api()),
        };
        (*service, access)
    });
    Ok(PipelineAccess { kafka: connection.endpoint, admin, services: services.collect() })
}

fn tls(security: &Security) -> Option<&TlsOptions> {
    match security {
        Security::Ssl(tls) | Security::SaslSsl(tls, _) => Some(tls),
        Security::Plaintext | Security::SaslPlaintext(_) => None,
    }
}

/// As whom the operator speaks to Kafka.
fn identity(security: &Security) -> KafkaIdentity {
    let sasl = match security {
        Security::SaslPlaintext(sasl) | Security::SaslSsl(_, sasl) => Some(sasl),
        Security::Plaintext | Security::Ssl(_) => None,
    };
    let credentials = |sasl: &SaslCredentials| Credentials {
        username: sasl.username.clone().into(),
        password: sasl.password.clone(),
    };
    let certificate = |identity: &ClientIdentity| Certificate {
        certificate: identity.certificate_pem.clone().into(),
        key: identity.key_pem.clone(),
    };
    KafkaIdentity {
        credentials: sasl.map(credentials),
        certificate: tls(security).and_then(|tls| tls.identity.as_ref()).map(certificate),
        rotation: None,
    }
}

fn admin(pipeline: &ValidPipeline, secrets: &Secrets) -> Result<(DatabaseAdmin, Url), Unusable> {
    let (from, field) = (pipeline.database.admin_url(), pipeline.database.field());
    let text = value(secrets, field, &from.name, &from.key)?;
    let url = Url::parse(text.expose_secret().trim()).ok().filter(|url| {
        matches!(url.scheme(), "postgres" | "postgresql")
            && url.host_str().is_some_and(|host| !host.is_empty())
    });
    let url = url.ok_or_else(|| Unusable::Malformed {
        secret: from.name.clone(),
        field,
        key: from.key.clone(),
        expected: "a URL such as postgres://user:password@host:5432/postgres",
    })?;
    let authority = pipeline.database.authority().map(|secret| {
        let certificates = certificates(secrets, pipeline.database.authority_field(), &secret)?;
        Ok::<_, Unusable>(DatabaseAuthority { secret, certificates })
    });
    let authority = authority.transpose()?;
    Ok((DatabaseAdmin { secret: from, url: text, authority, image: pipeline.image.clone() }, url))
}

fn value(secrets: &Secrets, field: &'static str, secret: &str, key: &str) -> Result<SecretString, Unusable> {
    let found = secrets.get(secret).ok_or_else(|| Unusable::Missing { secret: secret.to_owned(), field })?;
    let bytes = found.keys.get(key).map(SecretSlice::expose_secret).filter(|bytes| !bytes.is_empty());
    let bytes = bytes.ok_or_else(|| Unusable::MissingKey {
        secret: secret.to_owned(),
        field,
        key: key.to_owned(),
    })?;
    std::str::from_utf8(bytes).map(SecretString::from).map_err(|_| Unusable::Malformed {
        secret: secret.to_owned(),
        field,
        key: key.to_owned(),
        expected: "text",
    })
}

/// As whom services speak to the schema registry, and whom they trust there.
fn registry(
    pipeline: &ValidPipeline,
    secrets: &Secrets,
) -> Result<(Option<Credentials>, Option<SecretString>), Unusable> {
    let Some(registry) = &pipeline.events.schema_registry else { return Ok((None, None)) };
    let login = |from: &LoginRef| {
        Ok::<_, Unusable>(Credentials {
            username: value(secrets, REGISTRY, &from.name, &from.username_key)?,
            password: value(secrets, REGISTRY, &from.name, &from.password_key)?,
        })
    };
    let trusted = |from| certificates(secrets, REGISTRY_TRUST, from);
    let ca = registry.ca_secret_ref.as_ref().map(trusted).transpose()?;
    Ok((registry.secret_ref.as_ref().map(login).transpose()?, ca))
}

/// The certificates that a spec has services trust. Whether they are any good, only who connects can tell.
fn certificates(
    secrets: &Secrets,
    field: &'static str,
    from: &CaSecretRef,
) -> Result<SecretString, Unusable> {
    let text = value(secrets, field, &from.name, &from.key)?;
    if !text.expose_secret().contains("-----BEGIN CERTIFICATE-----") {
        return Err(Unusable::Malformed {
            secret: from.name.clone(),
            field,
            key: from.key.clone(),
            expected: "a certificate in PEM",
        });
    }
    Ok(text)
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
