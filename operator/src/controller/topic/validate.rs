//! From the spec to what is wanted, in types that cannot be wrong. The CRD's schema refuses most mistakes
//! at the door; this is the second door, for objects older than a rule and for rules no schema can state.

use std::collections::{BTreeMap, BTreeSet};

use kafka_admin::{Principal, TopicName};
use kube::ResourceExt;

use super::access::{self, Bindings};
use crate::crd::KafkaTopic;
use crate::crd::kafka_topic::{AccessRule, AdoptionPolicy, DeletionPolicy};

/// Settings that belong to tools that move replicas; always left alone.
pub const THROTTLES: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// What a valid spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedTopic {
    /// Name of the topic.
    pub name: TopicName,
    /// Partitions; the broker's default, and hands off, without it.
    pub partitions: Option<u32>,
    /// Replicas; the broker's default, and hands off, without it.
    pub replicas: Option<u16>,
    /// Settings with their values.
    pub config: BTreeMap<String, String>,
    /// Settings that are left to others.
    pub hands_off: BTreeSet<String>,
    /// Who may do what with it.
    pub access: Bindings,
    /// What to do with a topic that is there already.
    pub adoption: AdoptionPolicy,
    /// What to do with the topic when the object goes.
    pub deletion: DeletionPolicy,
}

/// Why a spec cannot be carried out; every problem, each with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Invalid(pub Vec<String>);

/// Name of the topic that `topic` stands for, valid or not.
pub fn effective_name(topic: &KafkaTopic) -> String {
    topic.spec.topic_name.clone().unwrap_or_else(|| topic.name_any())
}

/// Whether `topic` stands for the topic `name`.
pub fn is_named(topic: &KafkaTopic, name: &str) -> bool {
    topic.spec.topic_name.as_deref().or(topic.metadata.name.as_deref()) == Some(name)
}

/// What the spec asks for.
///
/// # Errors
/// [`Invalid`] with all that is wrong.
pub fn validate(topic: &KafkaTopic) -> Result<ValidatedTopic, Invalid> {
    let spec = &topic.spec;
    let mut problems = Vec::new();
    let name = TopicName::new(effective_name(topic)).map_err(|error| problems.push(error.to_string())).ok();
    if let Some(name) = name.as_ref().filter(|name| name.as_str().starts_with("__")) {
        problems.push(format!(
            "topic {name} belongs to Kafka itself; choose a name that does not begin with \"__\""
        ));
    }
    let partitions = positive("partitions", spec.partitions, &mut problems);
    let replicas: Option<u16> = positive("replicas", spec.replicas, &mut problems);
    let (mut config, mut hands_off) = (BTreeMap::new(), BTreeSet::from(THROTTLES.map(str::to_owned)));
    for (key, value) in &spec.config {
        match value {
            Some(value) => {
                config.insert(key.clone(), value.trim().to_owned());
            }
            None => {
                hands_off.insert(key.clone());
            }
        }
    }
    let access = rights(&effective_name(topic), &spec.access, &mut problems);
    problems.extend(throttle_problem(&config));
    problems.extend(in_sync_problem(replicas, &config));
    match name {
        Some(name) if problems.is_empty() => Ok(ValidatedTopic {
            name,
            partitions,
            replicas,
            config,
            hands_off,
            access,
            adoption: spec.adoption_policy,
            deletion: spec.deletion_policy,
        }),
        Some(_) | None => Err(Invalid(problems)),
    }
}

fn positive<N: TryFrom<i32>>(field: &str, value: Option<i32>, problems: &mut Vec<String>) -> Option<N> {
    let value = value?;
    let number = N::try_from(value).ok().filter(|_| value > 0);
    if number.is_none() {
        problems.push(format!("spec.{field} is {value}; it must be positive and within Kafka's limits"));
    }
    number
}

fn rights(topic: &str, rules: &[AccessRule], problems: &mut Vec<String>) -> Bindings {
    let mut all = Bindings::new();
    for AccessRule { principal, operations, host } in rules {
        match principal.parse::<Principal>() {
            Ok(_) if principal == "User:*" => {
                problems.push("spec.access names User:*, which is everybody; name each principal".to_owned())
            }
            Ok(who) if principal.starts_with("User:") => {
                all.extend(access::bindings(topic, &who, operations, host));
            }
            Ok(_) => problems.push(format!(
                "spec.access names {principal}: only users are granted access; name them as User:name"
            )),
            Err(error) => problems.push(format!("spec.access: {error}")),
        }
    }
    all
}

fn throttle_problem(config: &BTreeMap<String, String>) -> Option<String> {
    let key = THROTTLES.into_iter().find(|key| config.contains_key(*key))?;
    Some(format!("spec.config {key} belongs to the tools that move replicas; remove it"))
}

/// With more in-sync replicas demanded than there are replicas, no write with `acks=all` ever succeeds.
fn in_sync_problem(replicas: Option<u16>, config: &BTreeMap<String, String>) -> Option<String> {
    let minimum: u16 = config.get("min.insync.replicas")?.parse().ok()?;
    let replicas = replicas.filter(|replicas| minimum > *replicas)?;
    Some(format!(
        "spec.config min.insync.replicas is {minimum} but spec.replicas is {replicas}: nothing could be written; \
         lower the first or raise the second"
    ))
}
