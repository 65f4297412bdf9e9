//! Passwords stay where they were put: nothing that the operator says holds one.

use std::path::PathBuf;

use devcluster::testing::{apiserver, kafka};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use operator::crd::OrderPipeline;
use operator::crd::conditions::{self, ConditionType};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::process::{Operator, free_address, get};
use super::world::{World, eventually};

const WRONG: &str = "hunter2-this-is-no-password-of-the-broker";

fn with_credentials(secret: &str) -> Value {
    let credentials = json!({"secretName": secret});
    let security = json!({"protocol": "SASL_PLAINTEXT", "credentials": credentials});
    json!({"bootstrap": {"servers": kafka().sasl_bootstrap(), "security": security}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_event_status_or_metric_holds_a_password() {
    let mut world = World::new().await;
    world.stop().await;
    let broker = kafka();
    world
        .put_secret("right", &[("username", broker.admin_user()), ("password", broker.admin_password())])
        .await;
    world.put_secret("wrong", &[("username", broker.admin_user()), ("password", WRONG)]).await;
    world.create_named("right", json!({"kafka": with_credentials("right"), "partitions": 1})).await;
    let other = format!("{}.other", world.topic);
    world.create_named("wrong", json!({"kafka": with_credentials("wrong"), "topicName": other})).await;

    let kubeconfig: PathBuf = apiserver().kubeconfig().to_owned();
    let address = free_address();
    // As much as it can say.
    let environment = [("LOG_LEVEL", "trace".to_owned()), ("KAFKA_TIMEOUT_SECONDS", "3".to_owned())];
    let mut operator = Operator::start_with(&kubeconfig, &world.namespace, address, &environment);
    world.reason("right", "Synced").await;
    eventually("the wrong password is noticed", || async {
        let status = world.get("wrong").await.status.unwrap_or_default();
        if status.conditions.is_empty() { Err("no condition".to_owned()) } else { Ok(()) }
    })
    .await;
    let metrics = get(address, "/metrics").unwrap();
    assert!(operator.end().await.success());

    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    let events = serde_json::to_string(&events.list(&ListParams::default()).await.unwrap().items).unwrap();
    let objects = world.api().list(&ListParams::default()).await.unwrap();
    let objects = serde_json::to_string(&objects.items).unwrap();
    let log = operator.log();
    assert!(log.contains("TRACE"), "it says less than it could");
    for (place, text) in [("log", &log), ("events", &events), ("objects", &objects), ("metrics", &metrics)] {
        for password in [WRONG, broker.admin_password()] {
            assert!(!text.contains(password), "a password stands in the {place}");
        }
    }
}

/// All objects of a kind, as text.
async fn text<K>(world: &World) -> String
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(world.client.clone(), &world.namespace);
    serde_json::to_string(&api.list(&ListParams::default()).await.unwrap().items).unwrap()
}

/// What the services of the pipeline `shop` log in with, to Kafka and to their databases.
async fn generated(world: &World) -> Vec<String> {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/instance=shop");
    let mut passwords = Vec::new();
    for secret in secrets.list(&ours).await.unwrap() {
        let data = secret.data.unwrap();
        let value = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        passwords.push(value("KAFKA_PASSWORD"));
        let url: Url = value("DATABASE_URL").parse().unwrap();
        passwords.push(url.password().unwrap().to_owned());
    }
    passwords
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_services_log_in_with_stands_in_their_secrets_alone() {
    const OF_THE_DATABASE: &str = "hunter3-of-the-database";
    let mut world = World::new().await;
    world.stop().await;
    let login = [("username", kafka().admin_user()), ("password", kafka().admin_password())];
    world.put_secret("right", &login).await;
    let url = format!("postgres://admin:{OF_THE_DATABASE}@postgres.example:5432/postgres");
    world.put_secret("postgres", &[("url", &url)]).await;
    let pipeline = serde_json::from_value(json!({
        "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "OrderPipeline", "metadata": {"name": "shop"},
        "spec": {
            "profile": "Dev", "kafka": with_credentials("right"), "topics": {"prefix": format!("{}.", world.topic)},
            "database": {"secretRef": {"name": "postgres"}}, "services": {"order": {}, "inventory": {}},
        }
    }))
    .unwrap();
    let pipelines: Api<OrderPipeline> = Api::namespaced(world.client.clone(), &world.namespace);
    pipelines.create(&PostParams::default(), &pipeline).await.unwrap();

    let kubeconfig: PathBuf = apiserver().kubeconfig().to_owned();
    let address = free_address();
    let environment = [("LOG_LEVEL", "trace".to_owned())];
    let mut operator = Operator::start_with(&kubeconfig, &world.namespace, address, &environment);
    eventually("users and topics are there", || async {
        let status = pipelines.get("shop").await.unwrap().status.unwrap_or_default();
        match conditions::find(&status.conditions, ConditionType::Ready) {
            Some(ready) if ready.reason == "DatabasePending" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let metrics = get(address, "/metrics").unwrap();
    assert!(operator.end().await.success());

    let mut passwords = generated(&world).await;
    assert_eq!(passwords.len(), 4, "two services, two passwords each");
    passwords.extend([OF_THE_DATABASE.to_owned(), kafka().admin_password().to_owned()]);
    let places = [
        ("log", operator.log()),
        ("metrics", metrics),
        ("events", text::<Event>(&world).await),
        ("pipeline", text::<OrderPipeline>(&world).await),
        ("Job", text::<Job>(&world).await),
        ("ConfigMaps", text::<ConfigMap>(&world).await),
        (
            "topics",
            serde_json::to_string(&world.api().list(&ListParams::default()).await.unwrap().items).unwrap(),
        ),
    ];
    for (place, text) in places {
        assert!(
            passwords.iter().all(|password| !text.contains(password)),
            "a password stands in the {place}"
        );
    }
}
