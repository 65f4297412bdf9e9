//! How callers from outside reach the APIs: Ingresses, and HTTPRoutes by the Gateway API's own definition. Served or
//! not, HTTPRoutes are so for the whole apiserver: one test at a time.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use operator::build::http_route::HTTPRoute;
use operator::crd::conditions::{self, ConditionType};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::world::{World, eventually};

static GATEWAY_API: Mutex<()> = Mutex::const_new(());

async fn definition() -> CustomResourceDefinition {
    let text = tokio::task::spawn_blocking(|| devcluster::gateway_api::crd().unwrap()).await.unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

async fn served(client: &Client) -> Result<(), kube::Error> {
    Api::<HTTPRoute>::all(client.clone()).list(&ListParams::default()).await.map(drop)
}

async fn install(client: &Client) {
    let (crd, api) = (definition().await, Api::<CustomResourceDefinition>::all(client.clone()));
    let params = PatchParams::apply("test").force();
    api.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await.unwrap();
    eventually("HTTPRoutes are served", || async { served(client).await.map_err(|error| error.to_string()) })
        .await;
}

async fn remove(client: &Client) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    // It may not be there.
    let _ = api.delete(&definition().await.name_any(), &DeleteParams::default()).await;
    eventually("HTTPRoutes are not served", || async {
        match served(client).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn by_ingress() -> Value {
    json!({"hosts": ["orders.example"], "ingress": {"className": "internal", "tlsSecretName": "orders-tls"}})
}

fn by_gateway() -> Value {
    json!({"hosts": ["orders.example"], "httpRoute": {"parentRefs": [{"name": "public"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_is_made_repaired_and_taken_away_with_its_service() {
    let world = World::new().await;
    world.ready().await;
    assert!(world.names::<Ingress>().await.is_empty());

    world.change(json!({"gateway": {"route": by_ingress()}})).await;
    world.names_become::<Ingress>(&["shop-order"]).await;
    let ingress: Ingress = world.api().get("shop-order").await.unwrap();
    world.api::<Ingress>().delete("shop-order", &DeleteParams::default()).await.unwrap();
    world.names_become::<Ingress>(&["shop-order"]).await;
    let more = json!({"services": ["order", "inventory"]});
    world.change(json!({"gateway": {"route": more}})).await;
    world.names_become::<Ingress>(&["shop-inventory", "shop-order"]).await;
    world.reason("AllReady").await;
    world.change(json!({"gateway": null})).await;
    world.names_become::<Ingress>(&[]).await;

    let spec = serde_json::to_value(ingress.spec.unwrap()).unwrap();
    let path = |path: &str| {
        json!({"path": path, "pathType": "Prefix",
               "backend": {"service": {"name": "shop-order", "port": {"name": "http"}}}})
    };
    assert_eq!(
        spec,
        json!({
            "ingressClassName": "internal",
            "tls": [{"hosts": ["orders.example"], "secretName": "orders-tls"}],
            "rules": [{"host": "orders.example",
                       "http": {"paths": [path("/api/v1/orders"), path("/api/orders")]}}]
        })
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_routes_come_with_the_gateway_api_and_go_with_the_spec() {
    let _turn = GATEWAY_API.lock().await;
    let world = World::new().await;
    remove(&world.client).await;
    world.ready().await;

    world.change(json!({"gateway": {"route": by_gateway()}})).await;
    let missing = world.reason("GatewayApiMissing").await;
    install(&world.client).await;
    world.look().await;
    world.names_become::<HTTPRoute>(&["shop-order"]).await;
    world.reason("AllReady").await;
    let before: HTTPRoute = world.api().get("shop-order").await.unwrap();
    world.look().await;
    world.change(json!({"gateway": {"route": {"hosts": ["orders.example", "shop.example"]}}})).await;
    eventually("the second host", || async {
        let route: HTTPRoute = world.api().get("shop-order").await.unwrap();
        let hosts = route.spec.hostnames;
        if hosts == ["orders.example", "shop.example"] { Ok(()) } else { Err(format!("{hosts:?}")) }
    })
    .await;
    let after: HTTPRoute = world.api().get("shop-order").await.unwrap();
    world.change(json!({"gateway": {"route": {"httpRoute": null, "ingress": {}}}})).await;
    world.names_become::<Ingress>(&["shop-order"]).await;
    world.names_become::<HTTPRoute>(&[]).await;
    world.reason("AllReady").await;

    assert!(missing.contains("shop-order") && missing.contains("install the Gateway API"), "{missing}");
    let written = |route: &HTTPRoute| route.metadata.generation;
    assert_eq!((written(&before), written(&after)), (Some(1), Some(2)), "one write for one change");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_route_of_an_operator_before_is_taken_away_by_the_next() {
    let _turn = GATEWAY_API.lock().await;
    let mut world = World::new().await;
    install(&world.client).await;
    world.ready().await;
    world.change(json!({"gateway": {"route": by_gateway()}})).await;
    world.names_become::<HTTPRoute>(&["shop-order"]).await;
    world.reason("AllReady").await;

    world.stop_operator().await;
    world.change(json!({"gateway": null})).await;
    world.restart_operator().await;

    world.names_become::<HTTPRoute>(&[]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_stays_until_http_routes_can_be_had() {
    let _turn = GATEWAY_API.lock().await;
    let world = World::new().await;
    remove(&world.client).await;
    world.ready().await;
    world.change(json!({"gateway": {"route": by_ingress()}})).await;
    world.names_become::<Ingress>(&["shop-order"]).await;

    world.change(json!({"gateway": {"route": {"ingress": null, "httpRoute": {"parentRefs": [{"name": "public"}]}}}})).await;
    world.reason("GatewayApiMissing").await;
    let meanwhile = world.names::<Ingress>().await;
    install(&world.client).await;
    world.look().await;
    world.names_become::<HTTPRoute>(&["shop-order"]).await;
    world.names_become::<Ingress>(&[]).await;

    assert_eq!(meanwhile, ["shop-order"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_of_somebody_else_is_left_alone_and_holds_nothing_else_up() {
    let world = World::new().await;
    world.ready().await;
    let foreign: Ingress = serde_json::from_value(json!({
        "metadata": {"name": "shop-order"},
        "spec": {"defaultBackend": {"service": {"name": "theirs", "port": {"number": 80}}}}
    }))
    .unwrap();
    let foreign = world.api::<Ingress>().create(&PostParams::default(), &foreign).await.unwrap();

    let change = json!({"gateway": {"route": by_ingress()}, "services": {"order": {"replicas": 2}}});
    world.change(change).await;
    world.reason("ObjectNotOurs").await;
    world.roll_out().await;
    let conditions = eventually("the pods are ready", || async {
        let status = world.status().await;
        let done = conditions::is_true(&status.conditions, ConditionType::WorkloadsReady);
        if done { Ok(status.conditions) } else { Err(format!("{:?}", status.conditions)) }
    })
    .await;
    let theirs = world.api::<Ingress>().get("shop-order").await.unwrap();
    world.api::<Ingress>().delete("shop-order", &DeleteParams::default()).await.unwrap();
    world.look().await;
    world.reason("AllReady").await;

    assert!(conditions::is_true(&conditions, ConditionType::Stalled), "{conditions:?}");
    assert_eq!(theirs.metadata.resource_version, foreign.metadata.resource_version);
    world.names_become::<Ingress>(&["shop-order"]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_planned_before_it_is_made() {
    let _turn = GATEWAY_API.lock().await;
    let world = World::new().await;
    install(&world.client).await;
    world.ready().await;
    world.change(json!({"reconcilePolicy": "Plan", "gateway": {"route": by_gateway()}})).await;

    world.reason("ChangesPending").await;
    let planned = world.status().await.plan;

    assert_eq!(planned, ["create HTTPRoute shop-order"]);
    assert!(world.names::<HTTPRoute>().await.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_tokens_are_taken_reaches_the_pods_and_a_missing_authority_is_told() {
    let world = World::new().await;
    world.ready().await;
    let jwt = json!({"issuer": "https://login.example", "caSecretRef": {"name": "login-ca"}});

    world.change(json!({"gateway": {"jwt": jwt}})).await;
    let missing = world.reason("SecretNotFound").await;
    world.put_secret("login-ca", &[("ca.crt", "-----BEGIN CERTIFICATE-----")]).await;
    world.reason("ServicesStarting").await;
    let told: ConfigMap = world.api().get("shop-order").await.unwrap();

    assert_eq!(
        missing,
        "Secret login-ca, which spec.gateway.jwt.caSecretRef names, does not exist; create it"
    );
    assert_eq!(told.data.unwrap()["JWT_ISSUER"], "https://login.example");
    assert_eq!(world.secret_of("order", "issuer-ca.crt").await, "-----BEGIN CERTIFICATE-----");
    world.end().await;
}
