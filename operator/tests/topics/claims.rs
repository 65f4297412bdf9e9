//! One topic under several addresses, and one object that moves between clusters: nobody loses a topic by it.

use devcluster::kafka::{Kafka, KafkaOptions};
use devcluster::testing::kafka;
use jiff::Timestamp;
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin, NewTopic};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::world::{World, eventually, message};

/// The shared broker by another address than the other objects use.
fn by_another_address() -> Value {
    let servers = kafka().bootstrap();
    json!({"bootstrap": {"servers": format!("{servers},{servers}")}})
}

/// Creates an object that is older than any that is created after this.
async fn create_the_oldest(world: &World, name: &str, spec: Value) {
    let object = world.create_named(name, spec).await;
    let created = object.creation_timestamp().unwrap().0.as_second();
    eventually("the next second", || {
        let now = Timestamp::now().as_second();
        std::future::ready(if now > created { Ok(()) } else { Err(format!("still {now}")) })
    })
    .await;
}

/// A second cluster, which ends with the test.
struct Second {
    kafka: Kafka,
    _dir: tempfile::TempDir,
}

impl Second {
    async fn start() -> Self {
        let start = || {
            let dir = tempfile::tempdir().unwrap();
            let options = KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap();
            Self { kafka: Kafka::start(options).unwrap(), _dir: dir }
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    fn spec(&self) -> Value {
        json!({"bootstrap": {"servers": self.kafka.bootstrap()}})
    }

    /// Whether it has the test's topic.
    async fn has_topic(&self, world: &World) -> bool {
        let admin = KafkaAdmin::connect(&ConnectOptions::plaintext(self.kafka.bootstrap())).unwrap();
        admin.describe_topics(&[world.topic_name()]).await.remove(0).is_ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_names_the_cluster_by_another_address_does_not_get_the_topic_of_an_older_one() {
    let mut world = World::new().await;
    world.stop().await;
    world.meanwhile_create(NewTopic::named(world.topic_name()).partitions(1)).await;
    let before = world.described().await.unwrap().id;
    create_the_oldest(&world, "older", json!({"partitions": 1})).await;
    let younger = json!({"partitions": 1, "deletionPolicy": "Delete", "kafka": by_another_address()});
    world.create_named("younger", younger).await;

    // Both at once, when neither address has yet told which cluster it is of.
    world.start().await;
    world.reason("older", "Synced").await;
    let taken = world.reason("younger", "TopicNameTaken").await;
    world.delete("younger").await;
    world.gone("younger").await;

    assert!(message(&taken).contains("/older"), "{}", message(&taken));
    assert_eq!(taken.topic_id, None);
    assert_eq!(world.described().await.map(|topic| topic.id), Some(before));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_an_older_object_came_to_have_stays_when_the_younger_one_goes() {
    let second = Second::start().await;
    let world = World::new().await;
    create_the_oldest(&world, "older", json!({"partitions": 1, "kafka": second.spec()})).await;
    world.create_named("younger", json!({"partitions": 1, "deletionPolicy": "Delete"})).await;
    world.reason("older", "Synced").await;
    let topic = world.reason("younger", "Synced").await.topic_id;

    world.change_named("older", json!({"kafka": {"bootstrap": {"servers": world.servers}}})).await;
    eventually("the older one has the topic", || async {
        let found = world.reason("older", "Synced").await.topic_id;
        if found == topic { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    world.delete("younger").await;
    world.gone("younger").await;

    assert!(world.event("younger", "TopicKept").await.contains("/older stands for it as well"));
    assert_eq!(world.described().await.map(|topic| topic.id.to_string()), topic);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_moves_to_another_cluster_has_its_topic_there_and_loses_none() {
    let second = Second::start().await;
    let mut world = World::new().await;
    world.create(json!({"partitions": 1, "deletionPolicy": "Delete"})).await;
    let before = world.ready().await;

    world.change(json!({"kafka": second.spec()})).await;
    let after = eventually("another cluster", || async {
        let status = world.ready().await;
        if status.cluster_id != before.cluster_id { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert!(before.cluster_id.is_some() && after.cluster_id.is_some());
    assert!(second.has_topic(&world).await && after.topic_id != before.topic_id);
    // Had it been said to be deleted by somebody, then by now: the event comes before the status.
    assert!(!world.events("orders").await.contains(&"TopicRecreated".to_owned()));

    // Back again, and deleted before anybody has looked: what is there is not what the object stands for now.
    world.stop().await;
    world.change(json!({"kafka": {"bootstrap": {"servers": world.servers}}})).await;
    world.delete("orders").await;
    world.start().await;
    world.gone("orders").await;

    assert!(world.event("orders", "TopicKept").await.contains("of another cluster"));
    assert!(world.described().await.is_some() && second.has_topic(&world).await);
    world.end().await;
}
