//! As whom services speak to Kafka, and what they are given for it.

use kafka_admin::{ClientIdentity, SaslCredentials, SaslMechanism, ScramMechanism, Security, TlsOptions};
use rstest::rstest;
use secrecy::ExposeSecret;

use super::*;
use crate::build::workload::Access;
use crate::controller::pipeline::validate::ManagedAccess;

/// A Kafka that asks for a login.
const SCRAM: &str = "kafka: {bootstrap: {security: {protocol: SASL_PLAINTEXT, credentials: {secretName: kafka-credentials}}}}";

#[rstest]
#[case::by_default("{}", Some(ManagedAccess::Scram(ScramMechanism::Sha512)))]
#[case::shared("access: {mode: Shared}", None)]
#[case::strimzis(
    "kafka: {bootstrap: null, strimzi: {cluster: main, listener: tls}}",
    Some(ManagedAccess::Strimzi)
)]
fn access_is_managed_where_users_can_be_made(#[case] change: &str, #[case] managed: Option<ManagedAccess>) {
    let mut spec: serde_json::Value = serde_json::to_value(spec(SCRAM)).unwrap();
    lay_over(&mut spec, serde_saphyr::from_str(change).unwrap());

    let valid = validate(id("shop", "shop"), &serde_json::from_value(spec).unwrap(), "x").unwrap();

    assert_eq!(valid.managed_access, managed);
}

/// As the operator connects.
fn operators() -> Security {
    let mechanism = SaslMechanism::ScramSha512;
    let sasl = SaslCredentials { mechanism, username: "admin".to_owned(), password: "admin-password".into() };
    let (certificate_pem, key_pem) = ("certificate".to_owned(), "key".into());
    let identity = Some(ClientIdentity { certificate_pem, key_pem });
    Security::SaslSsl(TlsOptions { ca_pem: Some("authority".to_owned()), identity }, sasl)
}

#[test]
fn a_service_with_a_user_of_its_own_never_gets_the_operators() {
    let connection = connection(SCRAM, operators());
    let secrets = secrets("postgres://a:b@db/postgres");

    let access = resolve(&valid(SCRAM), connection, &secrets, &passwords(), &Identities::new()).unwrap();

    for Access { kafka, kafka_ca, .. } in access.services.values() {
        assert!(kafka.credentials.is_none() && kafka.certificate.is_none());
        assert_eq!(kafka_ca.as_ref().unwrap().expose_secret(), "authority");
    }
}

#[test]
fn a_shared_login_and_certificate_are_mounted_and_named() {
    let change = SCRAM.replace("SASL_PLAINTEXT", "SASL_SSL") + "\naccess: {mode: Shared}";
    let connection = connection(&change, operators());
    let secrets = secrets("postgres://a:b@db/postgres");
    let access = resolve(&valid(&change), connection, &secrets, &passwords(), &Identities::new()).unwrap();

    let plan = plan(&valid(&change), &access, Keda::Absent);

    let data = plan.secrets[0].data.as_ref().unwrap();
    assert_eq!(data[secret::KAFKA_USERNAME].0, b"admin");
    assert_eq!(
        (&data[secret::KAFKA_CERTIFICATE].0[..], &data[secret::KAFKA_CA].0[..]),
        (&b"certificate"[..], &b"authority"[..])
    );
    let settings = plan.workloads[0].config_map.data.as_ref().unwrap();
    assert_eq!(settings["KAFKA_CLIENT_KEY_FILE"], "/run/orderpipeline/kafka/tls.key");
    let pod = plan.workloads[0].deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let volume = pod.volumes.as_ref().unwrap()[0].secret.as_ref().unwrap();
    let files = volume.items.as_ref().unwrap().iter().map(|item| item.path.as_str());
    assert_eq!(files.collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
}
