//! Whose a topic is: adoption, several objects for one topic, and what becomes of it at the end.

use kafka_admin::NewTopic;
use operator::crd::conditions::ConditionType;
use serde_json::json;

use super::world::{World, is, message};

#[tokio::test]
async fn an_existing_topic_is_adopted_and_changed_when_told_so() {
    let world = World::new().await;
    world.meanwhile_create(NewTopic::named(world.topic_name()).partitions(1)).await;

    world.create(json!({"partitions": 2, "adoptionPolicy": "Adopt"})).await;

    assert_eq!(world.ready().await.partitions, Some(2));
    world.event("orders", "TopicAdopted").await;
    world.end().await;
}

#[tokio::test]
async fn an_identical_topic_is_adopted_and_a_different_one_is_not() {
    let world = World::new().await;
    world.meanwhile_create(NewTopic::named(world.topic_name()).partitions(1)).await;

    world.create(json!({"partitions": 2})).await;
    let status = world.reason("orders", "TopicDiffers").await;
    let told = message(&status).to_owned();
    let untouched = world.described().await.unwrap().partition_count();
    world.delete("orders").await;
    world.gone("orders").await;
    world.create(json!({"partitions": 1})).await;
    let adopted = world.ready().await;

    assert!(told.contains("partitions 1, spec 2"), "{told}");
    assert_eq!((status.topic_id, untouched), (None, 1));
    assert!(adopted.topic_id.is_some());
    world.end().await;
}

#[tokio::test]
async fn a_refused_topic_is_neither_touched_nor_deleted_with_its_object() {
    let world = World::new().await;
    world.meanwhile_create(NewTopic::named(world.topic_name()).partitions(1)).await;

    world.create(json!({"partitions": 1, "adoptionPolicy": "Refuse", "deletionPolicy": "Delete"})).await;
    let status = world.reason("orders", "TopicExists").await;
    world.delete("orders").await;
    world.gone("orders").await;

    assert!(is(&status, ConditionType::Stalled));
    assert!(world.event("orders", "TopicKept").await.contains("never had a topic"));
    assert!(world.described().await.is_some());
    world.end().await;
}

#[tokio::test]
async fn a_topic_created_under_refuse_is_its_objects_own() {
    let world = World::new().await;

    world.create(json!({"partitions": 1, "adoptionPolicy": "Refuse"})).await;

    assert!(world.ready().await.topic_id.is_some());
    world.end().await;
}

#[tokio::test]
async fn of_two_objects_for_one_topic_the_older_wins_until_it_goes() {
    let world = World::new().await;
    world.create_named("first", json!({"partitions": 1})).await;
    world.reason("first", "Synced").await;

    world.create_named("second", json!({"partitions": 1})).await;
    let status = world.reason("second", "TopicNameTaken").await;
    world.delete("first").await;
    world.gone("first").await;

    assert!(is(&status, ConditionType::Stalled));
    assert!(message(&status).contains("/first"), "{}", message(&status));
    world.reason("second", "Synced").await;
    world.end().await;
}

#[tokio::test]
async fn a_topic_stays_when_its_object_goes_unless_told_otherwise() {
    let world = World::new().await;
    let object = world.create(json!({"partitions": 1})).await;
    world.ready().await;

    world.delete("orders").await;
    world.gone("orders").await;

    assert!(object.metadata.finalizers.is_none());
    assert!(world.described().await.is_some());
    world.end().await;
}

#[tokio::test]
async fn a_topic_goes_with_its_object_when_told_so() {
    let world = World::new().await;
    world.create(json!({"partitions": 1, "deletionPolicy": "Delete"})).await;
    world.ready().await;

    world.delete("orders").await;
    world.gone("orders").await;

    world.in_kafka(false).await;
    world.event("orders", "TopicDeleted").await;
    world.end().await;
}

#[tokio::test]
async fn a_topic_that_replaced_the_objects_own_is_not_deleted() {
    let mut world = World::new().await;
    let spec = json!({"partitions": 1, "adoptionPolicy": "Refuse", "deletionPolicy": "Delete"});
    world.create(spec).await;
    world.ready().await;
    // While the operator is away, or it would make the topic again itself.
    world.stop().await;
    world.meanwhile_delete().await;
    world.in_kafka(false).await;
    world.meanwhile_create(NewTopic::named(world.topic_name()).partitions(1)).await;
    world.delete("orders").await;

    world.start().await;
    world.gone("orders").await;

    assert!(world.event("orders", "TopicKept").await.contains("this object stood for"));
    assert!(world.described().await.is_some());
    world.end().await;
}
