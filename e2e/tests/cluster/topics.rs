//! Topics on the cluster: grown on request, repaired when somebody else changed them.

use e2e::console::eventually;
use e2e::platform::{NAMESPACE, condition, text, wait_ready};
use kafka_admin::{Admin, ConfigAlteration, ConnectOptions, KafkaAdmin, Mode, TopicName};
use serde_json::Value;

use crate::shop::{CHANGE_LIMIT, ready, wait_for};

const OBJECT: &str = "kafkatopic.orderpipeline.dev/audit-log";

fn manifest(partitions: u32) -> String {
    format!(
        r#"
apiVersion: orderpipeline.dev/v1alpha1
kind: KafkaTopic
metadata: {{name: audit-log, namespace: {NAMESPACE}}}
spec:
  kafka:
    bootstrap: {{servers: "kafka.kafka.svc:9092"}}
  partitions: {partitions}
  replicas: 1
  config: {{retention.ms: "3600000"}}
  deletionPolicy: Delete
"#
    )
}

#[tokio::test]
async fn a_topic_grows_refuses_to_shrink_and_is_repaired_and_deleted() {
    let (cluster, _) = ready().await;
    let kafka = KafkaAdmin::connect(&ConnectOptions::plaintext(cluster.endpoint("kafka").unwrap())).unwrap();
    let topic: TopicName = "audit-log".parse().unwrap();
    cluster.apply(&manifest(2)).unwrap();
    wait_ready(&cluster, NAMESPACE, OBJECT, CHANGE_LIMIT).await.unwrap();

    cluster.apply(&manifest(4)).unwrap();
    wait_for(&cluster, NAMESPACE, OBJECT, "four partitions", |object| {
        object.pointer("/status/partitions") == Some(&Value::from(4))
    })
    .await;
    assert_eq!(partitions(&kafka, &topic).await, 4);

    let refused = cluster.apply(&manifest(3)).expect_err("a shrinking topic is refused").to_string();
    assert!(refused.contains("partitions"), "the refusal names the field: {refused}");

    let drift = ConfigAlteration::of(topic.clone()).set("retention.ms", "60000");
    kafka.alter_configs(&[drift], Mode::Apply).await.remove(0).unwrap();
    eventually("the drift to be repaired", CHANGE_LIMIT, async || {
        match retention(&kafka, &topic).await.as_deref() {
            Some("3600000") => Ok(()),
            other => Err(format!("retention.ms is {other:?}")),
        }
    })
    .await
    .unwrap();

    cluster.kubectl(&["delete", OBJECT, "-n", NAMESPACE, "--timeout=60s"]).unwrap();
    eventually("the topic to be deleted", CHANGE_LIMIT, async || {
        let gone = matches!(
            kafka.describe_topics(std::slice::from_ref(&topic)).await.remove(0),
            Err(kafka_admin::Error::NotFound { .. })
        );
        if gone { Ok(()) } else { Err("it is still there".to_owned()) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_setting_that_kafka_does_not_know_is_named_in_the_condition() {
    let (cluster, _) = ready().await;
    let manifest = manifest(1).replace("audit-log", "typo").replace("retention.ms", "retention.mss");

    cluster.apply(&manifest).unwrap();
    let stalled = wait_for(&cluster, NAMESPACE, "kafkatopic.orderpipeline.dev/typo", "a refusal", |object| {
        condition(object, "Stalled").is_some()
    })
    .await;

    let message = text(condition(&stalled, "Stalled").unwrap(), "message");
    assert!(message.contains("retention.mss"), "{message}");
    cluster
        .kubectl(&["delete", "kafkatopic.orderpipeline.dev/typo", "-n", NAMESPACE, "--timeout=60s"])
        .unwrap();
}

async fn partitions(kafka: &impl Admin, topic: &TopicName) -> usize {
    kafka
        .describe_topics(std::slice::from_ref(topic))
        .await
        .remove(0)
        .expect("the topic is described")
        .partitions
        .len()
}

async fn retention(kafka: &impl Admin, topic: &TopicName) -> Option<String> {
    let config = kafka
        .describe_configs(std::slice::from_ref(topic))
        .await
        .remove(0)
        .expect("its settings are described");
    config.value("retention.ms").map(str::to_owned)
}
