//! What a change of the spec changes, and what it leaves alone.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::ResourceExt;
use kube::api::ListParams;
use operator::crd::KafkaTopic;
use serde_json::json;

use crate::world::{World, eventually};

/// Each Deployment's annotation that decides whether its pods roll.
async fn hashes(world: &World) -> BTreeMap<String, String> {
    let deployments = world.api::<Deployment>().list(&ListParams::default()).await.unwrap();
    let hash = |deployment: Deployment| {
        let annotations = deployment.spec.clone().unwrap().template.metadata.unwrap().annotations.unwrap();
        (deployment.name_any(), annotations["orderpipeline.dev/config-hash"].clone())
    };
    deployments.into_iter().map(hash).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_service_leaves_nothing_but_its_topics_in_kafka() {
    let world = World::new().await;
    world.ready().await;

    world.change(json!({"services": {"notification": {"enabled": false}}})).await;

    world.reason("DatabasePending").await;
    assert_eq!(world.names::<Deployment>().await, ["shop-inventory", "shop-order"]);
    assert_eq!(world.names::<ServiceAccount>().await, ["shop-inventory", "shop-order"]);
    assert_eq!(world.names::<ConfigMap>().await, ["shop-inventory", "shop-order"]);
    assert_eq!(world.names::<Secret>().await, ["shop-inventory", "shop-order"]);
    assert_eq!(world.names::<KafkaTopic>().await.len(), 11);
    assert!(world.kafka_has("notification.dlt").await);
    world.finish_job("Complete").await;
    world.reason("AllReady").await;
    assert_eq!(world.status().await.summary.unwrap().services, "2/2");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_setting_rolls_only_the_pods_that_read_it() {
    let world = World::new().await;
    world.ready().await;
    let before = hashes(&world).await;

    world.change(json!({"services": {"inventory": {"config": {"initialStock": "pizza=7"}}}})).await;
    world.reason("ServicesStarting").await;

    let config: ConfigMap = world.api().get("shop-inventory").await.unwrap();
    assert_eq!(config.data.unwrap()["INVENTORY_INITIAL_STOCK"], "pizza=7");
    let after = hashes(&world).await;
    let rolled: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(rolled, ["shop-inventory"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_changed_is_put_right() {
    let world = World::new().await;
    world.ready().await;

    let patch = kube::api::Patch::Merge(json!({"spec": {"replicas": 0}}));
    let params = kube::api::PatchParams::default();
    world.api::<Deployment>().patch("shop-order", &params, &patch).await.unwrap();

    eventually("the Deployment is as planned again", || async {
        let deployment: Deployment = world.api().get("shop-order").await.unwrap();
        match deployment.spec.unwrap().replicas {
            Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_pipeline_is_left_alone() {
    let world = World::new().await;
    world.ready().await;
    // The one exception is that its topics are suspended, and say so.
    let of_the_exception = |write: &String| {
        write.contains("KafkaTopic") && (write.contains("\"hold\"") || write.contains("\"status\""))
    };
    let writes =
        || world.writes().into_iter().filter(|write| !of_the_exception(write)).collect::<Vec<String>>();
    let before = writes();

    world.change(json!({"suspend": true, "services": {"order": {"replicas": 4}}})).await;

    world.reason("Suspended").await;
    let deployment: Deployment = world.api().get("shop-order").await.unwrap();
    assert_eq!(deployment.spec.unwrap().replicas, Some(1));
    assert_eq!(writes(), before);

    world.change(json!({"suspend": false})).await;

    world.reason("ServicesStarting").await;
    let deployment: Deployment = world.api().get("shop-order").await.unwrap();
    assert_eq!(deployment.spec.unwrap().replicas, Some(4));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_admin_address_prepares_the_databases_anew() {
    let world = World::new().await;
    world.ready().await;
    let before = world.status().await.database.unwrap().prepared_by;

    world.put_secret("postgres-admin", &[("url", "postgres://admin:new@other.example:5432/postgres")]).await;

    world.reason("DatabasePending").await;
    let after = world.names::<Job>().await;
    assert_eq!(after.len(), 1);
    assert_ne!(after[0], before);
    assert!(world.database_url("order").await.contains("@other.example:5432/"));
    world.end().await;
}
