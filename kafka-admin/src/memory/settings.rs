//! The settings of a topic: their defaults, and which values a broker takes.

use crate::error::Error;

/// Which values a setting takes.
#[derive(Debug, Clone, Copy)]
enum Takes {
    /// A 64-bit number, at least this.
    Long(i64),
    /// A 32-bit number, at least this.
    Int(i64),
    /// A number from 0 to 1.
    Ratio,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// These words, separated by commas.
    ListOf(&'static [&'static str]),
    /// Anything.
    Text,
}

/// A setting that Kafka 4 knows on topics.
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) default: &'static str,
    takes: Takes,
}

const fn setting(name: &'static str, default: &'static str, takes: Takes) -> Setting {
    Setting { name, default, takes }
}

const LONG_MAX: &str = "9223372036854775807";
const WEEK_MS: &str = "604800000";
const CODECS: Takes = Takes::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);

/// Every setting, by name. The contract suite compares this table with a real broker.
pub(super) const SETTINGS: &[Setting] = &[
    setting("cleanup.policy", "delete", Takes::ListOf(&["compact", "delete"])),
    setting("compression.gzip.level", "-1", Takes::Int(-1)),
    setting("compression.lz4.level", "9", Takes::Int(1)),
    setting("compression.type", "producer", CODECS),
    setting("compression.zstd.level", "3", Takes::Int(-131_072)),
    setting("delete.retention.ms", "86400000", Takes::Long(0)),
    setting("file.delete.delay.ms", "60000", Takes::Long(0)),
    setting("flush.messages", LONG_MAX, Takes::Long(1)),
    setting("flush.ms", LONG_MAX, Takes::Long(0)),
    setting("follower.replication.throttled.replicas", "", Takes::Text),
    setting("index.interval.bytes", "4096", Takes::Int(0)),
    setting("leader.replication.throttled.replicas", "", Takes::Text),
    setting("local.retention.bytes", "-2", Takes::Long(-2)),
    setting("local.retention.ms", "-2", Takes::Long(-2)),
    setting("max.compaction.lag.ms", LONG_MAX, Takes::Long(1)),
    setting("max.message.bytes", "1048588", Takes::Int(0)),
    setting("message.timestamp.after.max.ms", "3600000", Takes::Long(0)),
    setting("message.timestamp.before.max.ms", LONG_MAX, Takes::Long(0)),
    setting("message.timestamp.type", "CreateTime", Takes::OneOf(&["CreateTime", "LogAppendTime"])),
    setting("min.cleanable.dirty.ratio", "0.5", Takes::Ratio),
    setting("min.compaction.lag.ms", "0", Takes::Long(0)),
    setting("min.insync.replicas", "1", Takes::Int(1)),
    setting("preallocate", "false", Takes::Bool),
    setting("remote.log.copy.disable", "false", Takes::Bool),
    setting("remote.log.delete.on.disable", "false", Takes::Bool),
    setting("remote.storage.enable", "false", Takes::Bool),
    setting("retention.bytes", "-1", Takes::Long(i64::MIN)),
    setting("retention.ms", WEEK_MS, Takes::Long(-1)),
    setting("segment.bytes", "1073741824", Takes::Int(1_048_576)),
    setting("segment.index.bytes", "10485760", Takes::Int(4)),
    setting("segment.jitter.ms", "0", Takes::Long(0)),
    setting("segment.ms", WEEK_MS, Takes::Long(1)),
    setting("unclean.leader.election.enable", "false", Takes::Bool),
];

/// Checks a value as the broker does.
pub(super) fn check(name: &str, value: &str) -> Result<(), Error> {
    let refused = |message: String| Error::InvalidConfig { key: Some(name.to_owned()), message };
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
        return Err(refused(format!("Unknown topic config name: {name}")));
    };
    setting
        .takes
        .check(value)
        .map_err(|reason| refused(format!("Invalid value {value} for configuration {name}: {reason}")))
}

impl Takes {
    fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::Long(least) => number(value, "LONG", least, i64::MAX),
            Self::Int(least) => number(value, "INT", least, i64::from(i32::MAX)),
            Self::Ratio => match value.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
                Ok(_) => Err("Value must be between 0 and 1".to_owned()),
                Err(_) => Err("Not a number of type DOUBLE".to_owned()),
            },
            Self::Bool => match value.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err("Expected value to be either true or false".to_owned()),
            },
            Self::OneOf(words) => word(value, words),
            Self::ListOf(words) => value.split(',').try_for_each(|part| word(part.trim(), words)),
            Self::Text => Ok(()),
        }
    }
}

fn number(value: &str, kind: &str, least: i64, most: i64) -> Result<(), String> {
    match value.trim().parse::<i64>() {
        Ok(number) if number < least => Err(format!("Value must be at least {least}")),
        Ok(number) if number <= most => Ok(()),
        Ok(_) | Err(_) => Err(format!("Not a number of type {kind}")),
    }
}

fn word(value: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&value) { Ok(()) } else { Err(format!("String must be one of: {}", words.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_is_taken() {
        for setting in SETTINGS {
            assert_eq!(check(setting.name, setting.default), Ok(()), "{}", setting.name);
        }
    }

    #[test]
    fn wrong_values_are_refused_with_the_key() {
        for (key, value) in [("retention.ms", "soon"), ("cleanup.policy", "burn"), ("preallocate", "yes")] {
            let error = check(key, value).unwrap_err();
            assert!(matches!(error, Error::InvalidConfig { key: Some(named), .. } if named == key));
        }
    }
}
