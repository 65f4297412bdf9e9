//! What people may say about the work itself: only plan it, leave it for now, do it now.

use kafka_admin::{ConfigAlteration, NewTopic};
use operator::crd::RECONCILE_NOW;
use operator::crd::conditions::{self, ConditionType};
use serde_json::json;

use super::world::{World, eventually, is, message, settings};

#[tokio::test]
async fn a_plan_is_told_and_nothing_is_done_before_it_is_allowed() {
    let world = World::new().await;
    let config = json!({"retention.ms": "1000000"});

    world.create(json!({"partitions": 2, "config": config, "reconcilePolicy": "Plan"})).await;
    let creation = world.reason("orders", "ChangesPending").await;
    let before = world.described().await;
    world.change(json!({"reconcilePolicy": "Apply"})).await;
    let applied = world.ready().await;

    let told = [
        "create the topic with 2 partitions and the broker's default of replicas",
        "set retention.ms=1000000",
    ];
    assert_eq!(creation.plan, told);
    assert!(is(&creation, ConditionType::Stalled) && creation.topic_id.is_none() && before.is_none());
    assert!(applied.plan.is_empty() && applied.topic_id.is_some());
    world.end().await;
}

#[tokio::test]
async fn a_plan_follows_what_others_do_to_the_topic_and_undoes_none_of_it() {
    let world = World::new().await;
    world.create(json!({"partitions": 1, "deletionPolicy": "Delete"})).await;
    world.ready().await;
    world.change(json!({"reconcilePolicy": "Plan"})).await;
    assert!(world.ready().await.plan.is_empty());

    world.meanwhile_configure(ConfigAlteration::of(world.topic_name()).set("retention.ms", "1000000")).await;
    world.change(json!({"partitions": 3})).await;
    eventually("both differences", || async {
        let plan = world.reason("orders", "ChangesPending").await.plan;
        let told =
            ["add partitions: 1 -> 3", "give retention.ms back to the broker's default, it is 1000000"];
        if plan == told { Ok(()) } else { Err(format!("{plan:?}")) }
    })
    .await;
    world.delete("orders").await;
    world.gone("orders").await;

    assert_eq!(world.described().await.unwrap().partition_count(), 1);
    world.overrides_become(&[("retention.ms", "1000000")]).await;
    assert!(world.event("orders", "TopicRetained").await.contains("only plans"));
    world.end().await;
}

#[tokio::test]
async fn a_suspended_topic_is_left_alone_until_it_is_not() {
    let world = World::new().await;
    world.create(json!({"partitions": 1, "config": {"retention.ms": "1000000"}})).await;
    world.ready().await;

    world.change(json!({"suspend": true, "partitions": 2})).await;
    let suspended = world.reason("orders", "Suspended").await;
    world.meanwhile_configure(ConfigAlteration::of(world.topic_name()).set("retention.ms", "5")).await;
    // Another object shows that looks at Kafka go on meanwhile.
    world
        .create_named("other", json!({"partitions": 1, "topicName": format!("{}.other", world.topic)}))
        .await;
    world.reason("other", "Synced").await;
    let untouched = (world.described().await.unwrap().partition_count(), world.overrides().await);
    world.change(json!({"suspend": false})).await;
    world.partitions(2).await;

    let ready = conditions::find(&suspended.conditions, ConditionType::Ready).unwrap();
    assert_eq!((ready.status.as_str(), suspended.conditions.len()), ("Unknown", 1));
    assert_eq!(untouched.0, 1);
    assert_eq!(untouched.1.get("retention.ms").map(String::as_str), Some("5"));
    world.overrides_become(&[("retention.ms", "1000000")]).await;
    world.ready().await;
    world.end().await;
}

#[tokio::test]
async fn a_request_to_look_now_is_carried_out_and_acknowledged() {
    // Nobody would look by himself within an hour.
    let never = std::time::Duration::from_secs(3600);
    let quiet =
        operator::controller::context::Settings { resync: never, drift_interval: never, ..settings() };
    let world = World::with_settings(devcluster::testing::kafka().bootstrap(), quiet).await;
    world.create(json!({"partitions": 1})).await;
    world.ready().await;
    let drift = async |retention| {
        let alteration = ConfigAlteration::of(world.topic_name()).set("retention.ms", retention);
        world.meanwhile_configure(alteration).await;
        // Brokers show it a little later than it is made.
        world.overrides_become(&[("retention.ms", retention)]).await;
    };

    drift("5").await;
    world.annotate("orders", RECONCILE_NOW, "first").await;
    world.overrides_become(&[]).await;
    eventually("acknowledged", || async {
        let handled = world.ready().await.last_handled_reconcile_at;
        if handled.as_deref() == Some("first") { Ok(()) } else { Err(format!("{handled:?}")) }
    })
    .await;
    drift("6").await;
    world.annotate("orders", RECONCILE_NOW, "second").await;

    world.overrides_become(&[]).await;
    world.end().await;
}

#[tokio::test]
async fn a_topic_is_not_taken_over_by_a_plan() {
    let world = World::new().await;
    world.meanwhile_create(NewTopic::named(world.topic_name()).partitions(1)).await;

    world.create(json!({"partitions": 1, "reconcilePolicy": "Plan"})).await;
    let status = world.reason("orders", "ChangesPending").await;

    assert_eq!(status.plan, ["take over the topic, which exists already"]);
    assert_eq!(status.topic_id, None);
    assert!(message(&status).contains("set spec.reconcilePolicy to Apply"), "{}", message(&status));
    world.end().await;
}
