//! `spec.database`: the PostgreSQL server.

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// The PostgreSQL server that holds one database per service: exactly one of `secretRef` and `cloudNativePG`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(try_from = "Fields", into = "Fields")]
pub enum DatabaseSpec {
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
    /// A `Cluster` of CloudNativePG's in this namespace, with `enableSuperuserAccess: true`: its superuser creates roles
    /// and databases.
    #[serde(default, rename = "cloudNativePG", skip_serializing_if = "Option::is_none")]
    cloud_native_pg: Option<CloudNativePg>,
}

impl TryFrom<Fields> for DatabaseSpec {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        match (fields.secret_ref, fields.cloud_native_pg) {
            (Some(secret), None) => Ok(Self::SecretRef(secret)),
            (None, Some(cluster)) => Ok(Self::CloudNativePg(cluster)),
            (None, None) | (Some(_), Some(_)) => {
                Err("exactly one of secretRef and cloudNativePG is to be named")
            }
        }
    }
}

impl From<DatabaseSpec> for Fields {
    fn from(database: DatabaseSpec) -> Self {
        match database {
            DatabaseSpec::SecretRef(secret) => Self { secret_ref: Some(secret), ..Self::default() },
            DatabaseSpec::CloudNativePg(cluster) => {
                Self { cloud_native_pg: Some(cluster), ..Self::default() }
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
    #[schemars(length(min = 1, max = 50))]
    pub cluster: String,
}

impl DatabaseSpec {
    /// Where the administrator's URL stands.
    pub fn admin_url(&self) -> SecretKeyRef {
        match self {
            Self::SecretRef(secret) => secret.clone(),
            // As CloudNativePG names what it makes.
            Self::CloudNativePg(CloudNativePg { cluster }) => {
                SecretKeyRef { name: format!("{cluster}-superuser"), key: "uri".to_owned() }
            }
        }
    }

    /// The field, as a path below `spec`.
    pub fn field(&self) -> &'static str {
        match self {
            Self::SecretRef(_) => "database.secretRef",
            Self::CloudNativePg(_) => "database.cloudNativePG",
        }
    }
}

/// A key of a Secret in the pipeline's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key in the Secret.
    #[serde(default = "default_url_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_url_key() -> String {
    "url".to_owned()
}
