//! Passwords stay where they were put: nothing that the operator says holds one.

use std::path::PathBuf;

use devcluster::testing::{apiserver, kafka};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

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
