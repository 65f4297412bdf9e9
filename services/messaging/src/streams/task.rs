//! The partitions of the input that are ours: their states, and what waits for the next transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{CorrelationId, Envelope};
use jiff::Timestamp;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use strum::VariantArray;
use uuid::Uuid;

use super::restore::Entries;
use super::transaction::Record;
use super::worker::Wiring;
use super::{Application, Fate, StreamsError, Yield};
use crate::EncodeError;
use crate::consumer::decode;
use crate::dead_letter;
use crate::producer::record_of;
use crate::record::{Incoming, Outgoing, Source};

/// The partitions that are ours.
pub(super) struct Tasks<A: Application> {
    application: A,
    wiring: Arc<Wiring>,
    tasks: BTreeMap<i32, Task<A::State>>,
    epochs: u64,
    /// How many records wait for the next transaction, and since when.
    waiting: usize,
    since: Option<Instant>,
}

struct Task<S> {
    /// The offset of the next record.
    next: i64,
    /// Tells one assignment of the partition from another.
    epoch: u64,
    /// None while it is being restored.
    state: Option<S>,
    last_heard: Instant,
    /// Whether there is anything to commit.
    touched: bool,
    /// How many of the waiting records had each fate.
    fates: [u64; Fate::VARIANTS.len()],
    dead_letters: Vec<(Outgoing, &'static str)>,
}

/// What one transaction is to commit.
pub(super) struct Transaction {
    pub(super) records: Vec<Record>,
    pub(super) offsets: TopicPartitionList,
    /// Since when its first record waits.
    pub(super) since: Instant,
}

/// Why a record was not taken in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    /// Its partition is not restored yet.
    #[error("a record of partition {0} came before its state was there")]
    Unready(i32),
    /// It is time to stop.
    #[error("it is time to stop")]
    Stopping,
}

impl<A: Application> Tasks<A> {
    pub(super) fn new(application: A, wiring: Arc<Wiring>) -> Self {
        Self { application, wiring, tasks: BTreeMap::new(), epochs: 0, waiting: 0, since: None }
    }

    /// Our partitions.
    pub(super) fn partitions(&self) -> Vec<i32> {
        self.tasks.keys().copied().collect()
    }

    /// Takes partitions over, each at the offset of its next record. Returns which assignment of each this is, by
    /// which to name its state when it comes.
    pub(super) fn assign(&mut self, positions: &[(i32, i64)]) -> BTreeMap<i32, u64> {
        self.epochs += 1;
        for (partition, next) in positions {
            let task = Task {
                next: *next,
                epoch: self.epochs,
                state: None,
                last_heard: Instant::now(),
                touched: false,
                fates: Default::default(),
                dead_letters: Vec::new(),
            };
            self.tasks.insert(*partition, task);
        }
        positions.iter().map(|(partition, _)| (*partition, self.epochs)).collect()
    }

    /// Gives a partition up, with all that waits.
    pub(super) fn forget(&mut self, partition: i32) {
        if self.tasks.remove(&partition).is_some() {
            self.wiring.metrics.forget(self.wiring.input.topic, partition);
        }
    }

    /// Gives a partition its state back. Whether it is still ours, by the assignment `epoch`.
    pub(super) fn restore(
        &mut self,
        partition: i32,
        epoch: u64,
        entries: &Entries,
    ) -> Result<bool, StreamsError> {
        let Some(task) = self.tasks.get_mut(&partition).filter(|task| task.epoch == epoch) else {
            return Ok(false);
        };
        let mut state = A::State::default();
        for (key, value) in entries {
            self.application
                .restore(&mut state, key, value)
                .map_err(|source| StreamsError::State { topic: self.wiring.changelog.clone(), source })?;
        }
        self.wiring.metrics.state_entries(partition, self.application.size(&state));
        task.state = Some(state);
        Ok(true)
    }

