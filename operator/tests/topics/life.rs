//! A topic from its creation through its changes.

use kafka_admin::ConfigAlteration;
use operator::crd::conditions::ConditionType;
use serde_json::json;

use super::world::{World, is, message};

#[tokio::test]
async fn a_topic_is_created_as_the_spec_says() {
    let world = World::new().await;

    world.create(json!({"partitions": 3, "replicas": 1, "config": {"retention.ms": "1000000"}})).await;
    let status = world.ready().await;

    let topic = world.described().await.unwrap();
    assert_eq!((topic.partition_count(), topic.replication_factor()), (3, 1));
    world.overrides_become(&[("retention.ms", "1000000")]).await;
    assert_eq!(status.topic_id, Some(topic.id.to_string()));
    assert_eq!((status.partitions, status.replicas), (Some(3), Some(1)));
    assert_eq!(status.topic_name.as_deref(), Some(world.topic.as_str()));
    assert!(!is(&status, ConditionType::Reconciling) && !is(&status, ConditionType::Stalled));
    assert!(world.event("orders", "TopicCreated").await.contains("3 partitions"));
    world.end().await;
}

#[tokio::test]
async fn partitions_grow_and_settings_follow_the_spec() {
    let world = World::new().await;
    world
        .create(json!({"partitions": 1, "config": {"retention.ms": "1000000", "segment.bytes": "1048576"}}))
        .await;
    world.ready().await;

    world.change(json!({"partitions": 4, "config": {"retention.ms": "2000000"}})).await;

    world.partitions(4).await;
    world.overrides_become(&[("retention.ms", "2000000")]).await;
    assert_eq!(world.ready().await.partitions, Some(4));
    assert!(
        world.event("orders", "ConfigChanged").await.contains("segment.bytes back to the broker's default")
    );
    world.end().await;
}

#[tokio::test]
async fn fewer_partitions_than_there_are_is_refused_with_a_remedy() {
    let world = World::new().await;
    world.create(json!({"partitions": 1})).await;
    world.ready().await;

    world.meanwhile_grow(3).await;
    let status = world.reason("orders", "PartitionDecreaseRefused").await;

    assert!(is(&status, ConditionType::Stalled));
    assert!(message(&status).contains("set spec.partitions to 3 or more"), "{}", message(&status));
    world.change(json!({"partitions": 3})).await;
    assert!(!is(&world.ready().await, ConditionType::Stalled));
    world.end().await;
}

#[tokio::test]
async fn a_change_of_replicas_is_refused_with_a_remedy() {
    let world = World::new().await;
    world.create(json!({"partitions": 1, "replicas": 1})).await;
    world.ready().await;

    world.change(json!({"replicas": 2})).await;
    let status = world.reason("orders", "ReplicasChangeRefused").await;

    assert!(message(&status).contains("set spec.replicas to 1"), "{}", message(&status));
    assert_eq!(status.replicas, Some(1));
    world.end().await;
}

#[tokio::test]
async fn a_drifted_setting_is_repaired_and_hands_are_kept_off_others() {
    let world = World::new().await;
    let config = json!({"retention.ms": "1000000", "segment.bytes": null});
    world.create(json!({"partitions": 1, "config": config})).await;
    world.ready().await;

    let drift = ConfigAlteration::of(world.topic_name());
    let drift = drift.set("retention.ms", "5").set("segment.bytes", "2097152").set("segment.ms", "1000000");
    world.meanwhile_configure(drift).await;

    world.overrides_become(&[("retention.ms", "1000000"), ("segment.bytes", "2097152")]).await;
    world.event("orders", "ConfigChanged").await;
    world.end().await;
}

#[tokio::test]
async fn a_topic_deleted_by_somebody_is_made_again_and_said_so() {
    let world = World::new().await;
    world.create(json!({"partitions": 2})).await;
    let before = world.ready().await.topic_id;

    world.meanwhile_delete().await;
    let note = world.event("orders", "TopicRecreated").await;

    assert!(note.contains("its data is lost"), "{note}");
    super::world::eventually("another id", || async {
        let after = world.ready().await.topic_id;
        if after != before { Ok(()) } else { Err(format!("{after:?}")) }
    })
    .await;
    world.partitions(2).await;
    world.end().await;
}
