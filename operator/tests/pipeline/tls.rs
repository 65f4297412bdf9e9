//! Kafka over TLS: whom to trust, and as whom one logs in, stands in Secrets, and what is put there holds at once and
//! without a restart.

use devcluster::pki::{Authority, Identity, Subject};
use devcluster::tempdir::TempDir;
use devcluster::testing::{kafka, unique};
use kafka_admin::{AclBinding, AclOperation, Admin, Principal, ResourceKind};
use operator::crd::conditions::{self, ConditionType};
use serde_json::{Value, json};

use crate::access::admin;
use crate::world::World;

/// An authority that nobody knows, and a certificate of it.
fn stranger() -> (String, Identity) {
    let dir = TempDir::new().unwrap();
    let authority = Authority::open(dir.path()).unwrap();
    let identity = authority.issue_client(Subject { common_name: "admin", organization: "" }).unwrap();
    (std::fs::read_to_string(authority.file("ca.crt")).unwrap(), identity)
}

fn with_password() -> Value {
    json!({"bootstrap": {"servers": kafka().sasl_tls_bootstrap(), "security": {
        "protocol": "SASL_SSL", "ca": {"secretName": "kafka-ca"}, "credentials": {"secretName": "kafka-login"},
    }}})
}

fn with_certificate() -> Value {
    json!({"bootstrap": {"servers": kafka().mtls_bootstrap(), "security": {
        "protocol": "SSL", "ca": {"secretName": "kafka-ca"}, "clientCertificate": {"secretName": "kafka-identity"},
    }}})
}

async fn trust(world: &World, ca_pem: &str) {
    world.put_secret("kafka-ca", &[("ca.crt", ca_pem)]).await;
}

async fn log_in_with(world: &World, password: &str) {
    world.put_secret("kafka-login", &[("username", kafka().admin_user()), ("password", password)]).await;
}

async fn show(world: &World, identity: &Identity) {
    let Identity { certificate_pem, key_pem } = identity;
    world.put_secret("kafka-identity", &[("tls.crt", certificate_pem), ("tls.key", key_pem)]).await;
}

/// Lets whoever shows a certificate of this name make topics.
async fn grant(common_name: &str, prefix: &str) {
    let principal = || Principal::user(format!("CN={common_name}"));
    let cluster =
        AclBinding::allow(principal(), AclOperation::Create, ResourceKind::Cluster, "kafka-cluster");
    let topics = [AclOperation::Describe, AclOperation::DescribeConfigs].map(|operation| {
        AclBinding::allow(principal(), operation, ResourceKind::Topic, format!("{prefix}orders"))
    });
    for answer in admin().create_acls(&[&[cluster], topics.as_slice()].concat()).await {
        answer.unwrap();
    }
}

async fn create_topic(world: &World, kafka: Value) {
    world.create_topic("orders", json!({"kafka": kafka, "partitions": 1})).await;
}

/// Waits until the topic says `reason`; answers with the message.
async fn topic_says(world: &World, reason: &str) -> String {
    let status = world.topic_reason("orders", reason).await;
    conditions::find(&status.conditions, ConditionType::Ready).unwrap().message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_over_sasl_ssl_follows_its_authority_and_its_password() {
    let world = World::without_secrets().await;
    trust(&world, &kafka().ca_pem()).await;
    log_in_with(&world, kafka().admin_password()).await;
    create_topic(&world, with_password()).await;
    topic_says(&world, "Synced").await;
    assert!(world.kafka_has("orders").await);

    trust(&world, &stranger().0).await;
    let untrusted = topic_says(&world, "BrokerUnreachable").await;
    assert!(untrusted.contains("certificate"), "{untrusted}");
    trust(&world, "no certificate at all").await;
    topic_says(&world, "InvalidRequest").await;
    trust(&world, &kafka().ca_pem()).await;
    topic_says(&world, "Synced").await;

    log_in_with(&world, "wrong").await;
    topic_says(&world, "NotAuthenticated").await;
    log_in_with(&world, kafka().admin_password()).await;
    topic_says(&world, "Synced").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_over_mutual_tls_follows_its_certificate() {
    let world = World::without_secrets().await;
    let name = unique("operator");
    grant(&name, &world.prefix).await;
    trust(&world, &kafka().ca_pem()).await;
    create_topic(&world, with_certificate()).await;
    topic_says(&world, "SecretNotFound").await;

    show(&world, &kafka().issue_client(&name)).await;
    topic_says(&world, "Synced").await;
    assert!(world.kafka_has("orders").await);

    show(&world, &stranger().1).await;
    topic_says(&world, "BrokerUnreachable").await;
    // Another one of the same name, as when the old one runs out.
    show(&world, &kafka().issue_client(&name)).await;
    topic_says(&world, "Synced").await;

    // One of a name that may do nothing.
    show(&world, &kafka().issue_client(&unique("nobody"))).await;
    topic_says(&world, "NotAuthorized").await;
    show(&world, &kafka().issue_client(&name)).await;
    topic_says(&world, "Synced").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_over_sasl_ssl_follows_its_password() {
    let world = World::new().await;
    trust(&world, &kafka().ca_pem()).await;
    log_in_with(&world, "wrong").await;
    world.create(json!({"spec": {"kafka": with_password()}})).await;
    world.access("NotAuthenticated").await;

    log_in_with(&world, kafka().admin_password()).await;
    world.access("AccessReady").await;
    world.reason("DatabasePending").await;
    assert_eq!(world.secret_of("order", "ca.crt").await, kafka().ca_pem().trim_end());
    assert!(world.kafka_has("orders.created").await);
    world.end().await;
}
