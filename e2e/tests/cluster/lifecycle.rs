//! A pipeline's life on the cluster: scaled, refused when it makes no sense, deleted.

use std::fs;

use e2e::cluster::root;
use e2e::console::eventually;
use e2e::platform::{self, NAMESPACE, condition, text};
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin, TopicName};
use serde_json::Value;

use crate::shop::{CHANGE_LIMIT, READY_LIMIT, ready, wait_for};

/// The demo's pipeline in another namespace, with topics of its own.
fn other_pipeline(namespace: &str) -> String {
    let demo = fs::read_to_string(root().join("manifests/demo/pipeline.yaml")).expect("the demo is there");
    let moved = demo
        .replace("  name: shop\n", &format!("  name: shop\n  namespace: {namespace}\n"))
        .replace("  database:\n", &format!("  topics: {{prefix: {namespace}.}}\n  database:\n"));
    assert!(moved.matches(namespace).count() == 2, "the demo has a name and a database: {moved}");
    moved
}

#[tokio::test]
async fn replicas_follow_the_spec() {
    let (cluster, _) = ready().await;
    let scale = |replicas: u32| {
        let patch = format!(r#"{{"spec":{{"services":{{"notification":{{"replicas":{replicas}}}}}}}}}"#);
        cluster
            .kubectl(&["patch", "orderpipeline/shop", "-n", NAMESPACE, "--type=merge", "-p", &patch])
            .unwrap();
    };
    let has = |replicas: u64| {
        move |deployment: &Value| {
            deployment.pointer("/status/readyReplicas").and_then(Value::as_u64) == Some(replicas)
                && deployment.pointer("/status/replicas").and_then(Value::as_u64) == Some(replicas)
        }
    };

    scale(2);
    wait_for(&cluster, NAMESPACE, "deployment/shop-notification", "two replicas", has(2)).await;

    scale(1);
    wait_for(&cluster, NAMESPACE, "deployment/shop-notification", "one replica", has(1)).await;
    platform::wait_ready(&cluster, NAMESPACE, "orderpipeline/shop", CHANGE_LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_pipeline_that_makes_no_sense_is_refused_with_a_reason() {
    let (cluster, _) = ready().await;
    let unknown = named("unknown", &other_pipeline("unknown")).replace("  inventory:", "  warehouse:");
    let stepless = named("stepless", &other_pipeline("stepless"))
        .replace("    inventory:\n", "    inventory:\n      enabled: false\n");
    let misspelt = named("misspelt", &other_pipeline("misspelt")).replace("initialStock:", "initialStok:");

    let refused = cluster.apply(&unknown).expect_err("the API server refuses it").to_string();
    let unperformed = cluster.apply(&stepless).expect_err("the API server refuses it").to_string();
    cluster.apply(&misspelt).expect("only the operator can tell");

    assert!(unperformed.contains("saga.steps has a step whose service does not run"), "{unperformed}");
    assert!(refused.contains("services names a service that does not exist"), "{refused}");
    assert!(refused.contains("inventory"), "the refusal says what there is: {refused}");
    let stalled = wait_for(&cluster, NAMESPACE, "orderpipeline/misspelt", "a refusal", |pipeline| {
        condition(pipeline, "Stalled").is_some_and(|stalled| text(stalled, "status") == "True")
    })
    .await;
    let message = text(condition(&stalled, "Stalled").unwrap(), "message");
    assert!(
        message.contains("initialStok") && message.contains("initialStock"),
        "field and remedy: {message}"
    );
    cluster.kubectl(&["delete", "orderpipeline/misspelt", "-n", NAMESPACE, "--timeout=60s"]).unwrap();
}

/// A pipeline under another name, in the namespace of the demo.
fn named(name: &str, manifest: &str) -> String {
    let here = manifest.replace(&format!("  namespace: {name}\n"), &format!("  namespace: {NAMESPACE}\n"));
    here.replace("  name: shop\n", &format!("  name: {name}\n"))
}

#[tokio::test]
async fn a_pipeline_without_its_secret_says_which_one_it_waits_for() {
    let (cluster, _) = ready().await;
    let lost = other_pipeline("lost");
    cluster.kubectl(&["create", "namespace", "lost"]).unwrap();

    cluster.apply(&lost).unwrap();
    let waiting = wait_for(&cluster, "lost", "orderpipeline/shop", "a condition", |pipeline| {
        condition(pipeline, "Ready").is_some_and(|ready| text(ready, "message").contains("kafka-credentials"))
    })
    .await;

    assert_eq!(text(condition(&waiting, "Ready").unwrap(), "status"), "False");
    cluster.kubectl(&["delete", "namespace", "lost", "--timeout=90s"]).expect("deletion never hangs");
}

#[tokio::test]
async fn a_deleted_pipeline_takes_its_workloads_along_and_leaves_its_topics() {
    let (cluster, _) = ready().await;
    platform::prepare_namespace(&cluster, "passing").unwrap();
    cluster.apply(&other_pipeline("passing")).unwrap();
    platform::wait_ready(&cluster, "passing", "orderpipeline/shop", READY_LIMIT).await.unwrap();

    cluster.kubectl(&["delete", "orderpipeline/shop", "-n", "passing", "--timeout=60s"]).unwrap();

    eventually("the workloads to go", CHANGE_LIMIT, async || {
        let left = cluster
            .kubectl(&[
                "get",
                "deployments,services,kafkatopics.orderpipeline.dev,pods,jobs",
                "-n",
                "passing",
                "-o",
                "name",
            ])
            .map_err(|error| error.to_string())?;
        if left.trim().is_empty() { Ok(()) } else { Err(left.replace('\n', " ")) }
    })
    .await
    .unwrap();
    let kafka = KafkaAdmin::connect(&ConnectOptions::plaintext(cluster.endpoint("kafka").unwrap())).unwrap();
    let topic: TopicName = "passing.orders.created".parse().unwrap();
    let kept = kafka.describe_topics(&[topic]).await.remove(0).expect("the topic is retained");
    assert_eq!(kept.partitions.len(), 3);
    cluster.kubectl(&["delete", "namespace", "passing", "--timeout=90s"]).unwrap();
}

#[tokio::test]
async fn the_installation_for_one_namespace_needs_nothing_outside_of_it() {
    let (cluster, _) = ready().await;
    let folder = root().join("manifests/namespaced");

    // Taken by the API server, and not done: the cluster has its operator.
    let apply = ["apply", "--server-side", "--dry-run=server", "-o", "json", "-k", &folder.to_string_lossy()];
    let applied: Value = serde_json::from_str(&cluster.kubectl(&apply).unwrap()).unwrap();

    let items = applied["items"].as_array().unwrap();
    let kinds: Vec<&str> = items.iter().map(|item| text(item, "kind")).collect();
    for object in items {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
        assert_eq!(namespace, Some(NAMESPACE), "{object}");
    }
    let bindings = items.iter().filter(|item| text(item, "kind") == "RoleBinding");
    let subjects: Vec<&str> = bindings.map(|binding| text(&binding["subjects"][0], "namespace")).collect();
    assert_eq!(subjects, [NAMESPACE; 2], "the rights go to the operator of this namespace: {kinds:?}");
    assert!(kinds.contains(&"Deployment"), "{kinds:?}");
}

#[tokio::test]
async fn an_installation_with_images_of_ones_own_is_as_operations_says() {
    let (cluster, _) = ready().await;
    let operations = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let block = |start: &str| operations.split(start).nth(1).unwrap().split("```").next().unwrap().to_owned();
    let folder = root().join("target/tmp/installation");
    fs::create_dir_all(&folder).unwrap();
    let overlay = block("```yaml\n").replace("../order-pipeline/", "../../../");
    fs::write(folder.join("kustomization.yaml"), overlay).unwrap();

    let built = cluster.kubectl(&["kustomize", &folder.to_string_lossy()]).unwrap();
    let commands = block("In that folder:\n```\n");
    let commands: Vec<&str> = commands.lines().filter_map(|line| line.strip_prefix("$ kubectl ")).collect();
    for command in &commands {
        // Taken by the API server, and not done: these images are nowhere.
        let command = command.replace("-k .", &format!("--dry-run=server -k {}", folder.display()));
        cluster.kubectl(&command.split_whitespace().collect::<Vec<_>>()).unwrap();
    }

    assert!(built.contains("image: registry.example/orderpipeline/operator:1.0"), "{built}");
    assert!(built.contains("value: registry.example/orderpipeline/orders:1.0"), "{built}");
    assert!(!built.contains(" orderpipeline/"), "nothing names the images of the test cluster: {built}");
    assert_eq!(commands.len(), 2, "apply and wait: {commands:?}");
}

#[tokio::test]
async fn what_operations_tells_to_type_works() {
    let (cluster, _) = ready().await;
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let typed = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    // A forwarded port would be held open for ever.
    let commands =
        typed.filter_map(|line| line.strip_prefix("kubectl ")).filter(|line| !line.contains(" & "));

    let mut ran = 0;
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        cluster.kubectl(&words).unwrap();
        ran += 1;
    }
    assert_eq!(ran, 3, "the first block of the page");
}
