//! Whatever was wanted of a pipeline before: what counts is the last spec.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use operator::crd::{KafkaTopic, OrderPipeline};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::{World, eventually};

const HISTORIES: u64 = 4;
const STEPS: usize = 8;
/// The saga's only step stands, and so the services that it needs.
const OPTIONAL: [&str; 3] = ["notification", "payment", "order-analytics"];

/// A change of the spec, at random. What may only grow is left alone.
fn step(random: &mut StdRng) -> Value {
    let service = OPTIONAL[random.random_range(0..OPTIONAL.len())];
    let level = ["info", "debug"][random.random_range(0..2)];
    match random.random_range(0..7) {
        0 => json!({"services": {service: {"enabled": false}}}),
        1 => json!({"services": {service: {"enabled": true}}}),
        2 => json!({"services": {"order": {"replicas": random.random_range(1..4), "autoscaling": null}}}),
        3 => {
            json!({"services": {"order": {"replicas": null, "autoscaling": {"maxReplicas": random.random_range(2..5)}}}})
        }
        4 => {
            json!({"services": {"inventory": {"config": {"logLevel": level}}}})
        }
        5 => json!({"topics": {"retention": format!("{}d", random.random_range(1..9))}}),
        _ => json!({"suspend": random.random_bool(0.5)}),
    }
}

/// Plays the controllers of Jobs and Deployments until the pipeline is Ready.
async fn settled(world: &World) {
    eventually("the pipeline is ready", || async {
        play(world).await;
        let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
        let status = pipeline.status.unwrap_or_default();
        let current = Some(status.observed_generation) == pipeline.metadata.generation;
        let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        if current && ready { Ok(()) } else { Err(format!("{:?}", status.conditions)) }
    })
    .await;
}

async fn play(world: &World) {
    for job in world.names::<Job>().await {
        world.end_job(&job, "Complete").await;
    }
    world.roll_out().await;
}

/// What belongs to the pipeline, by kind and name: what was asked for, and nothing that the apiserver adds.
async fn objects(world: &World) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    add::<KafkaTopic>(world, &mut all).await;
    add::<Secret>(world, &mut all).await;
    add::<ServiceAccount>(world, &mut all).await;
    add::<ConfigMap>(world, &mut all).await;
    add::<Deployment>(world, &mut all).await;
    add::<Service>(world, &mut all).await;
    add::<NetworkPolicy>(world, &mut all).await;
    add::<PodDisruptionBudget>(world, &mut all).await;
    add::<HorizontalPodAutoscaler>(world, &mut all).await;
    // Where an autoscaler decides on the pods, there may be as many as there were before.
    let scaled: Vec<String> = all
        .keys()
        .filter_map(|key| key.strip_prefix("HorizontalPodAutoscaler "))
        .map(str::to_owned)
        .collect();
    for name in scaled {
        let deployment = all.get_mut(&format!("Deployment {name}")).unwrap();
        deployment["spec"].as_object_mut().unwrap().remove("replicas");
    }
    all
}

async fn add<K>(world: &World, all: &mut BTreeMap<String, Value>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Serialize,
{
    let ours = ListParams::default().labels("app.kubernetes.io/instance=shop");
    for object in world.api::<K>().list(&ours).await.unwrap() {
        let labels = object.labels().keys().cloned().collect::<Vec<_>>();
        let mut value = serde_json::to_value(&object).unwrap();
        // Random passwords, and what is made of them.
        if let Some(data) = value.get_mut("data").filter(|_| K::kind(&()) == "Secret") {
            *data = json!(data.as_object().unwrap().keys().collect::<Vec<_>>());
        }
        if let Some(pod) = value.pointer_mut("/spec/template/metadata/annotations") {
            pod.as_object_mut().unwrap().remove(operator::build::deployment::CONFIG_HASH);
        }
        // Given by the apiserver.
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove(field);
            }
        }
        let told = json!({"labels": labels, "spec": value.get("spec"), "data": value.get("data")});
        let told = told.to_string().replace(&world.namespace, "NAMESPACE");
        all.insert(format!("{} {}", K::kind(&()), object.name_any()), serde_json::from_str(&told).unwrap());
    }
}

async fn live(seed: u64) {
    let (world, mut random) = (World::new().await, StdRng::seed_from_u64(seed));
    // A service that comes back finds the topics that it left, as they were then.
    world.create(json!({"spec": {"topics": {"adoptionPolicy": "Adopt"}}})).await;
    for _ in 0..STEPS {
        world.change(step(&mut random)).await;
        if random.random_bool(0.5) {
            play(&world).await;
            // Some changes meet the operator at work, others find it done.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        }
    }
    let last = world.change(json!({"suspend": false})).await;
    settled(&world).await;
    let found = objects(&world).await;

    let fresh = World::new().await;
    let mut spec = serde_json::to_value(&last.spec).unwrap();
    spec["topics"]["prefix"] = json!(fresh.prefix);
    fresh.create(json!({ "spec": spec })).await;
    settled(&fresh).await;

    assert_eq!(found, objects(&fresh).await, "history {seed}");
    fresh.end().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_of_a_pipeline_ends_in_its_last_spec() {
    futures::future::join_all((0..HISTORIES).map(live)).await;
}
