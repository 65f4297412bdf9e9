//! From nothing to Ready and to nothing.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use operator::controller::pipeline::reconcile;
use operator::crd::conditions::{ConditionType, is_true};
use operator::crd::{KafkaTopic, OrderPipeline};
use serde_json::json;

use crate::access;
use crate::world::{World, eventually, nobody};

#[tokio::test(flavor = "multi_thread")]
async fn objects_appear_in_the_order_of_their_dependencies() {
    let world = World::new().await;

    world.create(json!({})).await;

    let message = world.reason("DatabasePending").await;
    let jobs = world.names::<Job>().await;
    assert!(message.contains(&jobs[0]), "{message}");
    assert_eq!(world.names::<KafkaTopic>().await.len(), 12);
    assert!(world.kafka_has("orders.created").await);
    assert_eq!(world.names::<Secret>().await, ["shop-inventory", "shop-notification", "shop-order"]);
    assert!(world.names::<Deployment>().await.is_empty(), "no service before its database");

    world.finish_job("Complete").await;

    world.reason("ServicesStarting").await;
    assert_eq!(world.names::<Deployment>().await, ["shop-inventory", "shop-notification", "shop-order"]);
    assert_eq!(world.names::<Service>().await, ["shop-inventory", "shop-order"]);

    world.roll_out().await;

    world.reason("AllReady").await;
    let status = world.status().await;
    let summary = status.summary.unwrap();
    assert_eq!((summary.topics.as_str(), summary.services.as_str()), ("12/12", "3/3"));
    for kind in [
        ConditionType::TopicsReady,
        ConditionType::AccessReady,
        ConditionType::DatabaseReady,
        ConditionType::WorkloadsReady,
    ] {
        assert!(is_true(&status.conditions, kind), "{kind:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transitions_are_told_by_events() {
    let world = World::new().await;

    world.ready().await;

    let reasons = eventually("events", || async {
        let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
        let about_us = events.iter().filter(|event| {
            event.regarding.as_ref().and_then(|object| object.kind.as_deref()) == Some("OrderPipeline")
        });
        let reasons: Vec<String> = about_us.filter_map(|event| event.reason.clone()).collect();
        if reasons.iter().any(|reason| reason == "AllReady") {
            Ok(reasons)
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await;
    for reason in ["DatabasePending", "ServicesStarting"] {
        assert!(reasons.iter().any(|told| told == reason), "{reason} in {reasons:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_spec_makes_no_writes() {
    let world = World::new().await;
    world.ready().await;
    let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
    // Passes that the last status write has woken are over when this one is.
    reconcile(&pipeline, world.ctx(), &nobody()).await.unwrap();
    let (versions, writes) = (world.versions().await, world.ctx().metrics.writes());

    for _ in 0..3 {
        reconcile(&pipeline, world.ctx(), &nobody()).await.unwrap();
    }

    assert_eq!(world.versions().await, versions);
    assert_eq!(world.ctx().metrics.writes(), writes);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_goes_and_is_not_run_again() {
    let world = World::new().await;
    world.ready().await;

    // Any change makes a pass.
    world.change(json!({"services": {"order": {"replicas": 2}}})).await;
    world.reason("ServicesStarting").await;

    assert!(world.names::<Job>().await.is_empty());
    assert!(is_true(&world.status().await.conditions, ConditionType::DatabaseReady));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_stay_the_same_across_changes_and_restarts() {
    let mut world = World::new().await;
    world.ready().await;
    let url = world.database_url("order").await;

    world.change(json!({"services": {"order": {"replicas": 2}}})).await;
    world.reason("ServicesStarting").await;
    world.restart_operator().await;
    world.change(json!({"services": {"order": {"replicas": 3}}})).await;
    eventually("the new operator's change", || async {
        let deployment: Deployment = world.api().get("shop-order").await.unwrap();
        match deployment.spec.unwrap().replicas {
            Some(3) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    assert_eq!(world.database_url("order").await, url);
    assert_ne!(world.database_url("inventory").await, url);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_pipeline_retains_its_topics() {
    let world = World::new().await;
    world.ready().await;

    let owned: KafkaTopic = world.api().get("shop-orders.created").await.unwrap();
    let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
    assert_eq!(owned.owner_references()[0].uid, pipeline.uid().unwrap(), "the garbage collector finds it");
    world.api::<OrderPipeline>().delete("shop", &DeleteParams::default()).await.unwrap();
    eventually("the pipeline is gone, nothing holds it", || async {
        match world.api::<OrderPipeline>().get_opt("shop").await.unwrap() {
            None => Ok(()),
            Some(found) => Err(format!("{:?}", found.metadata)),
        }
    })
    .await;
    world.collect_garbage().await;

    assert!(world.kafka_has("orders.created").await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_gone_before_it_has_its_finalizer_gets_nothing() {
    let world = access::world().await;
    // As a pass has it that began before the pipeline was deleted.
    let mut gone = world.pipeline(access::scram());
    gone.metadata.namespace = Some(world.namespace.clone());
    gone.metadata.uid = Some("gone".to_owned());

    reconcile(&gone, world.ctx(), &nobody()).await.unwrap();

    assert!(world.names::<KafkaTopic>().await.is_empty() && world.names::<Secret>().await.is_empty());
    world.end().await;
}
