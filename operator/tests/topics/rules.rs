//! What the apiserver refuses at the door, and the words it uses.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use operator::crd::KafkaTopic;
use operator::crd::kafka_topic::{AdoptionPolicy, DeletionPolicy};
use rstest::rstest;
use serde_json::{Value, json};

use super::world::{client, namespace};

fn object(name: &str, spec: &Value) -> Value {
    let mut fields = json!({"kafka": {"bootstrap": {"servers": "kafka:9092"}}});
    for (key, value) in spec.as_object().unwrap() {
        fields[key] = value.clone();
    }
    json!({
        "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "KafkaTopic",
        "metadata": {"name": name}, "spec": fields,
    })
}

/// Without types: what no client of ours could write, others can.
fn topics(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<KafkaTopic>(&()))
}

async fn create(client: &Client, namespace: &str, spec: &Value) -> Result<KafkaTopic, String> {
    let new = serde_json::from_value(object("orders", spec)).unwrap();
    let created = topics(client, namespace).create(&PostParams::default(), &new).await;
    created.map(|object| object.try_parse().unwrap()).map_err(|error| error.to_string())
}

async fn change(client: &Client, namespace: &str, spec: &Value) -> Result<(), String> {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let changed = topics(client, namespace).patch("orders", &PatchParams::default(), &patch).await;
    changed.map(drop).map_err(|error| error.to_string())
}

#[rstest]
#[case::no_partitions(json!({"partitions": 0}), "greater than or equal to 1")]
#[case::no_replicas(json!({"replicas": 0}), "greater than or equal to 1")]
#[case::bad_name(json!({"topicName": "a b"}), "spec.topicName")]
#[case::reserved_name(json!({"topicName": ".."}), "Kafka reserves the names")]
#[case::internal_name(json!({"topicName": "__consumer_offsets"}), "belong to Kafka itself")]
#[case::number_as_setting(json!({"config": {"retention.ms": 5}}), "must be of type string")]
#[case::unknown_policy(json!({"deletionPolicy": "Keep"}), "Unsupported value")]
#[case::no_port(json!({"kafka": {"bootstrap": {"servers": "kafka"}}}), "spec.kafka.bootstrap.servers")]
#[case::sasl_without_credentials(
    json!({"kafka": {"bootstrap": {"servers": "k:1", "security": {"protocol": "SASL_SSL"}}}}), "need `credentials`"
)]
#[case::credentials_without_sasl(
    json!({"kafka": {"bootstrap": {"servers": "k:1", "security": {"credentials": {"secretName": "s"}}}}}),
    "SASL_PLAINTEXT and SASL_SSL only"
)]
#[case::ca_without_tls(
    json!({"kafka": {"bootstrap": {"servers": "k:1", "security": {"ca": {"secretName": "s"}}}}}),
    "SSL and SASL_SSL only"
)]
#[case::more_in_sync_than_there_are(
    json!({"replicas": 2, "config": {"min.insync.replicas": "3"}}), "config[min.insync.replicas] is more than replicas"
)]
#[case::everybody(json!({"access": [{"principal": "User:*", "operations": ["Read"]}]}), "name each principal")]
#[case::no_user(json!({"access": [{"principal": "alice", "operations": ["Read"]}]}), "spec.access[0].principal")]
#[case::user_without_name(json!({"access": [{"principal": "User:", "operations": ["Read"]}]}), "spec.access[0].principal")]
#[case::nothing_allowed(json!({"access": [{"principal": "User:a", "operations": []}]}), "spec.access[0].operations")]
#[case::every_operation(json!({"access": [{"principal": "User:a", "operations": ["All"]}]}), "Unsupported value")]
#[case::operation_twice(
    json!({"access": [{"principal": "User:a", "operations": ["Read", "Read"]}]}), "Duplicate value"
)]
#[case::principal_twice(
    json!({"access": [
        {"principal": "User:a", "operations": ["Read"]}, {"principal": "User:a", "operations": ["Write"]}
    ]}),
    "Duplicate value"
)]
#[case::host_by_name(
    json!({"access": [{"principal": "User:a", "operations": ["Read"], "host": "laptop"}]}), "spec.access[0].host"
)]
#[tokio::test]
async fn what_cannot_be_is_refused_at_the_door(#[case] spec: Value, #[case] words: &str) {
    let client = client().await;
    let namespace = namespace(&client).await;

    let refusal = create(&client, &namespace, &spec).await.unwrap_err();

    assert!(refusal.contains(words), "{refusal}");
}

#[tokio::test]
async fn partitions_only_grow_and_the_topic_stays_the_same() {
    let client = client().await;
    let namespace = namespace(&client).await;
    create(&client, &namespace, &json!({"partitions": 3})).await.unwrap();

    let shrunk = change(&client, &namespace, &json!({"partitions": 2})).await.unwrap_err();
    let renamed = change(&client, &namespace, &json!({"topicName": "other"})).await.unwrap_err();

    assert!(shrunk.contains("partitions can only grow"), "{shrunk}");
    assert!(renamed.contains("topicName is immutable"), "{renamed}");
    change(&client, &namespace, &json!({"partitions": 4})).await.unwrap();
    change(&client, &namespace, &json!({"topicName": "orders"})).await.unwrap();
    change(&client, &namespace, &json!({"topicName": null, "partitions": null})).await.unwrap();
}

#[tokio::test]
async fn defaults_are_safe_and_a_null_setting_is_kept() {
    let client = client().await;
    let namespace = namespace(&client).await;

    let created =
        create(&client, &namespace, &json!({"config": {"retention.ms": null}, "partitions": null})).await;

    let created = created.unwrap();
    assert_eq!(created.spec.deletion_policy, DeletionPolicy::Retain);
    assert_eq!(created.spec.adoption_policy, AdoptionPolicy::IfIdentical);
    assert_eq!(created.spec.partitions, None);
    assert_eq!(created.spec.config.get("retention.ms"), Some(&None));
    assert_eq!(created.status.unwrap().observed_generation, -1);
}

#[rstest]
#[case::enough_replicas(json!({"replicas": 2, "config": {"min.insync.replicas": "2"}}))]
#[case::left_to_others(json!({"replicas": 1, "config": {"min.insync.replicas": null}}))]
#[case::the_brokers_replicas(json!({"config": {"min.insync.replicas": "7"}}))]
#[case::no_number(json!({"replicas": 1, "config": {"min.insync.replicas": "two"}}))]
#[case::a_number_beyond_all(json!({"replicas": 1, "config": {"min.insync.replicas": "99999999999999999999"}}))]
#[case::one_user_from_two_hosts(json!({"access": [
    {"principal": "User:CN=a, O=b", "operations": ["Read", "Write"]},
    {"principal": "User:CN=a, O=b", "operations": ["Read"], "host": "10.0.0.1"},
]}))]
#[tokio::test]
async fn what_may_be_is_taken(#[case] spec: Value) {
    let client = client().await;
    let namespace = namespace(&client).await;

    create(&client, &namespace, &spec).await.unwrap();
}
