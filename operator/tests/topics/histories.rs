//! Whatever was wanted before, and whatever others did meanwhile: what counts is the last spec.

use std::collections::BTreeMap;

use kafka_admin::{Admin, ConfigAlteration, ConfigSource, Mode, TopicName};
use operator::crd::conditions::ConditionType;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::world::{World, eventually, is};

const HISTORIES: u64 = 12;
const STEPS: usize = 12;
/// Settings and values that every broker takes.
const SETTINGS: [(&str, [&str; 3]); 4] = [
    ("retention.ms", ["1000000", "2000000", "-1"]),
    ("segment.ms", ["1000000", "3000000", "5000000"]),
    ("cleanup.policy", ["delete", "compact", "compact,delete"]),
    ("max.message.bytes", ["100000", "200000", "300000"]),
];

/// A spec that changes at random.
struct History {
    random: StdRng,
    partitions: u32,
    config: BTreeMap<&'static str, &'static str>,
}

impl History {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), partitions: 1, config: BTreeMap::new() }
    }

    fn setting(&mut self) -> (&'static str, &'static str) {
        let (key, values) = SETTINGS[self.random.random_range(0..SETTINGS.len())];
        (key, values[self.random.random_range(0..values.len())])
    }

    /// The next spec.
    fn step(&mut self) -> Value {
        let (key, value) = self.setting();
        match self.random.random_range(0..3) {
            0 => self.partitions += 1,
            1 => drop(self.config.insert(key, value)),
            _ => drop(self.config.remove(key)),
        }
        let mut spec = self.spec();
        match self.random.random_range(0..6) {
            0 => spec["suspend"] = json!(true),
            1 => spec["reconcilePolicy"] = json!("Plan"),
            _ => {}
        }
        spec
    }

    fn spec(&self) -> Value {
        let (partitions, config) = (self.partitions, &self.config);
        json!({"partitions": partitions, "config": config, "suspend": false, "reconcilePolicy": "Apply"})
    }
}

async fn live(world: &World, seed: u64) {
    let (object, topic) = (format!("history-{seed}"), format!("{}.{seed}", world.topic));
    let name = TopicName::new(topic.clone()).unwrap();
    let mut history = History::new(seed);
    let mut spec = history.spec();
    spec["topicName"] = json!(topic);
    world.create_named(&object, spec).await;
    // What others may touch is there, and is this object's own.
    world.reason(&object, "Synced").await;
    for _ in 0..STEPS {
        world.change_named(&object, history.step()).await;
        if history.random.random_bool(0.3) {
            let (key, value) = history.setting();
            let alteration = ConfigAlteration::of(name.clone()).set(key, value);
            world.admin.alter_configs(&[alteration], Mode::Apply).await.remove(0).unwrap();
        }
    }
    world.change_named(&object, history.spec()).await;

    let wanted: BTreeMap<String, String> =
        history.config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    eventually(&format!("the last spec of history {seed}"), || async {
        let names = std::slice::from_ref(&name);
        let partitions = world.admin.describe_topics(names).await.remove(0).unwrap().partition_count();
        let config = world.admin.describe_configs(names).await.remove(0).unwrap();
        let settings: BTreeMap<String, String> = config
            .iter()
            // What the spec does not name is the broker's; what the broker gives anyway need not be set.
            .filter(|entry| wanted.contains_key(&entry.name) || entry.source == ConfigSource::DynamicTopic)
            .map(|entry| (entry.name.clone(), entry.value.clone().unwrap_or_default()))
            .collect();
        let found = (partitions, settings);
        let (expected, status) = ((history.partitions, wanted.clone()), world.get(&object).await.status);
        if found == expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}: {status:?}")) }
    })
    .await;
    let status = world.reason(&object, "Synced").await;
    assert!(!is(&status, ConditionType::Stalled) && status.plan.is_empty());
    assert_eq!(status.partitions, history.partitions.try_into().ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_ends_in_its_last_spec() {
    let world = World::new().await;

    futures::future::join_all((0..HISTORIES).map(|seed| live(&world, seed))).await;

    world.end().await;
}
