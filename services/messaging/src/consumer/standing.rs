//! Whether a consumer hears what happens: judged by what the client reports about itself every few seconds.

use std::collections::HashMap;

use rdkafka::Statistics;
use rdkafka::statistics::Partition;

use crate::config::STATISTICS_INTERVAL;
use crate::record::Source;

/// How far a partition of ours is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) source: Source,
    /// The offset after what is handled.
    pub(super) next: i64,
    /// The offset after the last record; unknown before the first answer to a fetch.
    pub(super) end: Option<i64>,
    /// Whether the broker that has it was heard of since the last report.
    pub(super) is_heard: bool,
}

/// What was seen at the last report.
#[derive(Debug, Default)]
pub(super) struct Standing {
    ends: HashMap<Source, i64>,
}

impl Standing {
    /// Whether everything is handled that was there at the report before this one; under load there is always
    /// something on its way. Without a place in the group, nothing is known.
    pub(super) fn take(&mut self, is_member: bool, readings: &[Reading]) -> bool {
        let is_current = |reading: &Reading| {
            let Some(end) = reading.end.filter(|_| reading.is_heard) else { return false };
            reading.next >= self.ends.get(&reading.source).copied().unwrap_or(end)
        };
        let current = is_member && readings.iter().all(is_current);
        let end = |reading: &Reading| Some((reading.source.clone(), reading.end?));
        self.ends = readings.iter().filter_map(end).collect();
        current
    }
}

/// Whether the client has its place in the group, and the group's coordinator answers.
pub(super) fn is_member(statistics: &Statistics) -> bool {
    statistics.cgrp.as_ref().is_some_and(|group| group.state == "up" && group.join_state == "steady")
}

/// Whether the broker that has `partition` was heard of lately. Fetches are answered at least twice a second, also
/// where nothing happens.
pub(super) fn is_heard(statistics: &Statistics, partition: &Partition) -> bool {
    let silence_us = i64::try_from(STATISTICS_INTERVAL.as_micros()).unwrap_or(i64::MAX);
    statistics.brokers.values().any(|broker| {
        broker.nodeid == partition.broker && broker.state == "UP" && (0..silence_us).contains(&broker.rxidle)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Topic;

    fn reading(next: i64, end: i64) -> Reading {
        let source = Source { topic: Topic::OrdersCreated, name: "orders.created".into(), partition: 0 };
        Reading { source, next, end: Some(end), is_heard: true }
    }

    #[test]
    fn who_has_handled_everything_is_current() {
        assert!(Standing::default().take(true, &[reading(7, 7)]));
    }

    #[test]
    fn a_backlog_has_to_be_handled_first() {
        let mut standing = Standing::default();

        assert!(!standing.take(true, &[reading(0, 100)]));
        assert!(!standing.take(true, &[reading(60, 100)]));
        assert!(standing.take(true, &[reading(100, 100)]));
    }

    #[test]
    fn who_keeps_up_with_a_stream_that_never_ends_is_current() {
        let mut standing = Standing::default();
        standing.take(true, &[reading(900, 1_000)]);

        assert!(standing.take(true, &[reading(1_900, 2_000)]));
        assert!(!standing.take(true, &[reading(1_950, 9_000)]), "it falls behind");
    }

    #[test]
    fn who_hears_nothing_is_not_current_however_little_there_was() {
        for (is_member, unheard) in [
            (false, reading(7, 7)),
            (true, Reading { is_heard: false, ..reading(7, 7) }),
            (true, Reading { end: None, ..reading(7, 7) }),
        ] {
            assert!(!Standing::default().take(is_member, &[unheard]));
        }
    }

    #[test]
    fn a_member_without_partitions_misses_nothing() {
        assert!(Standing::default().take(true, &[]));
        assert!(!Standing::default().take(false, &[]));
    }
}
