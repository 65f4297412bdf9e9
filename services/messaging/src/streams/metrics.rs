//! What Prometheus sees of streams.

use std::time::Duration;

use contract::{Service, Topic};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Registry, exponential_buckets};

use super::Fate;
use crate::metrics::Factory;

/// The metrics of streams, registered once per process and shared by its services.
#[derive(Debug, Clone)]
pub struct Metrics {
    transactions: IntCounterVec,
    transaction_duration: HistogramVec,
    records: IntCounterVec,
    dead_letters: IntCounterVec,
    restore_duration: HistogramVec,
    state_entries: IntGaugeVec,
    lag: IntGaugeVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// The registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let new = Factory(registry);
        Ok(Self {
            transactions: new.counter(
                "kafka_streams_transactions_total",
                "Transactions, by outcome: committed or aborted.",
                &["service", "outcome"],
            )?,
            transaction_duration: new.histogram(
                "kafka_streams_transaction_duration_seconds",
                "Time per committed transaction, from its first record to its commit.",
                // 1 ms to 16 s: an idle broker, up to one that restarts.
                exponential_buckets(0.001, 2.0, 15)?,
            )?,
            records: new.counter(
                "kafka_streams_records_total",
                "Records whose transaction was committed, by fate: processed, duplicate, late or undecodable.",
                &["service", "topic", "fate"],
            )?,
            dead_letters: new.counter(
                "kafka_streams_dead_letters_total",
                "Records given up to the dead-letter topic.",
                &["service", "topic", "reason"],
            )?,
            restore_duration: new.histogram(
                "kafka_streams_restore_duration_seconds",
                "Time to restore the state of the partitions of one assignment.",
                // 10 ms to 160 s: an empty changelog, up to one behind a transaction that was left open.
                exponential_buckets(0.01, 2.0, 15)?,
            )?,
            state_entries: new.gauge(
                "kafka_streams_state_entries",
                "Entries of state in memory, of the partitions this process has.",
                &["service", "partition"],
            )?,
            lag: new.gauge(
                "kafka_streams_lag_messages",
                "Records between the last one read and the end, of the partitions this process has.",
                &["service", "topic", "partition"],
            )?,
        })
    }

    pub(super) fn of(&self, service: Service) -> ServiceMetrics {
        ServiceMetrics { all: self.clone(), service: service.name() }
    }
}

/// [`Metrics`], with the service filled in.
#[derive(Debug, Clone)]
pub(super) struct ServiceMetrics {
    all: Metrics,
    service: &'static str,
}

impl ServiceMetrics {
    pub(super) fn committed(&self, took: Duration) {
        self.all.transactions.with_label_values(&[self.service, "committed"]).inc();
        self.all.transaction_duration.with_label_values(&[self.service]).observe(took.as_secs_f64());
    }

    pub(super) fn aborted(&self) {
        self.all.transactions.with_label_values(&[self.service, "aborted"]).inc();
    }

    pub(super) fn records(&self, topic: Topic, fate: Fate, count: u64) {
        self.all.records.with_label_values(&[self.service, topic.name(), fate.into()]).inc_by(count);
    }

    pub(super) fn dead_letter(&self, topic: Topic, reason: &'static str) {
        self.all.records.with_label_values(&[self.service, topic.name(), "undecodable"]).inc();
        self.all.dead_letters.with_label_values(&[self.service, topic.name(), reason]).inc();
    }

    pub(super) fn restored(&self, took: Duration) {
        self.all.restore_duration.with_label_values(&[self.service]).observe(took.as_secs_f64());
    }

    pub(super) fn state_entries(&self, partition: i32, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.all.state_entries.with_label_values(&[self.service, &partition.to_string()]).set(count);
    }

    pub(super) fn lag(&self, topic: Topic, partition: i32, records: i64) {
        self.all.lag.with_label_values(&[self.service, topic.name(), &partition.to_string()]).set(records);
    }

    /// Forgets a partition that this process no longer has.
    pub(super) fn forget(&self, topic: Topic, partition: i32) {
        let partition = partition.to_string();
        // They are missing where nothing was ever reported, which is as good.
        let _ = self.all.state_entries.remove_label_values(&[self.service, &partition]);
        let _ = self.all.lag.remove_label_values(&[self.service, topic.name(), &partition]);
    }
}
