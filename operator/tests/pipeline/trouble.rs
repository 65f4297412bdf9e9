//! What is missing or wrong is named in the status, and heals.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::PostParams;
use operator::crd::KafkaTopic;
use operator::crd::conditions::{ConditionType, is_true};
use serde_json::json;

use crate::world::{ADMIN_URL, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_named_and_waited_for() {
    let world = World::without_secrets().await;

    world.create(json!({})).await;

    let message = world.reason("SecretNotFound").await;
    assert!(message.contains("Secret postgres-admin, which spec.database.secretRef names"), "{message}");
    assert!(world.names::<KafkaTopic>().await.is_empty());
    let writes = world.writes();
    world.put_secret("unrelated", &[("key", "value")]).await;
    assert_eq!(world.writes(), writes, "waiting makes no writes");

    world.put_secret("postgres-admin", &[("url", ADMIN_URL)]).await;

    world.reason("DatabasePending").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_authority_is_waited_for_and_a_new_one_rolls_the_pods() {
    let world = World::new().await;
    let registry = json!({"url": "https://registry.example", "caSecretRef": {"name": "trust"}});
    world.create(json!({"spec": {"events": {"schemaRegistry": registry}}})).await;
    let message = world.reason("SecretNotFound").await;
    assert!(
        message.contains("Secret trust, which spec.events.schemaRegistry.caSecretRef names"),
        "{message}"
    );

    world.put_secret("trust", &[("ca.crt", "-----BEGIN CERTIFICATE----- one")]).await;
    world.reason("DatabasePending").await;
    world.finish_job("Complete").await;
    world.reason("ServicesStarting").await;
    world.roll_out().await;
    world.reason("AllReady").await;

    world.put_secret("trust", &[("ca.crt", "-----BEGIN CERTIFICATE----- two")]).await;

    world.reason("ServicesStarting").await;
    assert_eq!(world.secret_of("order", "registry-ca.crt").await, "-----BEGIN CERTIFICATE----- two");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_native_pgs_authority_is_waited_for_and_a_renewed_one_rolls_the_pods() {
    let world = World::without_secrets().await;
    let url = "postgresql://postgres:admin-password@pg-rw.shop:5432/*";
    world.put_secret("pg-superuser", &[("uri", url)]).await;
    world
        .create(json!({"spec": {"database": {"secretRef": null, "cloudNativePG": {"cluster": "pg"}}}}))
        .await;
    let message = world.reason("SecretNotFound").await;
    assert!(message.contains("Secret pg-ca, which spec.database.cloudNativePG names"), "{message}");

    world.put_secret("pg-ca", &[("ca.crt", "-----BEGIN CERTIFICATE----- one")]).await;
    world.reason("DatabasePending").await;
    world.finish_job("Complete").await;
    world.reason("ServicesStarting").await;
    world.roll_out().await;
    world.reason("AllReady").await;

    world.put_secret("pg-ca", &[("ca.crt", "-----BEGIN CERTIFICATE----- two")]).await;

    world.reason("DatabasePending").await;
    world.finish_job_when_there().await;
    world.reason("ServicesStarting").await;
    assert_eq!(world.secret_of("order", "database-ca.crt").await, "-----BEGIN CERTIFICATE----- two");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_spec_is_stalled_with_field_and_remedy() {
    let world = World::new().await;

    world.create(json!({"spec": {"services": {"order": {"config": {"catalog": "x"}}}}})).await;

    let message = world.reason("InvalidSpec").await;
    assert!(message.starts_with("spec.services.order.config.catalog is no setting"), "{message}");
    let status = world.status().await;
    assert!(is_true(&status.conditions, ConditionType::Stalled));
    assert!(!is_true(&status.conditions, ConditionType::Reconciling));
    assert!(world.names::<KafkaTopic>().await.is_empty());

    world.change(json!({"services": {"order": {"config": {"catalog": null}}}})).await;

    world.reason("DatabasePending").await;
    assert!(!is_true(&world.status().await.conditions, ConditionType::Stalled));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_database_job_is_told() {
    let world = World::new().await;
    world.create(json!({})).await;
    world.reason("DatabasePending").await;

    world.finish_job("Failed").await;

    let message = world.reason("DatabaseFailed").await;
    assert!(message.contains("BackoffLimitExceeded"), "{message}");
    assert!(!message.contains("admin-password"));
    assert!(is_true(&world.status().await.conditions, ConditionType::Stalled));
    assert!(world.names::<Deployment>().await.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_refuses_is_told_and_heals() {
    let world = World::new().await;
    world.ready().await;
    let limits = |memory: &str| {
        json!({"services": {"order": {"resources": {
            "requests": {"memory": "1Gi"}, "limits": {"memory": memory}
        }}}})
    };

    world.change(limits("1Mi")).await;

    let message = world.reason("RefusedByKubernetes").await;
    assert!(message.contains("shop-order"), "{message}");

    world.change(limits("2Gi")).await;

    world.reason("ServicesStarting").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_else_is_not_taken_over() {
    let world = World::new().await;
    let theirs = serde_json::from_value(json!({
        "metadata": {"name": "shop-order"},
        "spec": {"selector": {"matchLabels": {"app": "theirs"}},
                 "template": {"metadata": {"labels": {"app": "theirs"}},
                              "spec": {"containers": [{"name": "a", "image": "b"}]}}}
    }))
    .unwrap();
    world.api::<Deployment>().create(&PostParams::default(), &theirs).await.unwrap();

    world.create(json!({})).await;
    world.reason("DatabasePending").await;
    world.finish_job("Complete").await;

    let message = world.reason("ObjectNotOurs").await;
    assert!(message.contains("shop-order"), "{message}");
    let found: Deployment = world.api().get("shop-order").await.unwrap();
    assert!(found.metadata.owner_references.is_none());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_kafka_refuses_hold_the_services_back() {
    let world = World::new().await;

    // More copies than the broker, which is alone, can hold.
    world.create(json!({"spec": {"topics": {"replicas": 9}}})).await;
    world.finish_job_when_there().await;

    let message = world.topics_trouble().await;
    assert!(message.contains("shop-"), "{message}");
    assert!(world.names::<Deployment>().await.is_empty());
    world.end().await;
}
