//! Specs that are wrong in every way there is: each is refused at the door, or answered with a condition.

use devcluster::testing::kafka;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use operator::crd::KafkaTopic;
use operator::crd::conditions::{self, ConditionType, State};
use serde_json::{Value, json};

use super::world::{World, eventually};

/// Every field, by JSON pointer.
const FIELDS: [&str; 18] = [
    "/spec/topicName",
    "/spec/partitions",
    "/spec/replicas",
    "/spec/config",
    "/spec/config/retention.ms",
    "/spec/deletionPolicy",
    "/spec/adoptionPolicy",
    "/spec/access",
    "/spec/access/0/principal",
    "/spec/access/0/operations",
    "/spec/access/0/host",
    "/spec/reconcilePolicy",
    "/spec/suspend",
    "/spec/kafka",
    "/spec/kafka/bootstrap",
    "/spec/kafka/bootstrap/servers",
    "/spec/kafka/bootstrap/security",
    "/spec/kafka/bootstrap/security/protocol",
];

/// What somebody might put there.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(2_147_483_648_i64),
        json!(1.5),
        json!(""),
        json!(" "),
        json!("Delete"),
        json!("ü/\u{1f980}"),
        json!("x".repeat(300)),
        json!([]),
        json!(["a"]),
        json!({}),
        json!({"a": "b"}),
        json!({"": null}),
        json!({"retention.ms": "\u{0}"}),
        json!({"min.insync.replicas": "7", "cleanup.policy": "tidy"}),
    ]
}

fn object(world: &World, number: usize, field: &str, value: &Value) -> Value {
    let security = json!({"protocol": "PLAINTEXT"});
    let mut object = world.object(
        &format!("malformed-{number}"),
        json!({
            "kafka": {"bootstrap": {"servers": kafka().bootstrap(), "security": security}},
            "topicName": format!("{}.{number}", world.topic),
            "partitions": 1, "replicas": 1, "config": {"retention.ms": "1000000"},
            "deletionPolicy": "Retain", "adoptionPolicy": "IfIdentical",
            "access": [{"principal": format!("User:{}", world.topic), "operations": ["Read"], "host": "*"}],
        }),
    );
    let (parent, last) = field.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[last] = value.clone();
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformed_spec_is_refused_or_answered() {
    let world = World::new().await;
    let api: Api<DynamicObject> =
        Api::namespaced_with(world.client.clone(), &world.namespace, &ApiResource::erase::<KafkaTopic>(&()));
    let (mut refused, mut accepted) = (0, Vec::new());
    for (number, (field, value)) in
        FIELDS.iter().flat_map(|field| values().into_iter().map(move |value| (field, value))).enumerate()
    {
        let new = serde_json::from_value(object(&world, number, field, &value)).unwrap();
        match api.create(&PostParams::default(), &new).await {
            Ok(_) => accepted.push((format!("malformed-{number}"), format!("{field} = {value}"))),
            Err(kube::Error::Api(refusal)) => {
                assert!((400..500).contains(&refusal.code), "{field} = {value}: {refusal}");
                assert!(!refusal.message.is_empty(), "{field} = {value}");
                refused += 1;
            }
            Err(error) => panic!("{field} = {value}: {error}"),
        }
    }

    for (name, what) in &accepted {
        eventually(what, || async {
            let object = world.get(name).await;
            let status = object.status.unwrap_or_default();
            let current = Some(status.observed_generation) == object.metadata.generation;
            match conditions::find(&status.conditions, ConditionType::Ready) {
                // Not every value is wrong everywhere; what is not Ready says why.
                Some(ready)
                    if current && (ready.status == State::True.name() || !ready.message.is_empty()) =>
                {
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    assert!(refused > 100 && accepted.len() > 10, "{refused} refused, {} accepted", accepted.len());
    world.end().await;
}
