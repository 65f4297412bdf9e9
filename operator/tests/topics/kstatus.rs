//! What Flux, Argo CD and others make of every shape of status, by the library that they use.

use jiff::Timestamp;
use kafka_admin::UnavailableCause;
use operator::controller::error::Error;
use operator::controller::outcome::Outcome;
use operator::controller::topic::{Pass, status};
use operator::crd::{KafkaTopic, KafkaTopicStatus};
use serde_json::{Value, json};

use super::kstatus_library::computed;

/// An object of the second generation.
fn object() -> KafkaTopic {
    serde_json::from_value(json!({
        "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "KafkaTopic",
        "metadata": {"name": "orders", "namespace": "shop", "generation": 2},
        "spec": {"kafka": {"bootstrap": {"servers": "kafka:9092"}}},
    }))
    .unwrap()
}

fn with(status: KafkaTopicStatus) -> Value {
    serde_json::to_value(KafkaTopic { status: Some(status), ..object() }).unwrap()
}

fn after(result: Result<Outcome, Error>) -> KafkaTopicStatus {
    status::compute(&object(), &Pass::unseen(result), Timestamp::UNIX_EPOCH)
}

#[test]
fn every_shape_of_status_is_understood_as_it_is_meant() {
    let wait = std::time::Duration::from_secs(1);
    let ready = after(Ok(Outcome::ready("Synced", "all is well")));
    let unavailable =
        kafka_admin::Error::Unavailable { cause: UnavailableCause::Timeout, message: "no answer".to_owned() };
    let mut new = serde_json::to_value(object()).unwrap();
    // The default that the apiserver gives a new object.
    new["status"] = json!({"observedGeneration": -1});
    let mut deleted = with(ready.clone());
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let shapes = [
        (with(ready.clone()), "Current"),
        (with(after(Ok(Outcome::waiting("SecretNotFound", "no Secret", wait)))), "InProgress"),
        (with(after(Ok(Outcome::stalled("InvalidSpec", "no such setting")))), "Failed"),
        (with(after(Err(Error::kafka("read topic orders")(unavailable)))), "InProgress"),
        (with(status::suspended(&object(), Timestamp::UNIX_EPOCH)), "InProgress"),
        (with(KafkaTopicStatus { observed_generation: 1, ..ready }), "InProgress"),
        (new, "InProgress"),
        (deleted, "Terminating"),
    ];

    let (objects, expected): (Vec<Value>, Vec<&str>) = shapes.into_iter().unzip();

    assert_eq!(computed(&objects), expected, "{objects:#?}");
}
