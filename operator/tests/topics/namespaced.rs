//! The operator with the rights of `manifests/namespaced`: those of the installation for a cluster, in one namespace.

use serde_json::json;

use super::grants::grant_in;
use super::process::{Operator, free_address, get, kubeconfig_of};
use super::world::{NAME, World, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_in_one_namespace_are_enough_for_it() {
    let mut world = World::new().await;
    world.stop().await;
    grant_in(&world.client, &world.namespace).await;
    let account = format!("system:serviceaccount:{}:operator", world.namespace);
    let (kubeconfig, address) = (kubeconfig_of(&account), free_address());
    let environment = [("LEASE_NAMESPACE", world.namespace.clone())];
    let mut operator = Operator::start_with(kubeconfig.path(), &world.namespace, address, &environment);

    // Every watch has listed, those of pipelines and of what they own among them.
    eventually("ready", || std::future::ready(get(address, "/readyz"))).await;
    world.create(json!({"deletionPolicy": "Delete"})).await;
    world.ready().await;
    world.in_kafka(true).await;
    world.event(NAME, "TopicCreated").await;
    world.delete(NAME).await;
    world.gone(NAME).await;
    world.in_kafka(false).await;

    assert!(operator.end().await.success());
    assert!(!operator.log().to_lowercase().contains("forbidden"), "{}", operator.log());
}
