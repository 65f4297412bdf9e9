//! Topics of the in-memory cluster.

use std::collections::BTreeMap;

use super::settings::{self, SETTINGS};
use crate::admin::Mode;
use crate::config::{ConfigAlteration, ConfigChange, ConfigEntry, ConfigSource, TopicConfig};
use crate::error::Error;
use crate::group::TopicPartition;
use crate::topic::{BrokerId, NewTopic, Partition, PartitionGrowth, TopicDescription, TopicId, TopicName};

/// The broker's `num.partitions` and `default.replication.factor`, Kafka's own defaults.
const DEFAULT_PARTITIONS: u32 = 1;
const DEFAULT_REPLICAS: u16 = 1;

#[derive(Debug)]
struct Topic {
    id: TopicId,
    /// The offset that the next message gets, per partition.
    ends: Vec<i64>,
    replicas: u16,
    overrides: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Topics {
    brokers: u16,
    created: u128,
    topics: BTreeMap<TopicName, Topic>,
    /// What the brokers' own configuration says; it comes before Kafka's defaults.
    broker_settings: BTreeMap<String, String>,
}

impl Topics {
    pub(super) fn on(brokers: u16) -> Self {
        Self { brokers, created: 0, topics: BTreeMap::new(), broker_settings: BTreeMap::new() }
    }

    pub(super) fn set_broker_default(&mut self, key: String, value: String) {
        self.broker_settings.insert(key, value);
    }

    fn get(&self, name: &TopicName) -> Result<&Topic, Error> {
        self.topics.get(name).ok_or_else(unknown)
    }

    fn get_mut(&mut self, name: &TopicName) -> Result<&mut Topic, Error> {
        self.topics.get_mut(name).ok_or_else(unknown)
    }

    pub(super) fn create(&mut self, new: &NewTopic, mode: Mode) -> Result<(), Error> {
        self.check_name(&new.name)?;
        let partitions = new.partitions.unwrap_or(DEFAULT_PARTITIONS);
        let replicas = new.replicas.unwrap_or(DEFAULT_REPLICAS);
        if replicas > self.brokers {
            let brokers = self.brokers;
            let message = format!(
                "Unable to replicate the partition {replicas} time(s): only {brokers} broker(s) are registered."
            );
            return Err(Error::InvalidReplication { message });
        }
        new.config.iter().try_for_each(|(key, value)| settings::check(key, value))?;
        if mode == Mode::Apply {
            self.created += 1;
            let topic = Topic {
                id: TopicId::from_bits(self.created),
                ends: vec![0; partitions as usize],
                replicas,
                overrides: new.config.clone(),
            };
            self.topics.insert(new.name.clone(), topic);
        }
        Ok(())
    }

    fn check_name(&self, name: &TopicName) -> Result<(), Error> {
        if self.topics.contains_key(name) {
            return Err(Error::AlreadyExists { message: format!("Topic '{name}' already exists.") });
        }
        match self.topics.keys().find(|other| other.collides_with(name)) {
            Some(other) => {
                Err(Error::invalid_request(format!("Topic '{name}' collides with existing topic: {other}")))
            }
            None => Ok(()),
        }
    }

    pub(super) fn grow(&mut self, growth: &PartitionGrowth, mode: Mode) -> Result<(), Error> {
        let topic = self.get_mut(&growth.topic)?;
        let (now, total) = (topic.ends.len(), growth.total as usize);
        if total <= now {
            let message = format!(
                "The topic {} currently has {now} partition(s); {total} would not be an increase.",
                growth.topic
            );
            return Err(Error::InvalidPartitions { message });
        }
        if mode == Mode::Apply {
            topic.ends.resize(total, 0);
        }
        Ok(())
    }

    pub(super) fn alter(&mut self, alteration: &ConfigAlteration, mode: Mode) -> Result<(), Error> {
        let topic = self.get_mut(&alteration.topic)?;
        for (key, change) in &alteration.changes {
            match change {
                ConfigChange::Set(value) => settings::check(key, value)?,
                ConfigChange::Delete if SETTINGS.iter().any(|setting| setting.name == key) => {}
                ConfigChange::Delete => settings::check(key, "")?,
            }
        }
        if mode == Mode::Apply {
            for (key, change) in &alteration.changes {
                match change {
                    ConfigChange::Set(value) => topic.overrides.insert(key.clone(), value.clone()),
                    ConfigChange::Delete => topic.overrides.remove(key),
                };
            }
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &TopicName) -> Result<(), Error> {
        self.topics.remove(name).map(|_| ()).ok_or_else(unknown)
    }

    pub(super) fn describe(&self, name: &TopicName) -> Result<TopicDescription, Error> {
        let topic = self.get(name)?;
        let partitions = (0..).take(topic.ends.len()).map(|id| self.partition(id, topic.replicas)).collect();
        let internal = name.as_str() == "__consumer_offsets" || name.as_str() == "__transaction_state";
        Ok(TopicDescription { name: name.clone(), id: topic.id, internal, partitions })
    }

    /// Leaders go round the brokers, and the replicas follow on the next ones.
    fn partition(&self, id: i32, replicas: u16) -> Partition {
        let on = |step: i32| -> BrokerId { (id + step) % i32::from(self.brokers) + 1 };
        let replicas: Vec<BrokerId> = (0..i32::from(replicas)).map(on).collect();
        Partition { id, leader: replicas.first().copied(), in_sync: replicas.clone(), replicas }
    }

    pub(super) fn config(&self, name: &TopicName) -> Result<TopicConfig, Error> {
        let topic = self.get(name)?;
        let entry = |setting: &settings::Setting| {
            let (value, source) = if let Some(value) = topic.overrides.get(setting.name) {
                (value.as_str(), ConfigSource::DynamicTopic)
            } else if let Some(value) = self.broker_settings.get(setting.name) {
                (value.as_str(), ConfigSource::StaticBroker)
            } else {
                (setting.default, ConfigSource::Default)
            };
            ConfigEntry {
                name: setting.name.to_owned(),
                value: Some(value.to_owned()),
                source,
                is_sensitive: false,
                read_only: false,
            }
        };
        Ok(SETTINGS.iter().map(entry).collect())
    }

    pub(super) fn end_offset(&self, partition: &TopicPartition) -> Result<i64, Error> {
        let ends = &self.get(&partition.topic)?.ends;
        let index = usize::try_from(partition.partition).ok();
        index.and_then(|index| ends.get(index)).copied().ok_or_else(unknown)
    }

    pub(super) fn append(&mut self, partition: &TopicPartition, messages: i64) -> Result<(), Error> {
        let ends = &mut self.get_mut(&partition.topic)?.ends;
        let index = usize::try_from(partition.partition).ok();
        let end = index.and_then(|index| ends.get_mut(index)).ok_or_else(unknown)?;
        *end = end.saturating_add(messages);
        Ok(())
    }
}

fn unknown() -> Error {
    Error::not_found("This server does not host this topic-partition.")
}
