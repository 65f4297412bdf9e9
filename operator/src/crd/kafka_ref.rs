//! `spec.kafka`: which Kafka cluster, and how it is spoken to. Shared by every kind that needs one.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

use super::OBJECT_NAME;

/// The Kafka cluster an object belongs to: one that Strimzi runs, or any other by its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub enum KafkaRef {
    /// A cluster given by address.
    Bootstrap(Bootstrap),
    /// A cluster that Strimzi runs.
    Strimzi(StrimziRef),
}

/// The Kafka cluster: exactly one of `strimzi` and `bootstrap`.
#[derive(Clone, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.strimzi) != has(self.bootstrap)")
        .message("kafka must name exactly one of strimzi and bootstrap"),
    validation = Rule::new("has(self.strimzi) == has(oldSelf.strimzi)")
        .message("kafka cannot be changed between strimzi and bootstrap: users and topics would be left behind; create another object")
)]
struct Fields {
    /// A cluster that Strimzi runs: its address, its certificates and how one logs in are taken from its `Kafka`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strimzi: Option<StrimziRef>,
    /// A cluster given by address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bootstrap: Option<Bootstrap>,
}

impl TryFrom<Fields> for KafkaRef {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        match (fields.strimzi, fields.bootstrap) {
            (Some(strimzi), None) => Ok(Self::Strimzi(strimzi)),
            (None, Some(bootstrap)) => Ok(Self::Bootstrap(bootstrap)),
            (None, None) | (Some(_), Some(_)) => Err("exactly one of strimzi and bootstrap is to be named"),
        }
    }
}

impl From<KafkaRef> for Fields {
    fn from(kafka: KafkaRef) -> Self {
        match kafka {
            KafkaRef::Bootstrap(bootstrap) => Self { bootstrap: Some(bootstrap), ..Self::default() },
            KafkaRef::Strimzi(strimzi) => Self { strimzi: Some(strimzi), ..Self::default() },
        }
    }
}

impl JsonSchema for KafkaRef {
    fn schema_name() -> Cow<'static, str> {
        "KafkaRef".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Fields::json_schema(generator)
    }
}

/// A Kafka cluster that Strimzi runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namespace) == has(oldSelf.namespace)")
        .message("namespace cannot be added or removed: users and topics would be left behind; create another object")
)]
pub struct StrimziRef {
    /// Name of the `Kafka` (`kafkas.kafka.strimzi.io`).
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("cluster cannot be changed: users and topics would be left behind; create another object"))]
    pub cluster: String,
    /// Its namespace; that of the object itself without it. A `Kafka` in another namespace has to consent by its
    /// annotation `orderpipeline.dev/allowed-namespaces`: names of namespaces with commas between them, or `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("namespace cannot be changed: users and topics would be left behind; create another object"))]
    pub namespace: Option<String>,
    /// Name of the listener that operator and services connect to, out of those in the `Kafka`. Its authentication is
    /// `scram-sha-512`, `tls` or none. The operator logs in as the `KafkaUser` `orderpipeline-operator`.
    #[schemars(length(min = 1, max = 25))]
    pub listener: String,
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
        .message("`ca` is used with SSL and SASL_SSL only"),
    validation = Rule::new("self.protocol.endsWith('SSL') || !has(self.clientCertificate)")
        .message("`clientCertificate` is used with SSL and SASL_SSL only")
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
    /// Secret with the certificate that the connection shows the brokers and its private key, in the namespace of the
    /// object. With protocol SSL it says who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
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
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
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
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub secret_name: String,
    /// Its key.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A Secret with a certificate and its private key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub secret_name: String,
    /// Its key that holds the certificate, with the chain that leads to the authority that brokers trust.
    #[serde(default = "certificate_key")]
    #[schemars(length(min = 1, max = 253))]
    pub certificate_key: String,
    /// Its key that holds the private key, which has no passphrase.
    #[serde(default = "private_key_key")]
    #[schemars(length(min = 1, max = 253))]
    pub private_key_key: String,
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

fn certificate_key() -> String {
    "tls.crt".to_owned()
}

fn private_key_key() -> String {
    "tls.key".to_owned()
}
