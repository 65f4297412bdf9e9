//! A service that reaches the broker through TLS, with the rights of a service and no more.

use std::fs;
use std::path::{Path, PathBuf};

use devcluster::testing;
use kafka_admin::{
    AclBinding, AclFilter, AclOperation, Admin, ConnectOptions, KafkaAdmin, Principal, ResourceKind,
    ScramUpsertion,
};
use messaging::{ClientCertificate, Sasl, Security, Tls};

use crate::handlers::Recorder;
use crate::harness::{Shop, assert_in_order, events, eventually};

/// Writes `text` to `name` in `dir`.
fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Lets `principal` read and write the shop's topics and be in its groups.
async fn allow(admin: &dyn Admin, principal: Principal, shop: &Shop) {
    let rights = [
        (AclOperation::Read, ResourceKind::Topic),
        (AclOperation::Write, ResourceKind::Topic),
        (AclOperation::Read, ResourceKind::Group),
    ];
    let bindings = rights.map(|(operation, kind)| {
        AclBinding::allow(principal.clone(), operation, kind, shop.kafka.topic_prefix.clone()).prefixed()
    });
    assert!(admin.create_acls(&bindings).await.iter().all(Result::is_ok));
    let filter = [AclFilter::of(principal)];
    eventually("the ACLs to hold", async || {
        admin.describe_acls(&filter).await.remove(0).unwrap().len() == rights.len()
    })
    .await;
}

/// Produces through the shop's connection, and consumes and relays until all had its effect and is said.
async fn sends_and_receives(shop: &Shop) {
    shop.publish(&events(10, 5)).await;
    let running = shop.consume(Recorder::emitting());

    shop.wait_for_effects(50).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
}

fn administrator() -> KafkaAdmin {
    KafkaAdmin::connect(&ConnectOptions::plaintext(testing::kafka().bootstrap())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_client_certificate_sends_and_receives() {
    let mut shop = Shop::open("mutual-tls").await;
    let (kafka, name, dir) = (testing::kafka(), testing::unique("shop"), tempfile::tempdir().unwrap());
    allow(&administrator(), Principal::user(format!("CN={name}")), &shop).await;

    let identity = kafka.issue_client(&name);
    let client = ClientCertificate {
        certificate_file: file(dir.path(), "user.crt", &identity.certificate_pem),
        key_file: file(dir.path(), "user.key", &identity.key_pem),
    };
    let ca_file = Some(file(dir.path(), "ca.crt", &kafka.ca_pem()));
    shop.kafka.security = Security::Ssl(Tls { ca_file, client: Some(client) });
    kafka.mtls_bootstrap().clone_into(&mut shop.kafka.bootstrap_servers);

    sends_and_receives(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_password_over_tls_sends_and_receives() {
    let mut shop = Shop::open("sasl-tls").await;
    let (kafka, username, dir) = (testing::kafka(), testing::unique("shop"), tempfile::tempdir().unwrap());
    let admin = administrator();
    let credential = ScramUpsertion::sha512(username.clone(), "secret".into());
    admin.upsert_scram(&[credential]).await.remove(0).unwrap();
    allow(&admin, Principal::user(&username), &shop).await;

    let sasl = Sasl { mechanism: "SCRAM-SHA-512".into(), username, password: "secret".into() };
    let ca_file = Some(file(dir.path(), "ca.crt", &kafka.ca_pem()));
    shop.kafka.security = Security::SaslSsl(sasl, Tls { ca_file, client: None });
    kafka.sasl_tls_bootstrap().clone_into(&mut shop.kafka.bootstrap_servers);

    sends_and_receives(&shop).await;
}
