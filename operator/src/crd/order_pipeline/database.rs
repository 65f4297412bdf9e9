//! `spec.database`: the PostgreSQL server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The PostgreSQL server that holds one database per service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSpec {
    /// The key of a Secret in this namespace that holds a URL such as
    /// `postgres://admin:…@db.example:5432/postgres?sslmode=require` of a role that may create roles and
    /// databases. Only the Job that prepares the databases gets it; each service gets a role of its own.
    pub secret_ref: SecretKeyRef,
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
