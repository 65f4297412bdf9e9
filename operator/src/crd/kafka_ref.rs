//! `spec.kafka`: which Kafka cluster, and how it is spoken to. Shared by every kind that needs one.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

/// The Kafka cluster an object belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaRef {
    /// A cluster given by address.
    pub bootstrap: Bootstrap,
}

/// Address and security of a Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// Comma-separated `host:port` of one or more brokers.
    #[schemars(length(max = 2048), regex(pattern = r"^[^\s,:]+:[0-9]{1,5}(,[^\s,:]+:[0-9]{1,5})*$"))]
    pub servers: String,
    /// How the connection is encrypted and who we are; plain text without it.
    #[serde(default, skip_serializing_if = "Security::is_plaintext")]
    pub security: Security,
}

/// Encryption and authentication of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.protocol.startsWith('SASL') || has(self.credentials)")
        .message("protocols SASL_PLAINTEXT and SASL_SSL need `credentials`"),
    validation = Rule::new("self.protocol.startsWith('SASL') || !has(self.credentials)")
        .message("`credentials` are used with SASL_PLAINTEXT and SASL_SSL only"),
    validation = Rule::new("self.protocol.endsWith('SSL') || !has(self.ca)")
        .message("`ca` is used with SSL and SASL_SSL only")
)]
pub struct Security {
    /// Kafka's name of the protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// SASL mechanism, where the protocol has SASL.
    #[serde(default)]
    pub mechanism: Mechanism,
    /// Secret with user name and password, in the namespace of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Secret with the certificate that signed the brokers', in the namespace of the object;
    /// the system's trust store without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
}

impl Security {
    /// Whether nothing but the defaults is given.
    pub fn is_plaintext(&self) -> bool {
        *self == Self::default()
    }
}

/// Kafka's security protocols.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Display, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Protocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// Authenticated, not encrypted.
    SaslPlaintext,
    /// Encrypted.
    Ssl,
    /// Encrypted and authenticated.
    SaslSsl,
}

impl Protocol {
    /// Whether clients give a user name and a password.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Whether the connection is encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

/// SASL mechanisms.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Display, IntoStaticStr,
)]
pub enum Mechanism {
    /// Salted challenge and response with SHA-512.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    #[strum(serialize = "SCRAM-SHA-512")]
    ScramSha512,
    /// Salted challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    #[strum(serialize = "SCRAM-SHA-256")]
    ScramSha256,
    /// The password itself; only sensible over TLS.
    #[serde(rename = "PLAIN")]
    #[strum(serialize = "PLAIN")]
    Plain,
}

/// A Secret with a user name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Its key that holds the user name.
    #[serde(default = "username_key")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,
    /// Its key that holds the password.
    #[serde(default = "password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Its key.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn username_key() -> String {
    "username".to_owned()
}

fn password_key() -> String {
    "password".to_owned()
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}
