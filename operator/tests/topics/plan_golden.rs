//! YAML → validate → plan, as text: each file of `golden/topics` holds an object, the topic as Kafka has it,
//! and the plan.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use kafka_admin::{ConfigChange, TopicId};
use operator::controller::topic::observed::{ObservedTopic, Setting};
use operator::controller::topic::plan::{Change, Memory, Plan, plan};
use operator::controller::topic::validate::validate;
use operator::crd::KafkaTopic;
use operator::crd::kafka_topic::AnnouncedTopic;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    spec: Value,
    /// Id that the object's status remembers.
    #[serde(default)]
    remembers: Option<u8>,
    /// What it announces to create.
    #[serde(default)]
    creating: Option<AnnouncedTopic>,
    #[serde(default)]
    topic: Option<Topic>,
    plan: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    id: u8,
    partitions: u32,
    replicas: u16,
    /// Settings of the topic itself.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// Settings that the broker gives it.
    #[serde(default)]
    defaults: BTreeMap<String, String>,
}

fn id(number: u8) -> TopicId {
    TopicId::from_bits(number.into())
}

fn observed(topic: Topic) -> ObservedTopic {
    let setting = |overridden| move |(key, value)| (key, Setting { value: Some(value), overridden });
    let defaults = topic.defaults.into_iter().map(setting(false));
    let settings = defaults.chain(topic.set.into_iter().map(setting(true))).collect();
    ObservedTopic {
        id: id(topic.id),
        partitions: topic.partitions,
        replicas: topic.replicas,
        settings: Arc::new(settings),
    }
}

fn told(plan: &Plan) -> String {
    let mut text = format!("{:?}\n", plan.claim);
    for change in &plan.changes {
        match change {
            Change::Create(new) => {
                let (partitions, replicas) = (new.partitions, new.replicas);
                writeln!(text, "create {} {partitions:?} {replicas:?} {:?}", new.name, new.config).unwrap();
            }
            Change::AddPartitions { from, to } => writeln!(text, "partitions {from} -> {to}").unwrap(),
            Change::AlterConfig(changes) => {
                for (key, change) in changes {
                    match change {
                        ConfigChange::Set(value) => writeln!(text, "set {key}={value}").unwrap(),
                        ConfigChange::Delete => writeln!(text, "unset {key}").unwrap(),
                    }
                }
            }
        }
    }
    for refusal in &plan.refusals {
        writeln!(text, "refuse {}: {refusal}", refusal.reason()).unwrap();
    }
    text
}

fn run(case: Case) -> (String, String) {
    let mut spec = case.spec;
    spec["kafka"] = json!({"bootstrap": {"servers": "kafka:9092"}});
    let object = json!({
        "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "KafkaTopic",
        "metadata": {"name": "orders", "namespace": "shop"}, "spec": spec,
    });
    let object: KafkaTopic = serde_json::from_value(object).unwrap();
    let found = match validate(&object) {
        Ok(wanted) => {
            let memory =
                Memory { topic_id: case.remembers.map(|n| id(n).to_string()), creating: case.creating };
            told(&plan(&wanted, &memory, case.topic.map(observed).as_ref()))
        }
        Err(invalid) => {
            invalid.0.iter().fold(String::new(), |text, problem| text + "invalid: " + problem + "\n")
        }
    };
    (found, case.plan)
}

#[test]
fn plans_are_as_the_golden_files_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/topics");
    let mut cases: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());

    for path in cases {
        let case = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap());
        let case: Case = case.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (found, expected) = run(case);
        assert_eq!(found, expected, "{}", path.display());
    }
}
