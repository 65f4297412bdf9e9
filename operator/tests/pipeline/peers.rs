//! Two pipelines on one Kafka cluster.

use devcluster::testing::kafka;
use kube::api::{DeleteParams, ListParams};
use operator::crd::conditions::{ConditionType, is_true};
use operator::crd::{KafkaTopic, OrderPipeline};
use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pipelines_with_one_prefix_the_younger_says_so_and_waits() {
    let world = World::new().await;
    world.ready().await;

    world.create(json!({"metadata": {"name": "shop2"}})).await;

    let message = world.reason_of("shop2", "PrefixTaken").await;
    assert!(message.contains(&format!("OrderPipeline {}/shop ", world.namespace)), "{message}");
    let younger: OrderPipeline = world.api().get("shop2").await.unwrap();
    assert!(is_true(&younger.status.unwrap().conditions, ConditionType::Stalled));
    let labels = ListParams::default().labels("app.kubernetes.io/instance=shop2");
    assert!(world.api::<KafkaTopic>().list(&labels).await.unwrap().items.is_empty());
    world.reason("AllReady").await;

    world.api::<OrderPipeline>().delete("shop", &DeleteParams::default()).await.unwrap();
    world.collect_garbage().await;

    world.reason_of("shop2", "DatabasePending").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_with_different_prefixes_are_neighbours() {
    let world = World::new().await;
    world.create(json!({})).await;
    let prefix = format!("other.{}", world.prefix);

    world.create(json!({"metadata": {"name": "shop2"}, "spec": {"topics": {"prefix": prefix}}})).await;

    world.reason_of("shop", "DatabasePending").await;
    world.reason_of("shop2", "DatabasePending").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cluster_has_one_pipeline_of_a_prefix_whatever_its_addresses() {
    let world = World::new().await;
    world.ready().await;
    let another_address = format!("{0},{0}", kafka().bootstrap());
    let kafka = json!({"bootstrap": {"servers": another_address}});

    world.create(json!({"metadata": {"name": "shop2"}, "spec": {"kafka": kafka}})).await;

    let message = world.reason_of("shop2", "PrefixTaken").await;
    assert!(message.contains(&format!("OrderPipeline {}/shop ", world.namespace)), "{message}");
    let labels = ListParams::default().labels("app.kubernetes.io/instance=shop2");
    assert!(world.api::<KafkaTopic>().list(&labels).await.unwrap().items.is_empty());
    world.reason("AllReady").await;
    world.end().await;
}
