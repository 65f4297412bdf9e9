//! A small stream to test the runtime with: it counts the events of each key, and tells the count each time it
//! changes. So every reader can see whether a transaction was lost (a count is too small at the end), repeated
//! (a count is told twice) or torn (the sum is not the sum of the counts).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use contract::{Currency, Envelope, Event, SalesRow, SalesUpdated, Service, Topic, WindowStatus};
use devcluster::testing;
use jiff::Timestamp;
use messaging::streams::{
    Application, Fate, Metrics, StateChange, Streams, StreamsError, StreamsOptions, Yield,
};
use messaging::{Cause, Codec, ConsumerState, JsonCodec, KafkaConfig};
use prometheus::Registry;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{self, DEADLINE, PARTITIONS, within};

pub(crate) const SERVICE: Service = Service::OrderAnalytics;
pub(crate) const INPUT: Topic = Topic::InventoryUpdated;
pub(crate) const CHANGELOG: Topic = Topic::OrderAnalyticsChangelog;
pub(crate) const OUTPUT: Topic = Topic::AnalyticsSales;
pub(crate) const DEAD_LETTERS: Topic = Topic::OrderAnalyticsDlt;
/// The entry of the state with the sum of all counts.
const SUM: &[u8] = b"";

/// Counts the events of each key.
#[derive(Clone, Default)]
pub(crate) struct Counting {
    rests: Arc<AtomicU32>,
    at_work: Option<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
pub(crate) struct Counts {
    of: BTreeMap<String, u64>,
    changed: Vec<String>,
}

impl Counting {
    /// One that calls `at_work` at each event, in the middle of a transaction.
    pub(crate) fn that(at_work: impl Fn() + Send + Sync + 'static) -> Self {
        Self { at_work: Some(Arc::new(at_work)), ..Self::default() }
    }

    /// How often it was told that a partition is silent.
    pub(crate) fn rests(&self) -> u32 {
        self.rests.load(Ordering::SeqCst)
    }
}

impl Application for Counting {
    type State = Counts;

    fn input(&self) -> Topic {
        INPUT
    }

    fn changelog(&self) -> Topic {
        CHANGELOG
    }

    fn apply(&self, counts: &mut Counts, envelope: &Envelope) -> Fate {
        self.at_work.iter().for_each(|at_work| at_work());
        let key = envelope.event.key();
        *counts.of.entry(key.clone()).or_default() += 1;
        counts.changed.push(key);
        Fate::Processed
    }

    fn rest(&self, _counts: &mut Counts, _now: Timestamp) -> bool {
        self.rests.fetch_add(1, Ordering::SeqCst);
        false
    }

    fn take_changes(&self, counts: &mut Counts, partition: u32) -> Yield {
        let mut changed = std::mem::take(&mut counts.changed);
        changed.sort_unstable();
        changed.dedup();
        let entry = |key: &[u8], count: u64| StateChange {
            key: key.to_vec(),
            value: Some(count.to_be_bytes().to_vec()),
        };
        let mut yielded = Yield::default();
        for key in changed {
            let count = counts.of.get(&key).copied().unwrap_or_default();
            yielded.state.push(entry(key.as_bytes(), count));
            yielded.events.push(told(&key, partition, count).into());
        }
        yielded.state.push(entry(SUM, counts.of.values().sum()));
        yielded
    }

    fn restore(&self, counts: &mut Counts, key: &[u8], value: &[u8]) -> Result<(), Cause> {
        let count = u64::from_be_bytes(value.try_into()?);
        if key != SUM {
            counts.of.insert(String::from_utf8(key.to_vec())?, count);
        }
        Ok(())
    }

    fn size(&self, counts: &Counts) -> usize {
        counts.of.len()
    }
}

fn told(key: &str, partition: u32, count: u64) -> SalesUpdated {
    let row = SalesRow {
        window_start: Timestamp::UNIX_EPOCH,
        window_end: Timestamp::UNIX_EPOCH,
        currency: Currency::USD,
        product_id: Some(key.parse().unwrap()),
        partition,
    };
    SalesUpdated { row, status: WindowStatus::Open, orders: count, units: 0, revenue_minor: 0 }
}

/// One test's topics.
pub(crate) struct Brook {
    pub(crate) kafka: KafkaConfig,
    pub(crate) registry: Registry,
    metrics: Metrics,
}

impl Brook {
    /// On the shared broker.
    pub(crate) async fn open(name: &str) -> Self {
        let bootstrap = tokio::task::block_in_place(|| testing::kafka().bootstrap().to_owned());
        Self::open_at(name, bootstrap).await
    }

    pub(crate) async fn open_at(name: &str, bootstrap: String) -> Self {
        harness::show_logs();
        let kafka = KafkaConfig::plaintext(bootstrap, name, format!("{}.", testing::unique(name)));
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        harness::create_topics(&kafka, &[INPUT, CHANGELOG, OUTPUT, DEAD_LETTERS], &[]).await;
        Self { kafka, registry, metrics }
    }

    pub(crate) fn topic(&self, topic: Topic) -> String {
        format!("{}{topic}", self.kafka.topic_prefix)
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.bootstrap_servers);
        config
    }

