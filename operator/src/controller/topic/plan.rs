//! What has to change so that a topic is as wanted. Pure and infallible.

use std::collections::BTreeMap;
use std::fmt;

use kafka_admin::{ConfigChange, NewTopic};

use super::observed::{ObservedTopic, Setting};
use super::validate::ValidatedTopic;
use crate::crd::kafka_topic::{AdoptionPolicy, AnnouncedTopic};

/// What is remembered of the object's topic in its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Id of the topic that it stands for.
    pub topic_id: Option<String>,
    /// A creation that was announced and whose end nobody wrote down: the process may have died in between.
    pub creating: Option<AnnouncedTopic>,
}

/// How the object comes to its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the topic that the object has stood for all along.
    Known,
    /// There is none yet.
    Created,
    /// The one it stood for is gone; another is made in its place.
    Recreated,
    /// It was there before the object.
    Adopted,
    /// It is somebody else's and stays so.
    Refused,
}

/// What has to be done, and what will not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How the object comes to the topic.
    pub claim: Claim,
    /// In this order.
    pub changes: Vec<Change>,
    /// What the spec asks for and cannot have.
    pub refusals: Vec<Refusal>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create the topic.
    Create(NewTopic),
    /// Give it so many partitions in all.
    AddPartitions {
        /// How many it has.
        from: u32,
        /// How many it shall have.
        to: u32,
    },
    /// Change these settings and no other.
    AlterConfig(BTreeMap<String, ConfigChange>),
}

/// One thing that the spec asks for and cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Fewer partitions than there are.
    Shrink {
        /// How many there are.
        have: u32,
        /// How many are asked for.
        want: u32,
    },
    /// Another number of replicas.
    Replicas {
        /// How many there are.
        have: u16,
        /// How many are asked for.
        want: u16,
    },
    /// Settings that the broker does not know.
    UnknownConfig(Vec<String>),
    /// The topic is there already and may not be taken over.
    Exists,
    /// The topic is there already, and not as the spec says.
    Differs(Vec<String>),
}

impl Refusal {
    /// Reason for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Shrink { .. } => "PartitionDecreaseRefused",
            Self::Replicas { .. } => "ReplicasChangeRefused",
            Self::UnknownConfig(_) => "InvalidConfig",
            Self::Exists => "TopicExists",
            Self::Differs(_) => "TopicDiffers",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shrink { have, want } => write!(
                f,
                "the topic has {have} partitions and spec.partitions is {want}: Kafka cannot take partitions away; \
                 set spec.partitions to {have} or more"
            ),
            Self::Replicas { have, want } => write!(
                f,
                "the topic has {have} replicas and spec.replicas is {want}: set spec.replicas to {have}, \
                 or move the replicas with kafka-reassign-partitions first"
            ),
            Self::UnknownConfig(keys) => {
                write!(f, "the broker does not know {}: correct or remove it in spec.config", keys.join(", "))
            }
            Self::Exists => f.write_str(
                "the topic exists already and adoptionPolicy is Refuse: choose another topicName, or set \
                 adoptionPolicy to IfIdentical or Adopt",
            ),
            Self::Differs(differences) => write!(
                f,
                "the topic exists already and differs ({}): change the spec to match it, or set adoptionPolicy to \
                 Adopt to have it changed",
                differences.join(", ")
            ),
        }
    }
}

/// What has to change so that `observed` becomes what `wanted` says.
pub fn plan(wanted: &ValidatedTopic, memory: &Memory, observed: Option<&ObservedTopic>) -> Plan {
    let Some(topic) = observed else {
        let claim = if memory.topic_id.is_some() { Claim::Recreated } else { Claim::Created };
        return Plan { claim, changes: vec![Change::Create(new_topic(wanted))], refusals: Vec::new() };
    };
    let (changes, refusals) = compare(wanted, topic);
    let announced = memory.creating.as_ref().is_some_and(|announced| is_as(announced, wanted, topic));
    if announced || memory.topic_id.as_ref() == Some(&topic.id.to_string()) {
        return Plan { claim: Claim::Known, changes, refusals };
    }
    let identical = changes.is_empty() && refusals.is_empty();
    let refusal = match wanted.adoption {
        AdoptionPolicy::Adopt => None,
        AdoptionPolicy::Refuse => Some(Refusal::Exists),
        AdoptionPolicy::IfIdentical => {
            (!identical).then(|| Refusal::Differs(differences(topic, &changes, &refusals)))
        }
    };
    match refusal {
        None => Plan { claim: Claim::Adopted, changes, refusals },
        Some(refusal) => Plan { claim: Claim::Refused, changes: Vec::new(), refusals: vec![refusal] },
    }
}

/// Whether `topic` is exactly as we announced to make it, when there was none: then we have made it.
fn is_as(announced: &AnnouncedTopic, wanted: &ValidatedTopic, topic: &ObservedTopic) -> bool {
    let AnnouncedTopic { partitions, replicas, config, cluster_id: _ } = announced.clone();
    let (changes, refusals) =
        compare(&ValidatedTopic { partitions, replicas, config, ..wanted.clone() }, topic);
    changes.is_empty() && refusals.is_empty()
}

