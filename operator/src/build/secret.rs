//! The Secret of a service: the URL of its own database, where it has one, and the credentials for Kafka and the
//! schema registry.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use secrecy::{ExposeSecret, SecretString};

use super::labels::{Component, PipelineId};
use super::workload::Workload;

/// The Secret of `workload`.
#[must_use]
pub fn build(id: &PipelineId, workload: &Workload) -> Secret {
    let rotated = workload.access.kafka.rotation.as_ref();
    let annotations = rotated.map(|value| BTreeMap::from([(ROTATED_ANNOTATION.to_owned(), value.clone())]));
    let name = id.object_name(workload.service);
    Secret {
        metadata: ObjectMeta { annotations, ..id.metadata(name, Component::Service(workload.service)) },
        type_: Some("Opaque".to_owned()),
        data: Some(data(workload)),
        ..Secret::default()
    }
}

fn data(workload: &Workload) -> BTreeMap<String, ByteString> {
    let access = &workload.access;
    let entry = |key: &str, value: &SecretString| {
        (key.to_owned(), ByteString(value.expose_secret().as_bytes().to_vec()))
    };
    let mut data = BTreeMap::new();
    data.extend(access.database_url.as_ref().map(|url| entry(DATABASE_URL, url)));
    if let Some(credentials) = &access.kafka.credentials {
        data.extend([
            entry(KAFKA_USERNAME, &credentials.username),
            entry(KAFKA_PASSWORD, &credentials.password),
        ]);
    }
    if let Some(of) = &access.kafka.certificate {
        data.extend([entry(KAFKA_CERTIFICATE, &of.certificate), entry(KAFKA_CERTIFICATE_KEY, &of.key)]);
    }
    if let Some(credentials) = &access.registry_credentials {
        data.extend([
            entry(REGISTRY_USERNAME, &credentials.username),
            entry(REGISTRY_PASSWORD, &credentials.password),
        ]);
    }
    data.extend(access.kafka_ca.as_ref().map(|ca| entry(KAFKA_CA, ca)));
    data.extend(access.database_ca.as_ref().map(|ca| entry(DATABASE_CA, ca)));
    data.extend(access.registry_ca.as_ref().map(|ca| entry(REGISTRY_CA, ca)));
    data.extend(access.issuer_ca.as_ref().map(|ca| entry(ISSUER_CA, ca)));
    data
}

/// Annotation: for which rotation the Kafka password or certificate was made; the value that the pipeline's own
/// annotation had then.
pub const ROTATED_ANNOTATION: &str = "orderpipeline.dev/rotated-kafka-password";
/// Key, and environment variable, of the URL of the service's own database.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// Key, and environment variable, of the Kafka user.
pub const KAFKA_USERNAME: &str = "KAFKA_USERNAME";
/// Key, and environment variable, of the Kafka user's password.
pub const KAFKA_PASSWORD: &str = "KAFKA_PASSWORD";
/// Key, and environment variable, of the schema registry's user.
pub const REGISTRY_USERNAME: &str = "SCHEMA_REGISTRY_USERNAME";
/// Key, and environment variable, of the schema registry's password.
pub const REGISTRY_PASSWORD: &str = "SCHEMA_REGISTRY_PASSWORD";
/// Key of the certificates of those that signed the brokers'.
pub const KAFKA_CA: &str = "ca.crt";
/// Key of the certificates of those that signed the database server's.
pub const DATABASE_CA: &str = "database-ca.crt";
/// Key of the certificates of those that signed the schema registry's.
pub const REGISTRY_CA: &str = "registry-ca.crt";
/// Key of the certificates of those that signed the token issuer's.
pub const ISSUER_CA: &str = "issuer-ca.crt";
/// Key of the service's own certificate.
pub const KAFKA_CERTIFICATE: &str = "tls.crt";
/// Key of its private key.
pub const KAFKA_CERTIFICATE_KEY: &str = "tls.key";
