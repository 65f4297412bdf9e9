//! Settings of topics.

use std::collections::BTreeMap;
use std::fmt;

use crate::topic::TopicName;

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// Set on this topic.
    DynamicTopic,
    /// Set at run time on one broker.
    DynamicBroker,
    /// Set at run time as the default of all brokers.
    DynamicDefaultBroker,
    /// From the broker's configuration file.
    StaticBroker,
    /// Built into Kafka.
    Default,
    /// The broker named a source that this version does not know.
    Unknown,
}

/// One setting.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its key, `retention.ms` for one.
    pub name: String,
    /// Its value; the broker withholds sensitive ones.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether its value is secret.
    pub is_sensitive: bool,
    /// Whether it cannot be changed.
    pub read_only: bool,
}

impl fmt::Debug for ConfigEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = Some("[REDACTED]".to_owned());
        f.debug_struct("ConfigEntry")
            .field("name", &self.name)
            .field("value", if self.is_sensitive { &hidden } else { &self.value })
            .field("source", &self.source)
            .field("is_sensitive", &self.is_sensitive)
            .field("read_only", &self.read_only)
            .finish()
    }
}

/// Every setting of one topic, by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicConfig {
    entries: BTreeMap<String, ConfigEntry>,
}

impl TopicConfig {
    /// The setting `key`, if this broker knows it.
    pub fn get(&self, key: &str) -> Option<&ConfigEntry> {
        self.entries.get(key)
    }

    /// The value of the setting `key`, wherever it comes from.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.get(key)?.value.as_deref()
    }

    /// All settings, by key.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigEntry> {
        self.entries.values()
    }

    /// The settings that were set on the topic itself.
    pub fn overrides(&self) -> impl Iterator<Item = &ConfigEntry> {
        self.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic)
    }
}

impl FromIterator<ConfigEntry> for TopicConfig {
    fn from_iter<I: IntoIterator<Item = ConfigEntry>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect() }
    }
}

/// What to do with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Give it this value.
    Set(String),
    /// Let it follow the broker's default again. Deleting what is not set changes nothing.
    Delete,
}

/// Changes to some settings of one topic; all others stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigAlteration {
    /// The topic.
    pub topic: TopicName,
    /// The changes, by key.
    pub changes: BTreeMap<String, ConfigChange>,
}

impl ConfigAlteration {
    /// No change yet.
    pub fn of(topic: TopicName) -> Self {
        Self { topic, changes: BTreeMap::new() }
    }

    /// And give `key` this value.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.changes.insert(key.into(), ConfigChange::Set(value.into()));
        self
    }

    /// And let `key` follow the broker's default again.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.changes.insert(key.into(), ConfigChange::Delete);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensitive_values_are_not_in_debug_output() {
        let entry = ConfigEntry {
            name: "ssl.keystore.password".to_owned(),
            value: Some("hunter2".to_owned()),
            source: ConfigSource::StaticBroker,
            is_sensitive: true,
            read_only: true,
        };

        assert!(!format!("{entry:?}").contains("hunter2"));
    }
}
