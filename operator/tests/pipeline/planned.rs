//! `reconcilePolicy: Plan`: what would be done stands in the status, and nothing is done.

use k8s_openapi::api::core::v1::Secret;
use operator::crd::{KafkaTopic, OrderPipeline};
use serde_json::json;

use crate::world::{World, eventually};

/// What stands in `status.plan`, once there is something.
async fn plan(world: &World) -> Vec<String> {
    world.reason("ChangesPending").await;
    world.status().await.plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_only_planned_has_nothing() {
    let world = World::new().await;

    world.create(json!({"spec": {"reconcilePolicy": "Plan"}})).await;
    let told = plan(&world).await;

    for what in
        ["create KafkaTopic shop-orders.created", "create Secret shop-order", "create Deployment shop-order"]
    {
        assert!(told.iter().any(|change| change == what), "{what} is missing in {told:?}");
    }
    assert!(told.contains(&"run a Job that prepares the databases".to_owned()), "{told:?}");
    assert!(world.names::<KafkaTopic>().await.is_empty() && world.names::<Secret>().await.is_empty());
    let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
    assert_eq!(pipeline.metadata.finalizers, None);

    world.change(json!({"reconcilePolicy": "Apply"})).await;
    world.reason("DatabasePending").await;
    assert!(world.status().await.plan.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_by_its_fields_and_waits_until_it_may_be_made() {
    let world = World::new().await;
    world.ready().await;
    world.change(json!({"reconcilePolicy": "Plan"})).await;
    world.reason("AllReady").await;
    let without_pipeline = |mut versions: std::collections::BTreeMap<String, String>| {
        versions.remove("OrderPipeline shop");
        versions
    };
    let before = without_pipeline(world.versions().await);

    world.change(json!({"services": {"order": {"replicas": 2}, "notification": {"enabled": false}}})).await;
    let told = plan(&world).await;

    assert!(told.contains(&"change Deployment shop-order: spec.replicas".to_owned()), "{told:?}");
    assert!(told.contains(&"create PodDisruptionBudget shop-order".to_owned()), "{told:?}");
    assert!(told.contains(&"remove Deployment shop-notification".to_owned()), "{told:?}");
    assert_eq!(without_pipeline(world.versions().await), before);

    world.change(json!({"services": {"order": {"replicas": null}, "notification": {"enabled": true}}})).await;
    eventually("nothing is left to plan", || async {
        world.reason("AllReady").await;
        let plan = world.status().await.plan;
        if plan.is_empty() { Ok(()) } else { Err(format!("{plan:?}")) }
    })
    .await;
    world.end().await;
}
