//! The fetch thread: the only one that touches the Kafka consumer. It polls, queues, commits what is done, and
//! pauses when nobody takes what it fetched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::Topic;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use tokio::sync::{oneshot, watch};

use super::inbound::{Inbound, Place, Stop};
use super::standing::{Reading, Standing, is_heard, is_member};
use super::{ConsumeError, ConsumerState, Wiring};
use crate::config;
use crate::metrics::ServiceMetrics;
use crate::parking::Parking;
use crate::producer::{SetupError, log};
use crate::record::{Incoming, Source};

/// How long to wait for a record before looking after commits and shutdown.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Most records per look: more would only delay the handler's first batch.
const POLL_MAX: usize = 500;
/// How long a full queue may keep this thread from polling. Pausing throws away what was prefetched, so it is
/// not done for a handler that is merely slower than the network; but the group must not be kept waiting.
const ROOM_PATIENCE: Duration = Duration::from_millis(500);
/// From commit to commit. Each is a record on a topic of the broker, as dear as a batch of events; what a crash
/// repeats for want of one is recognised.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// How long a rebalance waits for the batch in hand, so that its offsets go with the partition. If it takes
/// longer, the next owner gets those events again, and its inbox knows them.
const REVOKE_PATIENCE: Duration = Duration::from_secs(5);

/// Starts the thread. The receiver tells when it has ended, and why.
pub(super) fn start(
    wiring: &Wiring,
    topics: &[Topic],
    inbound: Arc<Inbound>,
    parking: Arc<Parking>,
) -> Result<oneshot::Receiver<Result<(), ConsumeError>>, ConsumeError> {
    let names: HashMap<String, (Topic, Arc<str>)> = topics
        .iter()
        .map(|topic| {
            let name = wiring.producer.full_name(topic.name());
            (name.clone(), (*topic, name.into()))
        })
        .collect();
    let listener = Listener {
        inbound: inbound.clone(),
        parking,
        names: names.clone(),
        metrics: wiring.metrics.clone(),
        state: wiring.state.clone(),
        standing: Mutex::default(),
        current: wiring.current.clone(),
    };
    let config = config::consumer(&wiring.kafka, &wiring.group);
    let consumer = BaseConsumer::from_config_and_context(&config, listener).map_err(configuration)?;
    let subscription: Vec<&str> = names.keys().map(String::as_str).collect();
    consumer.subscribe(&subscription).map_err(configuration)?;
    let fetcher = Fetcher { consumer, inbound, names, paused: false, committed: Instant::now() };
    let (ended, wait) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("fetch-{}", wiring.service))
        .spawn(move || {
            // The consumer leaves its group when it is dropped, before the end is reported.
            let result = fetcher.run();
            // Nobody listens if the consumer's task was dropped.
            let _ = ended.send(result);
        })
        .map_err(ConsumeError::Thread)?;
    Ok(wait)
}

fn configuration(error: KafkaError) -> ConsumeError {
    SetupError::Configuration(error.into()).into()
}

struct Fetcher {
    consumer: BaseConsumer<Listener>,
    inbound: Arc<Inbound>,
    names: HashMap<String, (Topic, Arc<str>)>,
    paused: bool,
    committed: Instant,
}

impl Fetcher {
    fn run(mut self) -> Result<(), ConsumeError> {
        loop {
            match self.inbound.stopping() {
                Some(Stop::Committing) => {
                    commit(&self.consumer, &self.inbound.ask_for_commits(), CommitMode::Sync);
                    return Ok(());
                }
                Some(Stop::Aborting) => return Ok(()),
                None => {}
            }
            self.commit_if_due();
            self.poll()?;
            self.keep_within_bounds();
        }
    }

    fn commit_if_due(&mut self) {
        if self.committed.elapsed() >= COMMIT_INTERVAL {
            commit(&self.consumer, &self.inbound.ask_for_commits(), CommitMode::Async);
            self.committed = Instant::now();
        }
    }

    /// Queues what is there, or the first that comes.
    fn poll(&self) -> Result<(), ConsumeError> {
        for polled in 0..POLL_MAX {
            // Only the first is waited for: a batch is what is there.
            let wait = if polled == 0 { POLL_WAIT } else { Duration::ZERO };
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    if let Some(record) = self.record_of(&message) {
                        self.inbound.push(record);
                    }
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(ConsumeError::Fatal(error.into()));
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "could not fetch; the client tries again");
                    break;
                }
                None => break,
            }
        }
        self.inbound.announce();
        Ok(())
    }

    fn record_of(&self, message: &BorrowedMessage<'_>) -> Option<Incoming> {
        let (topic, name) = self.names.get(message.topic())?;
        let source = Source { topic: *topic, name: name.clone(), partition: message.partition() };
        Some(Incoming::of(source, message))
    }

    /// Stops fetching while the queue is full, without ceasing to poll.
    fn keep_within_bounds(&mut self) {
        // Once paused there is no hurry: the poll itself waits, and a look is enough.
        let patience = if self.paused { Duration::ZERO } else { ROOM_PATIENCE };
        let room = self.inbound.room_within(patience);
        let result = match (room, self.paused) {
            (true, false) => return,
            (true, true) => self.consumer.assignment().and_then(|all| self.consumer.resume(&all)),
            // Also when paused already: partitions may have been assigned since, and those are not.
            (false, _) => self.consumer.assignment().and_then(|all| self.consumer.pause(&all)),
        };
        match result {
            Ok(()) => self.paused = !room,
            Err(error) => tracing::warn!(%error, "could not pause or resume fetching"),
        }
    }
}

