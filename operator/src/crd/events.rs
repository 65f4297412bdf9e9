//! `spec.events`: in which format a pipeline's events are written, and the schema registry that Avro needs.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OBJECT_NAME;
use super::ca_secret_ref::CaSecretRef;

/// How a pipeline's events are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.format != 'Avro' || has(self.schemaRegistry)")
        .message("events.schemaRegistry is missing, and Avro needs it; name the registry's URL")
)]
pub struct EventsSpec {
    /// The format. It may be changed while the pipeline runs: services read both, Avro as long as a
    /// schemaRegistry is named.
    #[serde(default)]
    pub format: Format,

    /// What the registry asks of a new version of an event's schema, and refuses otherwise. Each service sets it for
    /// the schemas of its own events, and does not start with one that is refused. With less than FullTransitive,
    /// events that are still in a topic may be of no use to a service of another version.
    #[serde(default)]
    pub compatibility: Compatibility,

    /// The registry of the events' schemas. Each service registers its own there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_registry: Option<SchemaRegistry>,
}

/// The format of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// JSON, which needs nothing else.
    #[default]
    Json,
    /// Avro in Confluent framing.
    Avro,
}

/// What goes with the versions of a schema that are there already, by the names of Confluent's registry.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Compatibility {
    /// Anything.
    None,
    /// What reads the events of the version before.
    Backward,
    /// What reads the events of every version before.
    BackwardTransitive,
    /// What the version before can read.
    Forward,
    /// What every version before can read.
    ForwardTransitive,
    /// What reads the version before and can be read by it.
    Full,
    /// What reads every version before and can be read by it.
    #[default]
    FullTransitive,
}

/// A schema registry that speaks Confluent's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.caSecretRef) || self.url.startsWith('https://')")
        .message("events.schemaRegistry.caSecretRef is used with an https:// url only; correct the url or remove it")
)]
pub struct SchemaRegistry {
    /// Where the API begins, such as `https://registry.example/apis/ccompat/v7`; without a password.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s/@]+(/[^\s]*)?$"))]
    pub url: String,

    /// Secret with user name and password, in the pipeline's namespace; nobody is asked for without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LoginRef>,

    /// Secret with the certificates of the authority that signed the registry's; without it the system's authorities
    /// are trusted, with it these as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretRef>,
}

/// A Secret with a user name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,

    /// The key of the user name.
    #[serde(default = "username_key")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,

    /// The key of the password.
    #[serde(default = "password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

fn username_key() -> String {
    "username".to_owned()
}

fn password_key() -> String {
    "password".to_owned()
}
