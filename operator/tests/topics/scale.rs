//! Many objects: what is not changed costs next to nothing, and who is in trouble is so alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use devcluster::testing::kafka;
use kafka_admin::{ConfigAlteration, RequestKind};
use operator::controller::context::Settings;
use serde_json::json;
use tokio::net::TcpListener;

use super::trouble::{passes, settled};
use super::world::{World, eventually, settings};

/// Requests to the apiserver so far that only read, and that do not.
pub(super) fn requests(world: &World) -> (u64, u64) {
    (world.ctx.metrics.reads(), world.ctx.metrics.changing_requests())
}

pub(super) fn of(kinds: &BTreeMap<RequestKind, u64>, kind: RequestKind) -> u64 {
    kinds.get(&kind).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_unchanged_topics_are_looked_at_in_five_requests_and_without_kubernetes() {
    const OBJECTS: usize = 1000;
    let settings = Settings { drift_interval: Duration::from_secs(3), ..settings() };
    let mut world = World::with_settings(kafka().bootstrap(), settings).await;
    world.stop().await;
    let create = |number: usize| {
        let world = &world;
        let spec = json!({"partitions": 1, "topicName": format!("{}.{number}", world.topic)});
        async move { world.create_named(&format!("quiet-{number}"), spec).await }
    };
    futures::future::join_all((0..OBJECTS).map(create)).await;
    world.start().await;
    // In steps, each of which must not take too long: a machine may be slow, an operator must not stop.
    for step in 1..=10 {
        eventually("topics are looked after", || {
            let clusters = world.ctx.clusters.all();
            let entries = clusters.iter().flat_map(|cluster| world.ctx.topics.of_cluster(cluster.key()));
            let settled = entries.filter(|(_, entry)| entry.settled.is_some()).count();
            std::future::ready(if settled >= step * OBJECTS / 10 {
                Ok(())
            } else {
                Err(format!("{settled}"))
            })
        })
        .await;
    }
    settled(&world, OBJECTS as u64).await;

    let (started, before) =
        (Instant::now(), (requests(&world), world.ctx.clusters.requests(), passes(&world)));
    eventually("two more passes over each object, and three looks", || {
        let done = passes(&world) - before.2;
        let looks = |kinds| of(kinds, RequestKind::DescribeTopics);
        let looks = looks(&world.ctx.clusters.requests()) - looks(&before.1);
        let enough = done >= 2 * OBJECTS as u64 && looks >= 3;
        std::future::ready(if enough { Ok(()) } else { Err(format!("{done} passes, {looks} looks")) })
    })
    .await;
    let (kubernetes, kafka) = (requests(&world), world.ctx.clusters.requests());

    let sum = |kinds: &BTreeMap<RequestKind, u64>| kinds.values().sum::<u64>();
    let looks = of(&kafka, RequestKind::DescribeTopics) - of(&before.1, RequestKind::DescribeTopics);
    let asked = sum(&kafka) - sum(&before.1);
    assert!(asked <= 5 * looks, "{asked} requests in {looks} intervals: {kafka:?}");
    assert_eq!(kubernetes.1, before.0.1, "writes");
    // Once a minute the cache is compared with a list; a watch that ends is begun again.
    let allowed = 2 * (started.elapsed().as_secs() / 60 + 1);
    assert!(kubernetes.0 - before.0.0 <= allowed, "{} reads", kubernetes.0 - before.0.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_trouble_do_not_delay_the_others() {
    const PER_TROUBLE: usize = 8;
    let hour = Duration::from_secs(3600);
    // Fewer passes at once than there are objects whose clusters never answer.
    let settings = Settings { concurrency: 4, kafka_timeout: hour, resync: hour, ..settings() };
    let mut world = World::with_settings(kafka().bootstrap(), settings).await;
    world.stop().await;
    // They take connections and say nothing.
    let mut silent = Vec::new();
    for number in 0..PER_TROUBLE {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let servers = json!({"bootstrap": {"servers": listener.local_addr().unwrap().to_string()}});
        silent.push(listener);
        world.create_named(&format!("silent-{number}"), json!({"kafka": servers})).await;
        let topic = format!("{}.{number}", world.topic);
        let refusing = json!({"bootstrap": {"servers": format!("127.0.0.1:{}", number + 1)}});
        world.create_named(&format!("refusing-{number}"), json!({"kafka": refusing})).await;
        let security = json!({"protocol": "SASL_PLAINTEXT", "credentials": {"secretName": "missing"}});
        let missing = json!({"bootstrap": {"servers": world.servers, "security": security}});
        let name = format!("missing-{number}");
        world.create_named(&name, json!({"kafka": missing, "topicName": format!("{topic}.missing")})).await;
        world.create_named(&format!("wrong-{number}"), json!({"replicas": 9, "topicName": topic})).await;
    }

    world.start().await;
    world.create(json!({"partitions": 1})).await;

    world.ready().await;
    world.change(json!({"partitions": 2})).await;
    assert_eq!(world.ready().await.partitions, Some(2));
    world.reason("wrong-0", "InvalidReplicas").await;
    world.reason("missing-0", "SecretNotFound").await;
    world.reason("silent-0", "BrokerUnreachable").await;

    // Nor does a look at a silent cluster, which takes an hour here, delay the looks at others.
    world.meanwhile_configure(ConfigAlteration::of(world.topic_name()).set("retention.ms", "5")).await;
    world.overrides_become(&[]).await;
    drop(silent);
}
