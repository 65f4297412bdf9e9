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

    let plan = plan(&valid(&change), &access, Availability::Absent);

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

/// A registry whose certificate an authority of its own has signed.
const REGISTRY: &str =
    "events: {format: Avro, schemaRegistry: {url: 'https://registry', caSecretRef: {name: trust}}}";

fn with_authority(name: &str, pem: &str) -> Secrets {
    let mut secrets = secrets("postgres://a:b@db/postgres");
    secrets.insert(name.to_owned(), secret(&[("ca.crt", pem)]));
    secrets
}

fn planned(change: &str, secrets: &Secrets) -> Plan {
    let pipeline = valid(change);
    let access = resolve(&pipeline, plain(), secrets, &passwords(), &Identities::new()).unwrap();
    plan(&pipeline, &access, Availability::Absent)
}

#[test]
fn the_registrys_authority_is_mounted_and_named() {
    let plan = planned(REGISTRY, &with_authority("trust", "-----BEGIN CERTIFICATE-----"));

    assert_eq!(plan.secrets[0].data.as_ref().unwrap()[secret::REGISTRY_CA].0, b"-----BEGIN CERTIFICATE-----");
    let settings = plan.workloads[0].config_map.data.as_ref().unwrap();
    assert_eq!(settings["SCHEMA_REGISTRY_CA_FILE"], "/run/orderpipeline/trust/registry-ca.crt");
    let pod = plan.workloads[0].deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let mount = &pod.containers[0].volume_mounts.as_ref().unwrap()[0];
    assert_eq!((mount.name.as_str(), mount.mount_path.as_str()), ("trust", "/run/orderpipeline/trust"));
    let volume = pod.volumes.as_ref().unwrap()[0].secret.as_ref().unwrap();
    assert_eq!(volume.items.as_ref().unwrap()[0].path, "registry-ca.crt");
}

#[test]
fn pods_roll_when_an_authority_they_trust_is_another() {
    let template = |pem| {
        let plan = planned(REGISTRY, &with_authority("trust", pem));
        plan.workloads
            .into_iter()
            .map(|objects| objects.deployment.spec.unwrap().template)
            .collect::<Vec<_>>()
    };

    let before = template("-----BEGIN CERTIFICATE----- one");
    let after = template("-----BEGIN CERTIFICATE----- two");

    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
}

#[rstest]
#[case::missing(
    "other",
    "-----BEGIN CERTIFICATE-----",
    "Secret trust, which spec.events.schemaRegistry.caSecretRef names, does not exist; create it"
)]
#[case::no_certificate(
    "trust",
    "hunter2",
    "key ca.crt of Secret trust, which spec.events.schemaRegistry.caSecretRef names, is not a certificate in PEM; correct it"
)]
fn an_authority_that_is_none_is_named(#[case] name: &str, #[case] pem: &str, #[case] told: &str) {
    let unusable =
        resolve(&valid(REGISTRY), plain(), &with_authority(name, pem), &passwords(), &Identities::new())
            .unwrap_err();

    assert_eq!(unusable.to_string(), told);
}

const CLOUD_NATIVE_PG: &str = "database: {secretRef: null, cloudNativePG: {cluster: pg}}";

/// As CloudNativePG makes them.
fn of_cloud_native_pg(certificate: &str) -> Secrets {
    Secrets::from([
        ("pg-superuser".to_owned(), secret(&[("uri", "postgresql://postgres:b@pg-rw.shop:5432/*")])),
        ("pg-ca".to_owned(), secret(&[("ca.crt", certificate), ("ca.key", "hunter2")])),
    ])
}

#[test]
fn cloud_native_pgs_authority_goes_to_the_job_and_to_each_service_and_its_key_to_nobody() {
    let plan = planned(CLOUD_NATIVE_PG, &of_cloud_native_pg("-----BEGIN CERTIFICATE-----"));

    let data = plan.secrets[0].data.as_ref().unwrap();
    assert_eq!(data[secret::DATABASE_CA].0, b"-----BEGIN CERTIFICATE-----");
    let settings = plan.workloads[0].config_map.data.as_ref().unwrap();
    assert_eq!(settings["DATABASE_CA_FILE"], "/run/orderpipeline/trust/database-ca.crt");
    let pods = [
        plan.workloads[0].deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap(),
        plan.job.as_ref().unwrap().spec.as_ref().unwrap().template.spec.as_ref().unwrap(),
    ];
    for pod in pods {
        let trust = pod.volumes.as_ref().unwrap().iter().find(|volume| volume.name == "trust").unwrap();
        let files = trust.secret.as_ref().unwrap().items.as_ref().unwrap().iter();
        assert_eq!(files.map(|item| item.path.as_str()).collect::<Vec<_>>(), ["database-ca.crt"]);
        let mounts = pod.containers[0].volume_mounts.as_ref().unwrap().iter();
        let mounted: Vec<&str> =
            mounts.filter(|mount| mount.name == "trust").map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(mounted, ["/run/orderpipeline/trust"]);
    }
    let everything = serde_json::to_string(&plan.secrets).unwrap();
    assert!(!everything.contains("ca.key"));
}

#[test]
fn a_renewed_authority_of_the_database_is_another_job_and_rolls_the_pods() {
    let made = |certificate| {
        let plan = planned(CLOUD_NATIVE_PG, &of_cloud_native_pg(certificate));
        let pods = plan.workloads.into_iter().map(|objects| objects.deployment.spec.unwrap().template);
        (plan.job.unwrap().metadata.name.unwrap(), pods.collect::<Vec<_>>())
    };

    let (job, pods) = made("-----BEGIN CERTIFICATE----- one");
    let (other, others) = made("-----BEGIN CERTIFICATE----- two");

    assert_ne!(job, other);
    assert!(pods.iter().zip(&others).all(|(before, after)| before != after));
}

#[rstest]
#[case::cloud_native_pgs(
    CLOUD_NATIVE_PG,
    "Secret pg-ca, which spec.database.cloudNativePG names, does not exist; create it"
)]
#[case::named(
    "database: {caSecretRef: {name: trust}}",
    "Secret trust, which spec.database.caSecretRef names, does not exist; create it"
)]
fn a_missing_authority_of_the_database_is_named(#[case] change: &str, #[case] told: &str) {
    let mut secrets = of_cloud_native_pg("-----BEGIN CERTIFICATE-----");
    secrets.remove("pg-ca");
    secrets.extend(self::secrets("postgres://a:b@db/postgres"));

    let unusable = resolve(&valid(change), plain(), &secrets, &passwords(), &Identities::new()).unwrap_err();

    assert_eq!(unusable.to_string(), told);
}
