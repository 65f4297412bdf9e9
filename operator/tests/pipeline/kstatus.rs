//! What Flux, Argo CD and others make of a pipeline through its life, by the library that they use.

use operator::crd::OrderPipeline;
use serde_json::{Value, json};

use crate::kstatus_library::computed;
use crate::world::{ADMIN_URL, World};

async fn object(world: &World) -> Value {
    let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
    serde_json::to_value(pipeline).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_a_pipeline_is_understood_as_it_is_meant() {
    let world = World::without_secrets().await;
    let mut states = vec![(serde_json::to_value(world.create(json!({})).await).unwrap(), "InProgress")];
    world.reason("SecretNotFound").await;
    states.push((object(&world).await, "InProgress"));
    world.put_secret("postgres-admin", &[("url", ADMIN_URL)]).await;
    world.reason("DatabasePending").await;
    states.push((object(&world).await, "InProgress"));
    world.finish_job("Complete").await;
    world.reason("ServicesStarting").await;
    world.roll_out().await;
    world.reason("AllReady").await;
    states.push((object(&world).await, "Current"));

    // Not looked at yet.
    let changed = world.change(json!({"suspend": true})).await;
    states.push((serde_json::to_value(changed).unwrap(), "InProgress"));
    world.reason("Suspended").await;
    states.push((object(&world).await, "InProgress"));
    let misspelt = json!({"inventory": {"config": {"initialStok": "pizza=7"}}});
    world.change(json!({"suspend": false, "services": misspelt})).await;
    world.reason("InvalidSpec").await;
    states.push((object(&world).await, "Failed"));
    let mut deleted = object(&world).await;
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    states.push((deleted, "Terminating"));

    let (objects, expected): (Vec<Value>, Vec<&str>) = states.into_iter().unzip();
    assert_eq!(computed(&objects), expected, "{objects:#?}");
    world.end().await;
}
