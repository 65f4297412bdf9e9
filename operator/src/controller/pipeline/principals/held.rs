//! As whom the services speak to Kafka already: what stands in their Secrets.

use std::collections::BTreeMap;

use contract::Service;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use secrecy::SecretString;

use super::Identities;
use crate::build::secret::{
    KAFKA_CERTIFICATE, KAFKA_CERTIFICATE_KEY, KAFKA_PASSWORD, KAFKA_USERNAME, ROTATED_ANNOTATION,
};
use crate::build::workload::{Certificate, Credentials, KafkaIdentity};

/// What the Secret of each service holds; only Secrets of ours are asked for.
pub(in crate::controller::pipeline) fn held_in(secrets: &BTreeMap<Service, Secret>) -> Identities {
    secrets.iter().map(|(service, secret)| (*service, held(secret))).collect()
}

fn held(secret: &Secret) -> KafkaIdentity {
    let data = secret.data.as_ref();
    let text = |key| Some(SecretString::from(String::from_utf8(data?.get(key)?.0.clone()).ok()?));
    let credentials =
        || Some(Credentials { username: text(KAFKA_USERNAME)?, password: text(KAFKA_PASSWORD)? });
    let certificate =
        || Some(Certificate { certificate: text(KAFKA_CERTIFICATE)?, key: text(KAFKA_CERTIFICATE_KEY)? });
    KafkaIdentity {
        credentials: credentials(),
        certificate: certificate(),
        rotation: secret.annotations().get(ROTATED_ANNOTATION).cloned(),
    }
}