    /// Takes in a record.
    pub(super) fn accept(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Halt> {
        // What is left in the queue of a partition that was given up is somebody else's.
        let Some(task) = self.tasks.get_mut(&message.partition()) else { return Ok(()) };
        let Some(state) = &mut task.state else { return Err(Halt::Unready(message.partition())) };
        if !self.wiring.schemas.ready_for(message.payload()) {
            return Err(Halt::Stopping);
        }
        let input = &self.wiring.input;
        match decode::envelope_of(message.payload(), input.topic, &*self.wiring.codec) {
            Ok(envelope) => {
                let fate = self.application.apply(state, &envelope);
                if let Some(count) = task.fates.get_mut(fate as usize) {
                    *count += 1;
                }
            }
            Err(grounds) => {
                let source = Source { partition: message.partition(), ..input.clone() };
                let record = Incoming::of(source, message);
                let topic = self.wiring.dead_letters.clone();
                let letter = dead_letter::of(&record, topic, &self.wiring.group, &grounds);
                task.dead_letters.push((letter, grounds.reason));
            }
        }
        task.next = message.offset() + 1;
        task.last_heard = Instant::now();
        task.touched = true;
        self.waiting += 1;
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Tells the application of partitions that have been silent.
    pub(super) fn rest(&mut self) {
        let idle_after = self.wiring.options.idle_after;
        for task in self.tasks.values_mut().filter(|task| task.last_heard.elapsed() >= idle_after) {
            let Some(state) = &mut task.state else { continue };
            // Told again after as long: one hour after the other may be over.
            task.last_heard = Instant::now();
            if self.application.rest(state, Timestamp::now()) {
                task.touched = true;
                self.since.get_or_insert_with(Instant::now);
            }
        }
    }

    /// How many more records the next transaction takes, and how long it may wait for them; none waits yet where
    /// the time is absent.
    pub(super) fn room(&self) -> (usize, Option<Duration>) {
        let options = &self.wiring.options;
        let left = self.since.map(|since| options.commit_interval.saturating_sub(since.elapsed()));
        (options.batch_max.saturating_sub(self.waiting), left)
    }

    /// Takes what waits, to commit it; none where nothing does. What is taken is gone from here: if it is not
    /// committed, the states have to be restored.
    ///
    /// # Errors
    /// An event that cannot be written.
    pub(super) fn take_transaction(&mut self) -> Result<Option<Transaction>, StreamsError> {
        let Some(since) = self.since.take() else { return Ok(None) };
        self.waiting = 0;
        let (now, story) = (Timestamp::now(), CorrelationId::from(Uuid::now_v7()));
        let mut transaction = Transaction { records: Vec::new(), offsets: TopicPartitionList::new(), since };
        for (partition, task) in self.tasks.iter_mut().filter(|(_, task)| task.touched) {
            let Some(state) = &mut task.state else { continue };
            let yielded = self.application.take_changes(state, u32::try_from(*partition).unwrap_or_default());
            let letters = task.dead_letters.iter().map(|(letter, _)| letter.clone().into());
            self.wiring.append_records(*partition, yielded, (&story, now), &mut transaction.records)?;
            transaction.records.extend(letters);
            // Also where nothing was read: the offsets are what fences one that was thrown out of the group.
            let input = &self.wiring.input.name;
            let next = Offset::Offset(task.next);
            let added = transaction.offsets.add_partition_offset(input, *partition, next);
            added.map_err(|error| StreamsError::Fatal(error.into()))?;
        }
        // Nothing is left where all of it belonged to partitions that were lost.
        let empty = transaction.records.is_empty() && transaction.offsets.count() == 0;
        Ok((!empty).then_some(transaction))
    }

    /// What was taken was committed.
    pub(super) fn committed(&mut self) {
        let (metrics, topic) = (&self.wiring.metrics, self.wiring.input.topic);
        for (partition, task) in self.tasks.iter_mut().filter(|(_, task)| task.touched) {
            task.touched = false;
            for (fate, count) in Fate::VARIANTS.iter().zip(std::mem::take(&mut task.fates)) {
                metrics.records(topic, *fate, count);
            }
            for (_, reason) in task.dead_letters.drain(..) {
                metrics.dead_letter(topic, reason);
            }
            let size = task.state.as_ref().map_or(0, |state| self.application.size(state));
            metrics.state_entries(*partition, size);
        }
    }
}

impl Wiring {
    /// Adds the records of what the application yielded for `partition`, as part of a story and at a time.
    fn append_records(
        &self,
        partition: i32,
        yielded: Yield,
        (story, now): (&CorrelationId, Timestamp),
        records: &mut Vec<Record>,
    ) -> Result<(), EncodeError> {
        records.extend(yielded.state.into_iter().map(|change| Record {
            record: Outgoing {
                topic: self.changelog.clone(),
                key: Some(change.key),
                value: change.value,
                headers: Vec::new(),
                timestamp: None,
            },
            partition: Some(partition),
        }));
        for event in yielded.events {
            let envelope = Envelope::new(event, story.clone(), now);
            records.push(record_of(&self.kafka.topic_prefix, &*self.codec, &envelope)?.into());
        }
        Ok(())
    }
}

impl From<Outgoing> for Record {
    /// Its key decides where it goes.
    fn from(record: Outgoing) -> Self {
        Self { record, partition: None }
    }
}
