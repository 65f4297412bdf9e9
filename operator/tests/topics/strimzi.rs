//! Beside Strimzi, with its own CRDs: what its Topic Operator looks after is left to it.

use kube::api::{DeleteParams, Patch, PatchParams};
use operator::crd::conditions::ConditionType;
use serde_json::{Value, json};

use super::strimzi_kinds::{api, install, put};
use super::world::{World, client, is, message};

/// Strimzi's cluster `main`, whose id is that of the test's broker, with these operators.
pub(super) async fn cluster(world: &World, entity_operator: Value) {
    use kafka_admin::Admin;
    let id = world.admin.cluster_id().await.unwrap();
    let kafkas = api(&world.client, &world.namespace, "Kafka");
    put(
        &kafkas,
        "Kafka",
        "main",
        json!({"spec": {"kafka": {"listeners": [
            {"name": "plain", "port": 9092, "type": "internal", "tls": false},
        ]}, "entityOperator": entity_operator}}),
    )
    .await;
    let status = Patch::Merge(json!({"status": {"clusterId": id}}));
    kafkas.patch_status("main", &PatchParams::default(), &status).await.unwrap();
}

/// Strimzi's object for the test's topic, annotated as given.
async fn strimzis_topic(world: &World, annotations: Value) {
    let topics = api(&world.client, &world.namespace, "KafkaTopic");
    put(
        &topics,
        "KafkaTopic",
        "theirs",
        json!({
            "metadata": {"labels": {"strimzi.io/cluster": "main"}, "annotations": annotations},
            "spec": {"topicName": world.topic, "partitions": 1, "replicas": 1},
        }),
    )
    .await;
}

#[tokio::test]
async fn a_topic_of_strimzis_is_left_to_it_until_strimzi_lets_go() {
    install(&client().await).await;
    let mut world = World::new().await;
    world.stop().await;
    cluster(&world, json!({"topicOperator": {}})).await;
    strimzis_topic(&world, json!({})).await;
    world.create(json!({"partitions": 1})).await;

    world.start().await;
    let status = world.reason("orders", "ConflictsWithStrimzi").await;
    let meanwhile = world.described().await;
    strimzis_topic(&world, json!({"strimzi.io/managed": "false"})).await;

    world.ready().await;
    assert!(is(&status, ConditionType::Stalled));
    assert!(message(&status).contains("/theirs"), "{}", message(&status));
    assert!(meanwhile.is_none(), "{meanwhile:?}");
    world.end().await;
}

#[tokio::test]
async fn a_topic_that_strimzi_takes_later_is_not_deleted_with_our_object() {
    install(&client().await).await;
    let mut world = World::new().await;
    world.stop().await;
    cluster(&world, json!({"topicOperator": {}})).await;
    world.start().await;
    world.create(json!({"partitions": 1, "deletionPolicy": "Delete"})).await;
    world.ready().await;

    strimzis_topic(&world, json!({})).await;
    world.reason("orders", "ConflictsWithStrimzi").await;
    world.delete("orders").await;
    world.gone("orders").await;

    assert!(world.event("orders", "TopicKept").await.contains("Strimzi's KafkaTopic"));
    assert!(world.described().await.is_some());
    let theirs = api(&world.client, &world.namespace, "KafkaTopic");
    theirs.delete("theirs", &DeleteParams::default()).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_topic_of_another_cluster_of_strimzis_is_not_meant() {
    install(&client().await).await;
    let mut world = World::new().await;
    world.stop().await;
    // Of a cluster that nobody knows.
    strimzis_topic(&world, json!({})).await;
    world.start().await;

    world.create(json!({"partitions": 1})).await;

    world.ready().await;
    world.end().await;
}
