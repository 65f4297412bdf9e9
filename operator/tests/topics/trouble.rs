//! What happens when something is missing, wrong or away; and that nothing happens when nothing is.

use std::collections::BTreeMap;

use devcluster::kafka::{Kafka, KafkaOptions};
use devcluster::testing::{kafka, unique};
use kafka_admin::RequestKind;
use kube::ResourceExt;
use operator::crd::conditions::ConditionType;
use serde_json::json;

use super::scale::requests as requests_to_kubernetes;
use super::world::{World, eventually, is, message};

/// A broker of the test's own: it is killed.
struct Broker {
    kafka: Kafka,
    _dir: tempfile::TempDir,
}

fn broker() -> Broker {
    let dir = tempfile::tempdir().unwrap();
    let kafka = Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap()).unwrap();
    Broker { kafka, _dir: dir }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_shows_within_seconds_and_heals() {
    let mut broker = tokio::task::spawn_blocking(broker).await.unwrap();
    let world = World::with(&broker.kafka.bootstrap()).await;
    world.create(json!({"partitions": 1})).await;
    let before = world.ready().await;

    broker.kafka.kill();
    let away = world.reason("orders", "BrokerUnreachable").await;
    world.change(json!({"partitions": 2})).await;
    world.reason("orders", "BrokerUnreachable").await;
    let broker = tokio::task::spawn_blocking(move || {
        broker.kafka.restart().unwrap();
        broker
    });
    let broker = broker.await.unwrap();
    world.partitions(2).await;

    assert!(is(&away, ConditionType::Reconciling) && !is(&away, ConditionType::Stalled));
    assert_eq!((away.topic_id, away.partitions), (before.topic_id, Some(1)));
    assert_eq!(world.ready().await.partitions, Some(2));
    world.end().await;
    drop(broker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_does_not_hang_on_a_broker_that_is_away() {
    let mut broker = tokio::task::spawn_blocking(broker).await.unwrap();
    let world = World::with(&broker.kafka.bootstrap()).await;
    world.create(json!({"partitions": 1, "deletionPolicy": "Delete"})).await;
    world.ready().await;

    broker.kafka.kill();
    world.delete("orders").await;
    world.gone("orders").await;

    assert!(world.event("orders", "CleanupSkipped").await.contains("without deleting topic"));
    world.end().await;
}

#[tokio::test]
async fn a_missing_secret_is_named_and_waited_for() {
    let world = World::new().await;
    let security = json!({"protocol": "SASL_PLAINTEXT", "credentials": {"secretName": "kafka-admin"}});
    let bootstrap = json!({"servers": kafka().sasl_bootstrap(), "security": security});

    world.create(json!({"partitions": 1, "kafka": {"bootstrap": bootstrap}})).await;
    let missing = world.reason("orders", "SecretNotFound").await;
    world.put_secret("kafka-admin", &[("username", kafka().admin_user())]).await;
    let incomplete = world.reason("orders", "SecretKeyNotFound").await;
    let password = kafka().admin_password();
    world.put_secret("kafka-admin", &[("username", kafka().admin_user()), ("password", password)]).await;
    world.ready().await;

    assert!(message(&missing).contains("/kafka-admin does not exist"), "{}", message(&missing));
    assert!(is(&missing, ConditionType::Reconciling));
    assert!(message(&incomplete).contains("\"password\""), "{}", message(&incomplete));
    assert!(world.described().await.is_some());
    world.end().await;
}

#[tokio::test]
async fn deletion_does_not_hang_on_a_missing_secret() {
    let world = World::new().await;
    let security = json!({"protocol": "SASL_PLAINTEXT", "credentials": {"secretName": "never-there"}});
    let bootstrap = json!({"servers": kafka().sasl_bootstrap(), "security": security});
    world.create(json!({"deletionPolicy": "Delete", "kafka": {"bootstrap": bootstrap}})).await;
    world.reason("orders", "SecretNotFound").await;

    world.delete("orders").await;

    world.gone("orders").await;
    world.end().await;
}

#[tokio::test]
async fn settings_that_the_broker_does_not_take_are_named() {
    let world = World::new().await;

    world.create(json!({"partitions": 1, "config": {"retention.sm": "1"}})).await;
    let unknown = world.reason("orders", "InvalidConfig").await;
    world.change(json!({"config": {"retention.ms": "long"}})).await;
    let invalid = eventually("the new value is named", || async {
        let status = world.reason("orders", "InvalidConfig").await;
        if message(&status).contains("retention.ms") { Ok(status) } else { Err(message(&status).to_owned()) }
    })
    .await;
    world.change(json!({"config": {"retention.ms": "1000000"}})).await;
    world.ready().await;
    world.change(json!({"config": {"retention.ms": "1000000", "colour": "blue"}})).await;
    let later = world.reason("orders", "InvalidConfig").await;

    assert!(message(&unknown).contains("retention.sm"), "{}", message(&unknown));
    assert!(is(&unknown, ConditionType::Stalled) && is(&invalid, ConditionType::Stalled));
    assert!(message(&later).contains("does not know colour"), "{}", message(&later));
    world.end().await;
}

#[tokio::test]
async fn more_replicas_than_brokers_is_refused_with_the_brokers_words() {
    let world = World::new().await;

    world.create(json!({"partitions": 1, "replicas": 9})).await;
    let status = world.reason("orders", "InvalidReplicas").await;

    assert!(is(&status, ConditionType::Stalled));
    world.end().await;
}

#[tokio::test]
async fn nothing_is_written_and_no_object_asks_kafka_when_nothing_changed() {
    const OBJECTS: usize = 20;
    let world = World::new().await;
    for number in 0..OBJECTS {
        let topic = unique("quiet");
        world.create_named(&format!("quiet-{number}"), json!({"partitions": 1, "topicName": topic})).await;
    }
    for number in 0..OBJECTS {
        world.reason(&format!("quiet-{number}"), "Synced").await;
    }
    settled(&world, OBJECTS as u64).await;
    let (writes, versions) = (world.ctx.metrics.writes(), versions(&world).await);
    let (passes, requests) = (passes(&world), describes(&world));

    // Each object is looked at again every two seconds, so this many passes take about six.
    eventually("three more passes over each object", || async {
        let done = self::passes(&world) - passes;
        if done >= 3 * OBJECTS as u64 { Ok(()) } else { Err(format!("{done} passes")) }
    })
    .await;

    assert_eq!(world.ctx.metrics.writes(), writes);
    assert_eq!(self::versions(&world).await, versions);
    // In bulk, once a second, however many objects there are; asked by each it would be 60 at least.
    let asked = describes(&world) - requests;
    assert!((1..OBJECTS as u64).contains(&asked), "{asked} requests");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_costs_two_writes_no_read_and_a_share_of_few_requests() {
    const OBJECTS: usize = 200;
    let mut world = World::new().await;
    // All there before the operator: what a restart meets.
    world.stop().await;
    let create = |number: usize| {
        let world = &world;
        async move {
            let spec = json!({"partitions": 1, "topicName": unique("many"), "deletionPolicy": "Delete"});
            world.create_named(&format!("many-{number}"), spec).await
        }
    };
    futures::future::join_all((0..OBJECTS).map(create)).await;

    let started = std::time::Instant::now();
    world.start().await;
    eventually("all ready", || async {
        let ready = ready(&world).await;
        if ready == OBJECTS { Ok(()) } else { Err(format!("{ready} are ready")) }
    })
    .await;
    let took = started.elapsed();

    let clusters = world.ctx.clusters.all();
    let counts: Vec<_> = clusters.iter().map(|cluster| cluster.admin().request_counts()).collect();
    let requests: u64 = counts.iter().flat_map(BTreeMap::values).sum();
    println!("{OBJECTS} topics took {took:?} and {requests} requests: {counts:?}");
    // Three kinds of requests, each of which leaves every 300 ms, or full; a probe now and then.
    let bound = 30 + 10 * (took.as_secs() + 1);
    assert!(requests <= bound, "{requests} requests, not {bound}: {counts:?}");
    // The finalizer and the status, and nothing by a pass over a version that was written over.
    assert_eq!(world.ctx.metrics.writes(), 2 * OBJECTS as u64);
    // A watch, a list now and then, but nothing per object; and events are rationed.
    let (reads, writes) = requests_to_kubernetes(&world);
    assert!(reads < 20, "{reads} reads");
    let events = writes - 2 * OBJECTS as u64;
    assert!(events <= 25 + 5 * (took.as_secs() + 1), "{events} events");
    world.end().await;
}

#[tokio::test]
async fn a_value_that_the_broker_writes_otherwise_is_not_set_again() {
    let world = World::new().await;
    let config =
        json!({"min.cleanable.dirty.ratio": "0.50", "retention.ms": "0604800000", "preallocate": "False"});
    world.create(json!({"partitions": 1, "config": config})).await;
    world.ready().await;
    let other =
        json!({"min.cleanable.dirty.ratio": ".5", "retention.ms": "+604800000", "preallocate": "FALSE"});
    world.change(json!({"config": other})).await;
    world.ready().await;

    settled(&world, 3).await;

    let requests = world.ctx.clusters.requests();
    assert_eq!(requests.get(&RequestKind::AlterConfigs), None, "{requests:?}");
    world.end().await;
}

async fn ready(world: &World) -> usize {
    let list = world.api().list(&kube::api::ListParams::default()).await.unwrap();
    let ready = |topic: &&operator::crd::KafkaTopic| {
        topic.status.as_ref().is_some_and(|status| is(status, ConditionType::Ready))
    };
    list.iter().filter(ready).count()
}

/// Waits until every object was looked at once more without anything being written.
pub(crate) async fn settled(world: &World, objects: u64) {
    let (mut writes, mut seen) = (u64::MAX, 0);
    eventually("a round of passes without a write", || {
        let (now, passes) = (world.ctx.metrics.writes(), passes(world));
        if now != writes {
            (writes, seen) = (now, passes);
        }
        let quiet = passes - seen;
        std::future::ready(if quiet > objects { Ok(()) } else { Err(format!("{quiet} quiet passes")) })
    })
    .await;
}

pub(crate) fn passes(world: &World) -> u64 {
    let text = world.ctx.metrics.encode().unwrap();
    let counts = text.lines().filter(|line| line.starts_with("controller_runtime_reconcile_total{"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Requests by which the operator asked Kafka about topics.
fn describes(world: &World) -> u64 {
    let count = |cluster: &std::sync::Arc<operator::controller::clusters::Cluster>| {
        let counts: BTreeMap<RequestKind, u64> = cluster.admin().request_counts();
        counts.get(&RequestKind::DescribeTopics).copied().unwrap_or_default()
    };
    world.ctx.clusters.all().iter().map(count).sum()
}

async fn versions(world: &World) -> BTreeMap<String, String> {
    let list = world.api().list(&kube::api::ListParams::default()).await.unwrap();
    list.iter().map(|object| (object.name_any(), object.resource_version().unwrap())).collect()
}
