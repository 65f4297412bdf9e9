//! The operator dies at every n-th write, is started again, and all the same everything ends as if it had not.

use std::sync::Arc;
use std::time::Duration;

use kafka_admin::{AclFilter, Admin, Error, TopicName};
use operator::controller::context::Settings;
use operator::controller::{strimzi, topic};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::fuse::{self, Fuse, at_every_write, until};
use super::world::{NAME, World, config_of_the_operator, eventually, settings};

/// Starts controllers of topics that burn `fuse`.
async fn begin(world: &World, fuse: Arc<Fuse>) -> JoinHandle<()> {
    let settings = Settings {
        namespace: Some(world.namespace.clone()),
        // Deaths must not use up the time after which an object is let go with its work undone.
        cleanup_timeout: Duration::from_secs(600),
        ..settings()
    };
    let ctx = fuse::context(config_of_the_operator().await, settings, &fuse);
    tokio::spawn(async move {
        tokio::join!(topic::run(Arc::clone(&ctx)), strimzi::watch(&ctx));
    })
}

/// Two topics are made; one is changed while the other goes, by operators that die at their n-th write. Returns what there
/// is in the end, and how many writes each of both took if the operator survived them all.
async fn scenario(n: usize) -> (Value, [usize; 2]) {
    let mut world = World::new().await;
    world.stop().await;
    let begin = async |fuse| begin(&world, fuse).await;
    let name = |object: &str| format!("{}.{object}", world.topic);
    let spec = |object: &str, partitions: u32, config: Value, user: &str| {
        json!({
            "topicName": name(object), "partitions": partitions, "config": config,
            "deletionPolicy": "Delete", "adoptionPolicy": "Refuse",
            "access": [{"principal": format!("User:{user}"), "operations": ["Read"]}],
        })
    };
    world.create_named("orders", spec("orders", 1, json!({"retention.ms": "1000000"}), "leaving")).await;
    world.create_named("other", spec("other", 1, json!({}), "leaving")).await;
    let made = async || {
        world.reason("orders", "Synced").await;
        world.reason("other", "Synced").await;
    };
    let first = until(n, begin, made).await;

    world.change(spec("orders", 3, json!({"segment.ms": "1000000"}), "staying")).await;
    world.delete("other").await;
    let changed = async || {
        world.reason("orders", "Synced").await;
        world.gone("other").await;
    };
    let second = until(n, begin, changed).await;
    (outcome(&world, &name("orders"), &name("other")).await, [first, second])
}

/// Who has an ACL of a topic. Brokers show a change a little later than it is made.
async fn acls(world: &World, topic: &str) -> Vec<String> {
    let filter = AclFilter { name: Some(topic.to_owned()), ..AclFilter::any() };
    eventually("nobody who left has an ACL", || async {
        let found = world.admin.describe_acls(std::slice::from_ref(&filter)).await.remove(0).unwrap();
        let users: Vec<String> = found.iter().map(|acl| acl.principal.to_string()).collect();
        if users.iter().any(|user| user == "User:leaving") { Err(format!("{users:?}")) } else { Ok(users) }
    })
    .await
}

/// Objects and topics, without what differs from run to run.
async fn outcome(world: &World, orders: &str, other: &str) -> Value {
    let names = [orders, other].map(|name| TopicName::new(name).unwrap());
    // Brokers show a deletion a little later than it is done.
    eventually("the other topic is gone", || async {
        match world.admin.describe_topics(&names[1..]).await.remove(0) {
            Err(Error::NotFound { .. }) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
    let described = world.admin.describe_topics(&names).await;
    let config = world.admin.describe_configs(&names[..1]).await.remove(0).unwrap();
    let set: Vec<String> =
        config.overrides().map(|entry| format!("{}={:?}", entry.name, entry.value)).collect();
    let object = world.get("orders").await;
    let status = object.status.unwrap();
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason))
        .collect();
    json!({
        "finalizers": object.metadata.finalizers,
        "conditions": conditions,
        "its own topic": status.topic_id == described[0].as_ref().ok().map(|topic| topic.id.to_string()),
        "status": [status.partitions, status.replicas],
        "partitions": described[0].as_ref().map(kafka_admin::TopicDescription::partition_count).ok(),
        "set": set,
        "other is there": described[1].is_ok(),
        "acls": [acls(world, orders).await, acls(world, other).await],
        "noted": status.access.map(|access| access.granted.len()),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_killed_at_any_write_ends_where_one_that_lives_does() {
    let (expected, phases) = scenario(usize::MAX).await;
    assert_eq!(expected["set"], json!([r#"segment.ms=Some("1000000")"#]), "{expected}");
    assert_eq!(
        (&expected["partitions"], &expected["other is there"]),
        (&json!(3), &json!(false)),
        "{expected}"
    );
    assert_eq!(expected["acls"], json!([["User:staying"], []]), "{expected}");
    assert!(phases.iter().sum::<usize>() >= 10, "{phases:?} writes");

    // A right is revoked anew by each life that lets an object go, since brokers show late what there is: who never gets
    // beyond that gets nowhere.
    let longest = phases.into_iter().max().unwrap();
    at_every_write(2..=longest, &expected, async |n| scenario(n).await.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_announced_is_its_objects_own_whatever_the_spec_has_become() {
    let mut world = World::new().await;
    world.stop().await;
    world.create(json!({"partitions": 1, "adoptionPolicy": "Refuse"})).await;
    // The announcement is the first write, the creation the second; who dies then cannot write down the id.
    let fuse = Fuse::new(2);
    let operator = begin(&world, Arc::clone(&fuse)).await;
    fuse.burnt().await;
    operator.abort();
    let _ = operator.await;
    world.in_kafka(true).await;
    let left = world.get(NAME).await.status.unwrap();
    assert!(left.topic_id.is_none() && left.creating.is_some(), "{left:?}");

    world.change(json!({"partitions": 2, "config": {"retention.ms": "1000000"}})).await;
    world.start().await;

    let status = world.ready().await;
    assert_eq!(status.topic_id, world.described().await.map(|topic| topic.id.to_string()));
    assert_eq!((status.partitions, status.creating), (Some(2), None));
    assert!(!world.events(NAME).await.contains(&"TopicAdopted".to_owned()));
    world.end().await;
}
