//! What the group tells: partitions come and go. It is noted here and acted upon by the worker, between two
//! polls, where the state is at hand; the client waits for that.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use contract::Topic;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, TopicPartitionList};

use super::metrics::ServiceMetrics;
use crate::producer::log;

/// A change of the assignment that the group waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rebalance {
    /// These partitions are ours from now on.
    Assign(Vec<i32>),
    /// These are to be given up.
    Revoke(Vec<i32>),
}

/// Hears what the client reports, on the thread that polls.
pub(super) struct Listener {
    waiting: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
    input: (Topic, String),
    metrics: ServiceMetrics,
}

impl Listener {
    pub(super) fn new(input: Topic, name: String, metrics: ServiceMetrics) -> Self {
        Self { waiting: Mutex::default(), closing: AtomicBool::new(false), input: (input, name), metrics }
    }

    /// The next change to act upon.
    pub(super) fn next(&self) -> Option<Rebalance> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// From now on nobody acts any more, and the group is answered at once.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    fn note(&self, rebalance: Rebalance) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}

impl ConsumerContext for Listener {
    /// In place of the default, which assigns at once.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let closing = self.closing.load(Ordering::SeqCst);
        let numbers = || partitions.elements().iter().map(|element| element.partition()).collect();
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if closing => {
                told(consumer.incremental_assign(partitions));
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS if closing => {
                told(consumer.incremental_unassign(partitions));
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.note(Rebalance::Assign(numbers())),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.note(Rebalance::Revoke(numbers())),
            code => {
                let error = KafkaError::Rebalance(RDKafkaErrorCode::from(code));
                tracing::warn!(%error, "the group could not be rebalanced");
            }
        }
    }
}

/// On leaving there is nothing to be done about an error but to tell.
fn told(result: KafkaResult<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "could not answer the group on leaving it");
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the Kafka consumer reports a problem");
    }

    fn stats(&self, statistics: Statistics) {
        let (topic, name) = &self.input;
        let Some(partitions) = statistics.topics.get(name).map(|topic| &topic.partitions) else { return };
        for (number, partition) in partitions {
            // Both are negative while they are unknown: the partition is not ours, or nothing was read yet.
            if partition.app_offset >= 0 && partition.ls_offset >= 0 {
                self.metrics.lag(*topic, *number, (partition.ls_offset - partition.app_offset).max(0));
            }
        }
    }
}
