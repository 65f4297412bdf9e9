//! An object that moves between clusters: nobody loses a topic by it.

use devcluster::kafka::{Kafka, KafkaOptions};
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin};
use serde_json::{Value, json};

use super::world::{World, eventually};

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
