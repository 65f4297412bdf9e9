//! A pipeline that is suspended, or only planned: its topics in Kafka are left as they are, too.

use kafka_admin::{Admin, ConfigAlteration, Mode, TopicName};
use kube::api::DeleteParams;
use operator::crd::{KafkaTopic, KafkaTopicStatus, OrderPipeline};
use serde_json::{Value, json};

use crate::access::{self, admin};
use crate::world::{World, eventually};

async fn topic_status(world: &World, name: &str) -> KafkaTopicStatus {
    let topic: KafkaTopic = world.api().get(name).await.unwrap();
    topic.status.unwrap_or_default()
}

async fn delete_in_kafka(world: &World, topic: &str) {
    let name = TopicName::new(format!("{}{topic}", world.prefix)).unwrap();
    admin().delete_topics(&[name]).await.remove(0).unwrap();
}

/// Waits until a topic of nobody's pipeline was deleted and made again: all topics were looked at.
async fn all_are_looked_at(world: &World) {
    let before = topic_status(world, "free").await.topic_id;
    delete_in_kafka(world, "free").await;
    eventually("the other topic is made again", || async {
        let now = topic_status(world, "free").await.topic_id;
        if now == before { Err(format!("{now:?}")) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_pipeline_does_not_have_its_topics_put_right() {
    let world = World::new().await;
    world.ready().await;
    let kafka = world.pipeline(json!({})).spec.kafka;
    world.create_topic("free", json!({"kafka": kafka, "partitions": 1})).await;
    world.topic_reason("free", "Synced").await;

    world.change(json!({"suspend": true})).await;
    world.reason("Suspended").await;
    for name in world.names::<KafkaTopic>().await {
        world.topic_reason(&name, "Suspended").await;
    }
    delete_in_kafka(&world, "orders.created").await;
    for _look in 0..2 {
        all_are_looked_at(&world).await;
    }
    assert!(!world.kafka_has("orders.created").await);

    world.change(json!({"suspend": false})).await;
    world.topic_reason("shop-orders.created", "Synced").await;
    assert!(world.kafka_has("orders.created").await);
    world.reason("AllReady").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_only_planned_has_its_topics_compared_and_not_changed() {
    let world = World::new().await;
    world.ready().await;
    let name = TopicName::new(format!("{}orders.confirmed", world.prefix)).unwrap();
    let retention = async || {
        let config = admin().describe_configs(std::slice::from_ref(&name)).await.remove(0).unwrap();
        let found = config.overrides().find(|entry| entry.name == "retention.ms").cloned();
        found.and_then(|entry| entry.value).unwrap_or_default()
    };
    let right = retention().await;

    world.change(json!({"reconcilePolicy": "Plan"})).await;
    world.reason("AllReady").await;
    let wrong = ConfigAlteration::of(name.clone()).set("retention.ms", "1000000");
    admin().alter_configs(&[wrong], Mode::Apply).await.remove(0).unwrap();
    let told = world.topic_reason("shop-orders.confirmed", "ChangesPending").await.plan;
    let of_the_pipeline = world.reason("TopicsStalled").await;

    assert!(told.iter().any(|change| change.contains("retention.ms")), "{told:?}");
    assert!(of_the_pipeline.contains("shop-orders.confirmed"), "{of_the_pipeline}");
    assert_eq!(retention().await, "1000000");

    world.change(json!({"reconcilePolicy": "Apply"})).await;
    eventually("the setting is as the pipeline says", || async {
        let now = retention().await;
        if now == right { Ok(()) } else { Err(now) }
    })
    .await;
    world.reason("AllReady").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_suspended_and_deleted_at_once_keeps_its_topics() {
    keeps_its_topics(access::world().await, access::scram()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_without_users_of_its_own() {
    keeps_its_topics(World::new().await, json!({"spec": {}})).await;
}

async fn keeps_its_topics(mut world: World, mut spec: Value) {
    spec["spec"]["topics"] = json!({"deletionPolicy": "Delete"});
    world.create(spec).await;
    world.reason("DatabasePending").await;

    world.stop_operator().await;
    world.change(json!({"suspend": true})).await;
    world.api::<OrderPipeline>().delete("shop", &DeleteParams::default()).await.unwrap();
    world.restart_operator().await;
    eventually("the pipeline is gone", || async {
        let left = world.api::<OrderPipeline>().get_opt("shop").await.unwrap();
        left.map_or(Ok(()), |left| Err(format!("{:?}", left.metadata)))
    })
    .await;
    world.collect_garbage().await;

    assert!(world.kafka_has("orders.created").await);
    world.end().await;
}
