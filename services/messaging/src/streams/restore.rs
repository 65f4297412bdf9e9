//! Restores the state of partitions from their changelog.
//!
//! What has to be read is everything up to the changelog's end, *including* what is not decided yet: a transaction
//! whose offsets are committed may have a part in this very partition that the coordinator has not got round to
//! marking. So the end is taken as a reader of uncommitted records sees it, the last stable offset is waited for
//! until it has come so far, and only then is the changelog read, as committed, to its end.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::StreamsError;
use super::watchdog::Watchdog;
use crate::ahead::Ahead;
use crate::producer::SetupError;
use crate::{KafkaConfig, config};

/// How long a question about offsets may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one step may read: between two steps the other partitions have their turn.
const STEP: Duration = Duration::from_millis(50);

/// What a changelog holds of one partition: the last value of each key.
pub(super) type Entries = HashMap<Vec<u8>, Vec<u8>>;

/// Restores some partitions, step by step.
pub(super) struct Restorer {
    topic: String,
    /// Sees the ends of partitions as they are, undecided records included.
    ends: BaseConsumer,
    /// Sees what is committed.
    reader: BaseConsumer,
    /// Which assignment of each partition it is for.
    epochs: BTreeMap<i32, u64>,
    phase: Phase,
    started: Instant,
}

enum Phase {
    /// Waits until everything that was written is decided: the ends to wait for.
    Deciding(BTreeMap<i32, Ahead>),
    /// Reads; the partitions that are not at their end.
    Reading { left: BTreeMap<i32, Ahead>, read: BTreeMap<i32, Entries> },
}

/// The state of some partitions.
pub(super) struct Restored {
    /// By partition: for which assignment it was read, and what.
    pub(super) partitions: Vec<(i32, u64, Entries)>,
    pub(super) took: Duration,
}

impl Restorer {
    /// Restores `epochs` (partitions, each with the assignment it is for) from `topic` (its full name).
    pub(super) fn new(
        kafka: &KafkaConfig,
        group: &str,
        topic: &str,
        epochs: BTreeMap<i32, u64>,
    ) -> Result<Self, StreamsError> {
        let configuration = |error: KafkaError| SetupError::Configuration(error.into());
        Ok(Self {
            topic: topic.to_owned(),
            ends: config::uncommitted_reader(kafka, group).create().map_err(configuration)?,
            reader: config::reader(kafka, group).create().map_err(configuration)?,
            epochs,
            phase: Phase::Deciding(BTreeMap::new()),
            started: Instant::now(),
        })
    }

    /// Goes on for a moment; the state, once all of it was read.
    pub(super) fn step(&mut self, watchdog: &Watchdog) -> Option<Restored> {
        let _watched = watchdog.watch("restoring state");
        let result = match &self.phase {
            Phase::Deciding(_) => self.decide().map(|()| None),
            Phase::Reading { .. } => self.read(),
        };
        result.unwrap_or_else(|error| {
            let topic = &self.topic;
            tracing::warn!(topic, %error, "could not read the changelog; it is tried again");
            None
        })
    }

    /// Looks whether everything is decided, and starts to read once it is.
    fn decide(&mut self) -> Result<(), KafkaError> {
        let Phase::Deciding(ends) = &mut self.phase else { return Ok(()) };
        for partition in self.epochs.keys() {
            if !ends.contains_key(partition) {
                let (low, end) = self.ends.fetch_watermarks(&self.topic, *partition, ASK_TIMEOUT)?;
                ends.insert(*partition, Ahead::of_transactions(low, end));
            }
        }
        for (partition, ahead) in ends.iter() {
            let end = ahead.high();
            let (_, stable) = self.reader.fetch_watermarks(&self.topic, *partition, ASK_TIMEOUT)?;
            if stable < end {
                let topic = &self.topic;
                tracing::debug!(topic, partition, stable, end, "a transaction is not decided yet");
                return Ok(());
            }
        }
        let mut all = TopicPartitionList::with_capacity(self.epochs.len());
        for partition in self.epochs.keys() {
            all.add_partition_offset(&self.topic, *partition, Offset::Beginning)?;
        }
        self.reader.assign(&all)?;
        self.phase = Phase::Reading {
            left: std::mem::take(ends),
            read: self.epochs.keys().map(|partition| (*partition, Entries::new())).collect(),
        };
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Restored>, KafkaError> {
        let Phase::Reading { left, read } = &mut self.phase else { return Ok(None) };
        let deadline = Instant::now() + STEP;
        while !left.is_empty() && Instant::now() < deadline {
            match self.reader.poll(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(message)) => {
                    let partition = message.partition();
                    let Some(entries) = read.get_mut(&partition) else { continue };
                    if let Some(ahead) = left.get_mut(&partition) {
                        ahead.take(message.offset());
                    }
                    let key = message.key().unwrap_or_default().to_vec();
                    match message.payload() {
                        Some(value) => entries.insert(key, value.to_vec()),
                        None => entries.remove(&key),
                    };
                }
                // The end as committed, and that is where everything was decided.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(ahead) = left.get_mut(&partition) {
                        ahead.end(Instant::now());
                    }
                }
                Some(Err(error)) => return Err(error),
                None => {}
            }
            left.retain(|_, ahead| !ahead.is_done(Instant::now()));
        }
        if !left.is_empty() {
            return Ok(None);
        }
        let epochs = &self.epochs;
        let partitions = std::mem::take(read)
            .into_iter()
            .filter_map(|(partition, entries)| Some((partition, *epochs.get(&partition)?, entries)));
        Ok(Some(Restored { partitions: partitions.collect(), took: self.started.elapsed() }))
    }
}