fn new_topic(wanted: &ValidatedTopic) -> NewTopic {
    NewTopic {
        name: wanted.name.clone(),
        partitions: wanted.partitions,
        replicas: wanted.replicas,
        config: wanted.config.clone(),
    }
}

fn compare(wanted: &ValidatedTopic, topic: &ObservedTopic) -> (Vec<Change>, Vec<Refusal>) {
    let (mut changes, mut refusals) = (Vec::new(), Vec::new());
    let have = topic.partitions;
    match wanted.partitions {
        Some(want) if want > have => changes.push(Change::AddPartitions { from: have, to: want }),
        Some(want) if want < have => refusals.push(Refusal::Shrink { have, want }),
        Some(_) | None => {}
    }
    if let Some(want) = wanted.replicas.filter(|want| *want != topic.replicas) {
        refusals.push(Refusal::Replicas { have: topic.replicas, want });
    }
    let unknown: Vec<String> =
        wanted.config.keys().filter(|key| !topic.settings.contains_key(*key)).cloned().collect();
    if !unknown.is_empty() {
        refusals.push(Refusal::UnknownConfig(unknown));
    }
    let config = config_changes(wanted, topic);
    if !config.is_empty() {
        changes.push(Change::AlterConfig(config));
    }
    (changes, refusals)
}

fn config_changes(wanted: &ValidatedTopic, topic: &ObservedTopic) -> BTreeMap<String, ConfigChange> {
    let set = wanted.config.iter().filter_map(|(key, value)| {
        let setting = topic.settings.get(key)?;
        (!means(setting, value)).then(|| (key.clone(), ConfigChange::Set(value.clone())))
    });
    let left = topic.settings.iter().filter(|(key, setting)| {
        setting.overridden && !wanted.config.contains_key(*key) && !wanted.hands_off.contains(*key)
    });
    set.chain(left.map(|(key, _)| (key.clone(), ConfigChange::Delete))).collect()
}

/// Whether a setting has this value, however it is written: brokers describe what they have read. Lists may have
/// blanks after their commas.
fn means(setting: &Setting, value: &str) -> bool {
    let parts = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
    setting.value.as_deref().is_some_and(|have| {
        have == value
            || parts(have) == parts(value)
            || is_same_number(have, value)
            || is_same_bool(have, value)
    })
}

fn is_same_number(one: &str, other: &str) -> bool {
    // Integers as such: as fractions, large ones that differ would be the same.
    match (one.parse::<i64>(), other.parse::<i64>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => matches!((one.parse::<f64>(), other.parse::<f64>()), (Ok(one), Ok(other)) if one == other),
    }
}

fn is_same_bool(one: &str, other: &str) -> bool {
    let is_bool = ["true", "false"].iter().any(|text| one.eq_ignore_ascii_case(text));
    is_bool && one.eq_ignore_ascii_case(other)
}

/// The differences between a topic and the spec, for people.
fn differences(topic: &ObservedTopic, changes: &[Change], refusals: &[Refusal]) -> Vec<String> {
    let refused = refusals.iter().map(|refusal| match refusal {
        Refusal::Shrink { have, want } => format!("partitions {have}, spec {want}"),
        Refusal::Replicas { have, want } => format!("replicas {have}, spec {want}"),
        Refusal::UnknownConfig(keys) => format!("unknown settings {}", keys.join(" ")),
        Refusal::Exists | Refusal::Differs(_) => refusal.reason().to_owned(),
    });
    let changed = changes.iter().flat_map(|change| match change {
        Change::Create(_) => Vec::new(),
        Change::AddPartitions { from, to } => vec![format!("partitions {from}, spec {to}")],
        Change::AlterConfig(config) => {
            config.iter().map(|(key, change)| difference(topic, key, change)).collect()
        }
    });
    refused.chain(changed).collect()
}

fn difference(topic: &ObservedTopic, key: &str, change: &ConfigChange) -> String {
    let have = topic.settings.get(key).and_then(|setting| setting.value.as_deref()).unwrap_or("unset");
    match change {
        ConfigChange::Set(value) => format!("{key} {have}, spec {value}"),
        ConfigChange::Delete => format!("{key} {have}, not in the spec"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(have: &str, value: &str) -> bool {
        means(&Setting { value: Some(have.to_owned()), overridden: true }, value)
    }

    #[test]
    fn a_value_is_the_same_however_it_is_written() {
        assert!(has("0.5", "0.50") && has("1.0", "1") && has("0.01", "1e-2"));
        assert!(has("604800000", "0604800000") && has("5", "+5") && has("-1", "-01"));
        assert!(has("true", "True") && has("false", "FALSE"));
        assert!(has("compact,delete", "compact, delete"));
    }

    #[test]
    fn another_value_is_another_one() {
        assert!(!has("0.5", "0.51") && !has("5", "-5") && !has("true", "false") && !has("1", "true"));
        assert!(!has("9223372036854775807", "9223372036854775806"));
        assert!(!has("lz4", "LZ4") && !has("1", "") && !has("", "0"));
    }
}
