//! Who decides on the pods of a service, with and without KEDA: its definitions are its own, what it would do the tests
//! do. Served or not, they are so for the whole apiserver: one test at a time.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kafka_admin::{Admin, KafkaAdmin, TopicName, TopicPartition};
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use operator::build::scaled_object::ScaledObject;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::access::{self, login_of, scram};
use crate::world::{World, eventually};

static KEDA: Mutex<()> = Mutex::const_new(());
/// The finalizer of KEDA's operator.
const FINALIZER: &str = "finalizer.keda.sh";

async fn definitions() -> Vec<CustomResourceDefinition> {
    let texts = tokio::task::spawn_blocking(|| devcluster::keda::crds().unwrap()).await.unwrap();
    texts.iter().map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

async fn install_keda(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in definitions().await {
        let params = PatchParams::apply("test").force();
        api.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await.unwrap();
    }
    for kind in ["ScaledObject", "TriggerAuthentication"] {
        eventually("KEDA's kinds are served", || async {
            let list = keda(client, "default", kind).list(&Default::default()).await;
            list.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
}

async fn remove_keda(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in definitions().await {
        // It may not be there.
        let _ = api.delete(&crd.name_any(), &DeleteParams::default()).await;
    }
    for kind in ["ScaledObject", "TriggerAuthentication"] {
        eventually("KEDA's kinds are gone", || async {
            match keda(client, "default", kind).list(&Default::default()).await {
                Err(kube::Error::Api(refusal)) if refusal.code == 404 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

fn keda(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// A pipeline whose order service may be 100 events behind, as far as it is Ready.
async fn ready(world: &World, change: Value) -> String {
    let lag = json!({"autoscaling": {"minReplicas": 1, "maxReplicas": 5, "targetLag": 100}});
    let mut spec = change;
    spec["spec"]["services"] = json!({ "order": lag });
    world.create(spec).await;
    world.reason("DatabasePending").await;
    world.finish_job("Complete").await;
    world.reason("ServicesStarting").await;
    world.roll_out().await;
    world.reason("AllReady").await
}

/// Waits until a pipeline that is Ready says so: the status is written after the objects.
async fn told(world: &World, expected: impl Fn(&str) -> bool) {
    eventually("the message", || async {
        let message = world.reason("AllReady").await;
        if expected(&message) { Ok(()) } else { Err(message) }
    })
    .await;
}

/// Names of the autoscalers: Kubernetes' own, and KEDA's.
async fn autoscalers(world: &World) -> (Vec<String>, Vec<String>) {
    (world.names::<HorizontalPodAutoscaler>().await, world.names::<ScaledObject>().await)
}

async fn scaled_by_keda(world: &World) {
    eventually("the ScaledObject", || async {
        match autoscalers(world).await {
            (cpu, lag) if cpu.is_empty() && lag == ["shop-order"] => Ok(()),
            (cpu, lag) if cpu.is_empty() || lag.is_empty() => Err(format!("{cpu:?} {lag:?}")),
            both => panic!("two autoscalers at once: {both:?}"),
        }
    })
    .await;
}

async fn scaled_by_cpu(world: &World) {
    world.names_become::<HorizontalPodAutoscaler>(&["shop-order"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keda_decides_on_the_pods_for_as_long_as_it_is_there() {
    let _turn = KEDA.lock().await;
    let world = World::new().await;
    remove_keda(&world.client).await;
    let without = ready(&world, json!({})).await;
    scaled_by_cpu(&world).await;

    install_keda(&world.client).await;
    world.look().await;
    scaled_by_keda(&world).await;
    told(&world, |message| !message.contains("by CPU alone")).await;
    // What KEDA's autoscaler does.
    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    world.api::<Deployment>().patch_scale("shop-order", &PatchParams::default(), &scale).await.unwrap();
    // The operator has seen it: three more pods are to start.
    world.reason("ServicesStarting").await;
    world.change(json!({"services": {"order": {"config": {"logLevel": "debug"}}}})).await;
    world.reason("ServicesStarting").await;
    world.roll_out().await;
    world.reason("AllReady").await;
    let order: Deployment = world.api().get("shop-order").await.unwrap();
    remove_keda(&world.client).await;
    world.look().await;
    scaled_by_cpu(&world).await;

    assert!(without.contains("by CPU alone") && without.contains("shop-order"), "{without}");
    assert_eq!(order.spec.unwrap().replicas, Some(4), "the operator leaves KEDA's number alone");
    told(&world, |message| message == without).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keda_lets_its_object_go_before_the_next_autoscaler_comes() {
    let _turn = KEDA.lock().await;
    let world = World::new().await;
    install_keda(&world.client).await;
    ready(&world, json!({})).await;
    scaled_by_keda(&world).await;
    let scaled = keda(&world.client, &world.namespace, "ScaledObject");
    let finalizers = |names: &[&str]| Patch::Merge(json!({"metadata": {"finalizers": names}}));
    scaled.patch("shop-order", &PatchParams::default(), &finalizers(&[FINALIZER])).await.unwrap();

    world.change(json!({"services": {"order": {"autoscaling": {"targetLag": null}}}})).await;
    let told = world.reason("AutoscalerChanging").await;
    let meanwhile = autoscalers(&world).await;
    scaled.patch("shop-order", &PatchParams::default(), &finalizers(&[])).await.unwrap();
    scaled_by_cpu(&world).await;
    world.reason("AllReady").await;

    assert_eq!(told, "HorizontalPodAutoscaler shop-order is made when ScaledObject shop-order is gone");
    assert_eq!(meanwhile, (Vec::new(), vec!["shop-order".to_owned()]));
    assert!(world.names::<ScaledObject>().await.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keda_is_told_what_its_kinds_can_hold_and_a_second_look_writes_nothing() {
    let _turn = KEDA.lock().await;
    let world = access::world().await;
    install_keda(&world.client).await;
    ready(&world, scram()).await;
    scaled_by_keda(&world).await;
    let scaled = keda(&world.client, &world.namespace, "ScaledObject").get("shop-order").await.unwrap();
    let authentication = keda(&world.client, &world.namespace, "TriggerAuthentication");
    let authentication = authentication.get("shop-order").await.unwrap();
    let writes = world.writes();

    world.look().await;
    world.change(json!({"services": {"order": {"autoscaling": {"maxReplicas": 6}}}})).await;
    eventually("the change", || async {
        let scaled = keda(&world.client, &world.namespace, "ScaledObject").get("shop-order").await.unwrap();
        let most = scaled.data["spec"]["maxReplicaCount"].clone();
        if most == 6 { Ok(()) } else { Err(most.to_string()) }
    })
    .await;

    // The apiserver drops what the definitions do not know.
    let spec = &scaled.data["spec"];
    assert_eq!(spec["scaleTargetRef"]["name"], "shop-order");
    assert_eq!((&spec["minReplicaCount"], &spec["maxReplicaCount"]), (&json!(1), &json!(5)));
    let advanced = json!({
        "horizontalPodAutoscalerConfig": {
            "name": "keda-shop-order", "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}}
        },
        "scalingModifiers": {
            "formula": "inventory_reserved + inventory_failed + inventory_released + notifications_sent",
            "target": "100"
        },
    });
    assert_eq!(spec["advanced"], advanced);
    assert_eq!(spec["triggers"][0]["authenticationRef"], json!({"name": "shop-order"}));
    assert_eq!(spec["triggers"][0]["metadata"]["sasl"], "scram_sha512");
    let cpu = json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}});
    assert_eq!(spec["triggers"][4], cpu);
    let reference =
        |parameter: &str, key: &str| json!({"parameter": parameter, "name": "shop-order", "key": key});
    assert_eq!(
        authentication.data["spec"]["secretTargetRef"],
        json!([reference("username", "KAFKA_USERNAME"), reference("password", "KAFKA_PASSWORD")])
    );
    let since: Vec<String> = world.writes().into_iter().filter(|write| !writes.contains(write)).collect();
    assert!(matches!(since.as_slice(), [one] if one.contains("ScaledObject")), "one write: {since:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_a_service_are_enough_to_see_how_far_behind_it_is() {
    let _turn = KEDA.lock().await;
    let world = access::world().await;
    install_keda(&world.client).await;
    ready(&world, scram()).await;
    scaled_by_keda(&world).await;
    let scaled = keda(&world.client, &world.namespace, "ScaledObject").get("shop-order").await.unwrap();
    let asked: Vec<&Value> = scaled.data["spec"]["triggers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trigger| &trigger["metadata"])
        .collect();
    let topics: Vec<TopicName> = asked
        .iter()
        .filter_map(|it| it["topic"].as_str())
        .map(|name| TopicName::new(name).unwrap())
        .collect();
    let group = asked[0]["consumerGroup"].as_str().unwrap().to_owned();

    // KEDA's questions, as the user that it is told to be.
    let as_service = KafkaAdmin::connect(&login_of(&world, "order").await).unwrap();
    let described = as_service.describe_topics(&topics).await;
    // The broker may have the group's coordinator still to load.
    eventually("the group's offsets", || async {
        let offsets = as_service.group_offsets(std::slice::from_ref(&group)).await;
        if offsets.iter().all(Result::is_ok) { Ok(()) } else { Err(format!("{offsets:?}")) }
    })
    .await;
    let partitions: Vec<TopicPartition> =
        topics.iter().map(|topic| TopicPartition { topic: topic.clone(), partition: 0 }).collect();
    let ends = as_service.end_offsets(&partitions).await;

    assert_eq!(topics.len(), 4);
    assert!(described.iter().all(Result::is_ok), "{described:?}");
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    world.end().await;
}
