//! Topics: names, ids, descriptions, and the requests that make and grow them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A broker's node id.
pub type BrokerId = i32;

/// Longest name Kafka takes: with a partition number and a suffix it must fit a file name of 255 bytes.
const NAME_MAX_BYTES: usize = 249;

/// The name of a topic, valid by Kafka's rules: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(String);

/// A string that is no topic name, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic name {name:?} {reason}")]
pub struct InvalidTopicName {
    name: String,
    reason: &'static str,
}

impl TopicName {
    /// Checks `name` by Kafka's rules.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidTopicName> {
        let name = name.into();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let reason = if name.is_empty() {
            "is empty"
        } else if name.len() > NAME_MAX_BYTES {
            "is longer than 249 characters"
        } else if name == "." || name == ".." {
            "is reserved"
        } else if !name.bytes().all(legal) {
            "holds a character other than letters, digits, '.', '_' and '-'"
        } else {
            return Ok(Self(name));
        };
        Err(InvalidTopicName { name, reason })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both names lead to the same metric names: Kafka turns `.` into `_` there, and refuses to create a
    /// topic that collides with another one so.
    pub fn collides_with(&self, other: &Self) -> bool {
        self.0.replace('.', "_") == other.0.replace('.', "_")
    }
}

impl FromStr for TopicName {
    type Err = InvalidTopicName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The id a topic gets when it is created: a topic deleted and created again under its name has another one.
/// Shown as Kafka's own tools show it, in 22 characters of URL-safe base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(u128);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// 128 bits in characters of 6 bits; the last one carries two bits.
const ID_CHARS: u32 = 22;
const LAST_CHAR_PADDING: u32 = ID_CHARS * 6 - 128;

impl TopicId {
    /// The id with these 128 bits, most significant first.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The id's 128 bits.
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for position in 0..ID_CHARS {
            let used = (position + 1) * 6;
            let sextet = if used <= 128 { self.0 >> (128 - used) } else { self.0 << LAST_CHAR_PADDING };
            let byte = BASE64_URL.get((sextet & 63) as usize).copied().unwrap_or(b'A');
            fmt::Write::write_char(f, char::from(byte))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// A string that is no topic id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no topic id: 22 characters of URL-safe base64 are expected")]
pub struct InvalidTopicId(String);

impl FromStr for TopicId {
    type Err = InvalidTopicId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidTopicId(text.to_owned());
        if text.len() != ID_CHARS as usize {
            return Err(invalid());
        }
        let mut bits = 0u128;
        for (position, byte) in text.bytes().enumerate() {
            let sextet = BASE64_URL.iter().position(|&known| known == byte).ok_or_else(invalid)? as u128;
            let last = position + 1 == ID_CHARS as usize;
            if last && sextet & ((1 << LAST_CHAR_PADDING) - 1) != 0 {
                return Err(invalid());
            }
            bits = if last { (bits << 2) | (sextet >> LAST_CHAR_PADDING) } else { (bits << 6) | sextet };
        }
        Ok(Self(bits))
    }
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 0.
    pub id: i32,
    /// The broker that leads it; none while it is offline.
    pub leader: Option<BrokerId>,
    /// The brokers that should hold it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// The brokers that hold all of it.
    pub in_sync: Vec<BrokerId>,
}

/// A topic that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// Its identity, which a topic created anew does not share.
    pub id: TopicId,
    /// Whether it belongs to Kafka itself (`__consumer_offsets`).
    pub internal: bool,
    /// Its partitions by number.
    pub partitions: Vec<Partition>,
}

impl TopicDescription {
    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// The lowest number of replicas of any partition; they differ only during a reassignment.
    pub fn replication_factor(&self) -> u16 {
        let lowest = self.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0);
        u16::try_from(lowest).unwrap_or(u16::MAX)
    }

    /// Partitions without a leader: nothing can be written to or read from them.
    pub fn offline_partitions(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.leader.is_none()).count()
    }

    /// Partitions with fewer in-sync replicas than replicas.
    pub fn under_replicated_partitions(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.in_sync.len() < partition.replicas.len()).count()
    }
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; the broker's `num.partitions` when none.
    pub partitions: Option<u32>,
    /// How many replicas of each partition; the broker's `default.replication.factor` when none.
    pub replicas: Option<u16>,
    /// Its settings; all others follow the broker's defaults.
    pub config: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic of which everything is left to the broker.
    pub fn named(name: TopicName) -> Self {
        Self { name, partitions: None, replicas: None, config: BTreeMap::new() }
    }

    /// With this many partitions.
    #[must_use]
    pub fn partitions(self, partitions: u32) -> Self {
        Self { partitions: Some(partitions), ..self }
    }

    /// With this many replicas of each partition.
    #[must_use]
    pub fn replicas(self, replicas: u16) -> Self {
        Self { replicas: Some(replicas), ..self }
    }

    /// With this setting.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }
}

/// A topic that shall have more partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionGrowth {
    /// The topic.
    pub topic: TopicName,
    /// How many partitions it shall have in all.
    pub total: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["orders.created", "a", "_A-9", "...", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_collide() {
        let name = |text| TopicName::new(text).unwrap();

        assert!(name("a.b").collides_with(&name("a_b")));
        assert!(!name("a.b").collides_with(&name("a-b")));
    }

    #[test]
    fn ids_are_shown_as_kafka_shows_them_and_read_back() {
        // Kafka's own constants: the metadata topic's id and the zero id.
        assert_eq!(TopicId::from_bits(1).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId::from_bits(0).to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978] {
            let id = TopicId::from_bits(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("AAAAAAAAAAAAAAAAAAAAAR".parse::<TopicId>().is_err());
        assert!("short".parse::<TopicId>().is_err());
    }
}