fn commit(consumer: &BaseConsumer<Listener>, places: &[Place], mode: CommitMode) {
    if places.is_empty() {
        return;
    }
    let sources = || places.iter().map(|(source, _)| source.clone()).collect::<Vec<_>>();
    let result = offsets_of(places).and_then(|offsets| consumer.commit(&offsets, mode));
    if let Err(error) = result {
        tracing::warn!(%error, "could not commit offsets; the events are recognised if they come again");
        consumer.context().inbound.commit_failed(&sources());
    }
}

fn offsets_of(places: &[Place]) -> KafkaResult<TopicPartitionList> {
    let mut offsets = TopicPartitionList::with_capacity(places.len());
    for (source, next) in places {
        offsets.add_partition_offset(&source.name, source.partition, Offset::Offset(*next))?;
    }
    Ok(offsets)
}

/// Hears what the client reports, on the fetch thread.
struct Listener {
    inbound: Arc<Inbound>,
    parking: Arc<Parking>,
    names: HashMap<String, (Topic, Arc<str>)>,
    metrics: ServiceMetrics,
    state: watch::Sender<ConsumerState>,
    standing: Mutex<Standing>,
    current: watch::Sender<bool>,
}

impl Listener {
    fn sources_of(&self, partitions: &TopicPartitionList) -> Vec<Source> {
        let source = |topic: &str, partition| {
            let (topic, name) = self.names.get(topic)?;
            Some(Source { topic: *topic, name: name.clone(), partition })
        };
        partitions
            .elements()
            .iter()
            .filter_map(|element| source(element.topic(), element.partition()))
            .collect()
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, sources: &[Source]) {
        let places = self.inbound.revoke(sources, REVOKE_PATIENCE);
        for source in sources {
            self.metrics.lag_unknown(source.topic, source.partition);
        }
        // Lost partitions belong to another consumer already, and an aborted consumer commits nothing.
        if !consumer.assignment_lost() && self.inbound.stopping() != Some(Stop::Aborting) {
            commit(consumer, &places, CommitMode::Sync);
        }
        tracing::info!(partitions = ?named(sources), "partitions were taken away");
    }
}

fn named(sources: &[Source]) -> Vec<String> {
    sources.iter().map(|source| format!("{}-{}", source.name, source.partition)).collect()
}

impl ConsumerContext for Listener {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                let sources = self.sources_of(partitions);
                // Before the first record: their former owner may have parked what those must queue behind.
                self.parking.doubt();
                self.inbound.assigned(&sources);
                // What waits in them is found out with the next statistics.
                self.current.send_if_modified(|current| !sources.is_empty() && std::mem::take(current));
                tracing::info!(partitions = ?named(&sources), "partitions were assigned");
                self.state.send_if_modified(|state| {
                    let first = *state == ConsumerState::Starting;
                    if first {
                        *state = ConsumerState::Running;
                    }
                    first
                });
            }
            Rebalance::Revoke(partitions) => self.revoke(consumer, &self.sources_of(partitions)),
            Rebalance::Error(error) => tracing::warn!(%error, "the group could not be rebalanced"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "could not commit offsets; they are committed again");
            self.inbound.commit_failed(&self.sources_of(offsets));
        }
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
        let mut readings = Vec::new();
        for (source, done) in self.inbound.done() {
            let reading = Self::read(&statistics, source, done);
            if let Some(end) = reading.end {
                let (topic, partition) = (reading.source.topic, reading.source.partition);
                self.metrics.lag(topic, partition, (end - reading.next).max(0));
            }
            readings.push(reading);
        }
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        self.current.send_replace(standing.take(is_member(&statistics), &readings));
    }
}

impl Listener {
    /// How far the partition `source` is, of which everything before `done` is handled.
    fn read(statistics: &Statistics, source: Source, done: Option<i64>) -> Reading {
        let known = statistics.topics.get(&*source.name);
        let Some(partition) = known.and_then(|topic| topic.partitions.get(&source.partition)) else {
            return Reading { source, next: 0, end: None, is_heard: false };
        };
        Reading {
            next: done.unwrap_or_else(|| partition.committed_offset.max(partition.lo_offset).max(0)),
            // Up to the last stable offset: what follows is not readable yet.
            end: Some(partition.ls_offset).filter(|end| *end >= 0),
            is_heard: is_heard(statistics, partition),
            source,
        }
    }
}
