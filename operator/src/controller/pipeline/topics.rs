//! `spec.topics`: which topics there are, and how they are kept. No I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::{Service, Step, Topic};

use super::validate::{Problem, time};
use crate::build::topic::WantedTopic;
use crate::crd::order_pipeline::{OrderPipelineSpec, Profile, TopicOverride, TopicsSpec};

/// The topics of the services that are enabled, in the order of the catalogue.
pub(super) fn validate(
    spec: &OrderPipelineSpec,
    enabled: &[Service],
    problems: &mut Vec<Problem>,
) -> Vec<WantedTopic> {
    // Those that do not exist are told about with the saga.
    let steps: Vec<Step> = spec.saga.steps.iter().filter_map(|name| name.parse().ok()).collect();
    check_overrides(&spec.topics, problems);
    let retention = time("topics.retention", &spec.topics.retention, problems);
    // What a service only reads is wanted too: its consumer would wait for the topic forever.
    let wanted: BTreeSet<Topic> = enabled
        .iter()
        .flat_map(|service| {
            service.subscriptions(&steps).into_iter().chain(service.spec().produces.iter().copied())
        })
        .collect();
    let wanted: Vec<WantedTopic> =
        wanted.into_iter().map(|topic| wanted_topic(spec, topic, retention, problems)).collect();
    problems.extend(wanted.iter().filter_map(in_sync_problem));
    keeping_dead_letters(spec, wanted)
}

/// A dead letter keeps the time of its event, and Kafka counts retention from there. An event that is given up may be
/// as old as its topic keeps it, so that its dead letter would be gone at once: it is kept for so much longer.
fn keeping_dead_letters(spec: &OrderPipelineSpec, mut wanted: Vec<WantedTopic>) -> Vec<WantedTopic> {
    let events = wanted.iter().filter(|wanted| wanted.topic.spec().retention_override.is_none());
    let oldest = events.map(|wanted| wanted.retention).max().unwrap_or_default();
    for letters in wanted.iter_mut().filter(|wanted| wanted.topic.is_dead_letter()) {
        let own = spec.topics.overrides.get(letters.topic.name());
        if own.is_none_or(|own| own.retention.is_none()) {
            letters.retention += oldest;
        }
    }
    wanted
}

fn wanted_topic(
    spec: &OrderPipelineSpec,
    topic: Topic,
    retention: Duration,
    problems: &mut Vec<Problem>,
) -> WantedTopic {
    let none = TopicOverride::default();
    let own = spec.topics.overrides.get(topic.name()).unwrap_or(&none);
    let own_retention = own
        .retention
        .as_ref()
        .map(|text| time(&format!("topics.overrides[{topic}].retention"), text, problems));
    WantedTopic {
        topic,
        partitions: partitions(spec, topic),
        replicas: own.replicas.or(spec.topics.replicas).unwrap_or_else(|| default_copies(spec.profile)),
        retention: own_retention.or(topic.spec().retention_override).unwrap_or(retention),
        config: own.config.clone(),
    }
}

/// With more in-sync replicas demanded than there are replicas, nothing could be written.
fn in_sync_problem(wanted: &WantedTopic) -> Option<Problem> {
    let minimum: i32 = wanted.config.get("min.insync.replicas")?.trim().parse().ok()?;
    let (topic, replicas) = (wanted.topic, wanted.replicas);
    (minimum > replicas).then(|| {
        let message = format!(
            "is {minimum}, and the topic has {replicas} replicas, so that nothing could be written; lower the first or \
             raise the second"
        );
        Problem::new(format!("topics.overrides[{topic}].config[min.insync.replicas]"), message)
    })
}

/// A topic whose partitions belong to those of another has as many.
fn partitions(spec: &OrderPipelineSpec, topic: Topic) -> i32 {
    let counted = topic.spec().copartitioned_with.unwrap_or(topic);
    let own = spec.topics.overrides.get(counted.name()).and_then(|own| own.partitions);
    own.unwrap_or(spec.topics.partitions)
}

fn default_copies(profile: Profile) -> i32 {
    match profile {
        // A laptop has one broker.
        Profile::Dev => 1,
        Profile::Staging | Profile::Prod => 2,
    }
}

/// Kafka settings that have a field of their own, or that the services rely on.
const NOT_BY_CONFIG: [(&str, &str); 2] = [
    ("retention.ms", "set `retention` of this topic"),
    ("cleanup.policy", "remove it: the services rely on the catalogue's policy"),
];

fn check_overrides(topics: &TopicsSpec, problems: &mut Vec<Problem>) {
    for (name, own) in &topics.overrides {
        let field = format!("topics.overrides[{name}]");
        if Topic::from_name(name).is_none() {
            let names: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
            let known = names.join(", ");
            problems
                .push(Problem::new(&field, format!("names a topic that does not exist; there are {known}")));
        }
        let leader = Topic::from_name(name).and_then(|topic| topic.spec().copartitioned_with);
        if let (Some(leader), Some(_)) = (leader, own.partitions) {
            problems.push(Problem::new(
                format!("{field}.partitions"),
                format!("cannot be set; the topic has as many as {leader}, so set them there"),
            ));
        }
        for (key, remedy) in NOT_BY_CONFIG {
            if own.config.contains_key(key) {
                problems
                    .push(Problem::new(format!("{field}.config[{key}]"), format!("cannot be set; {remedy}")));
            }
        }
    }
}
