//! What stands beside a service's pods: budgets, policies, autoscalers.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::world::{World, eventually};

async fn replicas(world: &World) -> i32 {
    let deployment: Deployment = world.api().get("shop-order").await.unwrap();
    deployment.spec.unwrap().replicas.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_several_pods_has_a_disruption_budget() {
    let world = World::new().await;
    world.ready().await;
    assert!(world.names::<PodDisruptionBudget>().await.is_empty(), "one pod each");

    world.change(json!({"services": {"order": {"replicas": 2}}})).await;
    world.reason("ServicesStarting").await;

    assert_eq!(world.names::<PodDisruptionBudget>().await, ["shop-order"]);

    world.change(json!({"services": {"order": {"replicas": 1}}})).await;

    eventually("the budget is gone", || async {
        let left = world.names::<PodDisruptionBudget>().await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_services_containers_are_parted_and_joined_again() {
    let world = World::new().await;
    world.ready().await;
    let containers = async || {
        let deployment: Deployment = world.api().get("shop-order").await.unwrap();
        let pod = deployment.spec.unwrap().template.spec.unwrap();
        pod.containers.into_iter().map(|container| container.name).collect::<Vec<_>>()
    };
    let ports = async || {
        let service: k8s_openapi::api::core::v1::Service = world.api().get("shop-order").await.unwrap();
        service.spec.unwrap().ports.unwrap().into_iter().map(|port| port.port).collect::<Vec<_>>()
    };

    world.change(json!({"services": {"order": {"containers": "Apart"}}})).await;
    world.reason("ServicesStarting").await;

    assert_eq!(containers().await, ["api", "events"]);
    assert_eq!(ports().await, [8080, 9090, 9091]);

    world.change(json!({"services": {"order": {"containers": null}}})).await;

    eventually("one container again", || async {
        let found = (containers().await, ports().await);
        if found == (vec!["order".to_owned()], vec![8080, 9090]) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_policy_that_somebody_deleted_comes_back() {
    let world = World::new().await;
    world.ready().await;

    world.api::<NetworkPolicy>().delete("shop-order", &DeleteParams::default()).await.unwrap();

    eventually("the policy is there again", || async {
        let found = world.names::<NetworkPolicy>().await;
        if found == ["shop-inventory", "shop-notification", "shop-order"] {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_decides_on_the_pods_until_it_is_taken_away() {
    let world = World::new().await;
    world.ready().await;

    world.change(json!({"services": {"order": {"autoscaling": {"minReplicas": 1, "maxReplicas": 5}}}})).await;
    eventually("the autoscaler", || async {
        let found = world.names::<HorizontalPodAutoscaler>().await;
        if found == ["shop-order"] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    // What the autoscaler's controller does.
    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    world.api::<Deployment>().patch_scale("shop-order", &PatchParams::default(), &scale).await.unwrap();
    world.change(json!({"services": {"order": {"config": {"logLevel": "debug"}}}})).await;
    eventually("the change of the configuration", || async {
        let config: k8s_openapi::api::core::v1::ConfigMap = world.api().get("shop-order").await.unwrap();
        let level = config.data.unwrap()["LOG_LEVEL"].clone();
        if level == "debug" { Ok(()) } else { Err(level) }
    })
    .await;
    world.reason("ServicesStarting").await;
    world.roll_out().await;
    world.reason("AllReady").await;
    assert_eq!(replicas(&world).await, 4, "the operator leaves the autoscaler's number alone");

    world.change(json!({"services": {"order": {"autoscaling": null}}})).await;

    eventually("the number of the spec", || async {
        match replicas(&world).await {
            1 => Ok(()),
            other => Err(format!("{other}")),
        }
    })
    .await;
    eventually("the autoscaler is gone", || async {
        let left = world.names::<HorizontalPodAutoscaler>().await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    world.end().await;
}