    /// Starts an instance.
    pub(crate) fn start(&self, instance: &str) -> Flow {
        self.start_with(instance, Counting::default(), options())
    }

    pub(crate) fn start_with(&self, instance: &str, application: Counting, options: StreamsOptions) -> Flow {
        let streams =
            Streams::new(self.kafka.clone(), SERVICE, instance, &self.metrics).with_options(options);
        let (shutdown, running) = (CancellationToken::new(), streams.clone());
        let stopping = shutdown.clone();
        let task = tokio::spawn(async move { running.run(application, stopping).await });
        Flow { streams, shutdown, task }
    }

    /// Publishes the next `per_key` events of each of `keys` keys; what they are does not matter here.
    pub(crate) async fn publish(&self, keys: i64, per_key: i64) {
        let (client, topic) = (self.client(), self.topic(INPUT));
        tokio::task::spawn_blocking(move || {
            let producer: ThreadedProducer<_> = client.create().unwrap();
            for envelope in harness::events(keys, per_key) {
                let (key, value) = (envelope.event.key(), JsonCodec.encode(&envelope).unwrap());
                let record = BaseRecord::to(&topic).key(&key).payload(&value);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            producer.flush(DEADLINE).unwrap();
        })
        .await
        .unwrap();
    }

    /// Sends a record as it is.
    pub(crate) fn send_raw(&self, topic: Topic, partition: i32, value: &[u8]) {
        let producer: ThreadedProducer<_> = self.client().create().unwrap();
        let topic = self.topic(topic);
        let record = BaseRecord::to(&topic).key("raw").payload(value).partition(partition);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
    }

    /// What is committed on `topic`, each partition's in order.
    pub(crate) async fn committed(&self, topic: Topic) -> Vec<OwnedMessage> {
        let (client, topic) = (self.client(), self.topic(topic));
        tokio::task::spawn_blocking(move || committed(client, &topic)).await.unwrap()
    }

    /// The last count that was told of each key. Asserts that each was told once, and that they only grew.
    pub(crate) async fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for record in self.committed(OUTPUT).await {
            let envelope = JsonCodec.decode(record.payload().unwrap()).unwrap();
            let Event::SalesUpdated(told) = envelope.event else { panic!("{record:?}") };
            let key = told.row.product_id.unwrap().to_string();
            let before = counts.insert(key.clone(), told.orders).unwrap_or(0);
            assert!(before < told.orders, "{key}: {} was told after {before}", told.orders);
        }
        counts
    }

    /// Waits until each of `keys` keys has the count `count`; there may never be more.
    pub(crate) async fn wait_for_counts(&self, keys: usize, count: u64) {
        harness::eventually(&format!("{keys} counts of {count}"), async || {
            let counts = self.counts().await;
            assert!(counts.values().all(|told| *told <= count), "{counts:?}");
            counts.len() == keys && counts.values().all(|told| *told == count)
        })
        .await;
    }

    /// Asserts that the changelog, as committed at this moment, is whole: the sum is the sum of the counts.
    pub(crate) async fn assert_whole(&self) {
        let mut partitions = HashMap::<i32, BTreeMap<Vec<u8>, u64>>::new();
        for record in self.committed(CHANGELOG).await {
            let count = u64::from_be_bytes(record.payload().unwrap().try_into().unwrap());
            let entries = partitions.entry(record.partition()).or_default();
            entries.insert(record.key().unwrap().to_vec(), count);
        }
        for (partition, mut entries) in partitions {
            let sum = entries.remove(SUM);
            assert_eq!(sum, Some(entries.values().sum()), "partition {partition}");
        }
    }

    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        harness::metric(&self.registry, name, labels)
    }
}

/// Short times, so that a test of many transactions has many.
pub(crate) fn options() -> StreamsOptions {
    StreamsOptions {
        batch_max: 50,
        commit_interval: Duration::from_millis(20),
        idle_after: Duration::from_millis(200),
        ..StreamsOptions::default()
    }
}

/// An instance that runs.
pub(crate) struct Flow {
    streams: Streams,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), StreamsError>>,
}

impl Flow {
    /// Waits until it has its partitions and their states.
    pub(crate) async fn ready(&self) {
        let mut state = self.streams.state();
        within("the stream to run", state.wait_for(|state| *state == ConsumerState::Running)).await.unwrap();
    }

    pub(crate) fn state(&self) -> ConsumerState {
        self.streams.state().borrow().clone()
    }

    /// Ends it properly.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.unwrap();
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Result<(), StreamsError> {
        within("the stream to end", self.task).await.unwrap()
    }

    /// Ends it as a crash would: nothing more is committed.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.is_err());
    }
}

fn committed(mut config: ClientConfig, topic: &str) -> Vec<OwnedMessage> {
    config.set("group.id", "unused").set("enable.partition.eof", "true").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range(topic, 0, PARTITIONS - 1);
    partitions.set_all_offsets(Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let (deadline, mut records, mut ends) = (Instant::now() + DEADLINE, Vec::new(), 0);
    while ends < PARTITIONS {
        assert!(Instant::now() < deadline, "{topic} cannot be read");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(message.detach()),
            Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
            // The broker is away; the client tries again.
            Some(Err(_)) | None => {}
        }
    }
    records.sort_by_key(|record| (record.partition(), record.offset()));
    records
}
