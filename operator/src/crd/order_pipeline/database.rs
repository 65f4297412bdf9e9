//! `spec.database`: the PostgreSQL server.

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::crd::OBJECT_NAME;
use crate::crd::ca_secret_ref::CaSecretRef;

/// The PostgreSQL server that holds one database per service, and whom to trust there.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct DatabaseSpec {
    /// The server.
    pub server: DatabaseServer,
    /// The authorities that signed its certificate, where the spec names them.
    pub ca_secret_ref: Option<CaSecretRef>,
}

/// A PostgreSQL server.
#[derive(Clone, Debug, PartialEq)]
pub enum DatabaseServer {
    /// A server given by a URL.
    SecretRef(SecretKeyRef),
    /// A server that CloudNativePG runs.
    CloudNativePg(CloudNativePg),
}

/// The PostgreSQL server that holds one database per service: exactly one of `secretRef` and `cloudNativePG`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretRef) != has(self.cloudNativePG)")
        .message("database must name exactly one of secretRef and cloudNativePG")
)]
struct Fields {
    /// The key of a Secret in this namespace that holds a URL such as
    /// `postgres://admin:…@db.example:5432/postgres?sslmode=require` of a role that may create roles and
    /// databases. Only the Job that prepares the databases gets it; each service gets a role of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_ref: Option<SecretKeyRef>,
    /// A `Cluster` of CloudNativePG's in this namespace, with `enableSuperuserAccess: true`: its superuser creates
    /// roles and databases.
    #[serde(default, rename = "cloudNativePG", skip_serializing_if = "Option::is_none")]
    cloud_native_pg: Option<CloudNativePg>,
    /// Secret with the certificates of the authority that signed the server's. With it, whoever connects insists on TLS
    /// and on the server's name (`sslmode=verify-full`, unless the URL says `verify-ca`). Default: with `cloudNativePG`
    /// the Secret `<cluster>-ca`, which CloudNativePG makes; with `secretRef` none, so that the URL alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_secret_ref: Option<CaSecretRef>,
}

impl TryFrom<Fields> for DatabaseSpec {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let server = match (fields.secret_ref, fields.cloud_native_pg) {
            (Some(secret), None) => DatabaseServer::SecretRef(secret),
            (None, Some(cluster)) => DatabaseServer::CloudNativePg(cluster),
            (None, None) | (Some(_), Some(_)) => {
                return Err("exactly one of secretRef and cloudNativePG is to be named");
            }
        };
        Ok(Self { server, ca_secret_ref: fields.ca_secret_ref })
    }
}

impl From<DatabaseSpec> for Fields {
    fn from(DatabaseSpec { server, ca_secret_ref }: DatabaseSpec) -> Self {
        match server {
            DatabaseServer::SecretRef(secret) => {
                Self { secret_ref: Some(secret), ca_secret_ref, ..Self::default() }
            }
            DatabaseServer::CloudNativePg(cluster) => {
                Self { cloud_native_pg: Some(cluster), ca_secret_ref, ..Self::default() }
            }
        }
    }
}

impl JsonSchema for DatabaseSpec {
    fn schema_name() -> Cow<'static, str> {
        "DatabaseSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Fields::json_schema(generator)
    }
}

/// A PostgreSQL cluster that CloudNativePG runs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CloudNativePg {
    /// Name of the `Cluster` (`clusters.postgresql.cnpg.io`).
    #[schemars(length(min = 1, max = 50), regex(pattern = OBJECT_NAME))]
    pub cluster: String,
}

impl DatabaseSpec {
    /// Where the administrator's URL stands.
    pub fn admin_url(&self) -> SecretKeyRef {
        match &self.server {
            DatabaseServer::SecretRef(secret) => secret.clone(),
            // As CloudNativePG names what it makes.
            DatabaseServer::CloudNativePg(CloudNativePg { cluster }) => {
                SecretKeyRef { name: format!("{cluster}-superuser"), key: "uri".to_owned() }
            }
        }
    }

    /// Where the authorities stand that the server's certificate has to be signed by.
    pub fn authority(&self) -> Option<CaSecretRef> {
        match (&self.ca_secret_ref, &self.server) {
            (Some(named), _) => Some(named.clone()),
            (None, DatabaseServer::CloudNativePg(CloudNativePg { cluster })) => {
                Some(CaSecretRef { name: format!("{cluster}-ca"), key: "ca.crt".to_owned() })
            }
            (None, DatabaseServer::SecretRef(_)) => None,
        }
    }

    /// The field that leads to [`DatabaseSpec::admin_url`], as a path below `spec`.
    pub fn field(&self) -> &'static str {
        match &self.server {
            DatabaseServer::SecretRef(_) => "database.secretRef",
            DatabaseServer::CloudNativePg(_) => "database.cloudNativePG",
        }
    }

    /// The field that leads to [`DatabaseSpec::authority`], as a path below `spec`.
    pub fn authority_field(&self) -> &'static str {
        if self.ca_secret_ref.is_some() { "database.caSecretRef" } else { self.field() }
    }
}

/// A key of a Secret in the pipeline's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,

    /// The key in the Secret.
    #[serde(default = "default_url_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_url_key() -> String {
    "url".to_owned()
}
