//! A small service to test messaging with: it writes down, in a table, which events had their effect.

use std::sync::Arc;
use std::time::Duration;

use contract::{Envelope, Event, InventoryUpdated, Service, Topic};
use devcluster::testing;
use jiff::Timestamp;
use messaging::{
    Codec, ConsumeError, ConsumerOptions, Delivery, Handler, JsonCodec, KafkaConfig, Messaging, Metrics,
};
use prometheus::Registry;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long enough for a machine that does many things at once.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const PARTITIONS: i32 = 3;
/// The tests' service, and what it reads and writes.
pub(crate) const SERVICE: Service = Service::Order;
pub(crate) const INPUT: Topic = Topic::InventoryUpdated;
pub(crate) const OUTPUT: Topic = Topic::OrdersCompleted;
pub(crate) const DEAD_LETTERS: Topic = Topic::OrderDlt;

/// One test's topics and database.
pub(crate) struct Shop {
    pub(crate) kafka: KafkaConfig,
    pub(crate) pool: PgPool,
    pub(crate) registry: Registry,
    codec: Arc<dyn Codec>,
    metrics: Metrics,
}

impl Shop {
    /// On the shared broker and database server.
    pub(crate) async fn open(name: &str) -> Self {
        let (bootstrap, url) = tokio::task::block_in_place(|| {
            (testing::kafka().bootstrap().to_owned(), testing::postgres().create_database(name))
        });
        Self::open_at(name, bootstrap, url).await
    }

    pub(crate) async fn open_at(name: &str, bootstrap: String, url: String) -> Self {
        show_logs();
        let kafka = KafkaConfig::plaintext(bootstrap, name, format!("{}.", testing::unique(name)));
        create_topics(&kafka, &[INPUT, OUTPUT, DEAD_LETTERS], &[]).await;
        // Short, so that a test of an outage sees it soon.
        let acquire = Duration::from_secs(2);
        let pool =
            PgPoolOptions::new().max_connections(8).acquire_timeout(acquire).connect(&url).await.unwrap();
        messaging::migrate(&pool).await.unwrap();
        sqlx::query(
            "CREATE TABLE effects (position bigserial PRIMARY KEY, event_id uuid, key text, number bigint)",
        )
        .execute(&pool)
        .await
        .unwrap();
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        Self { kafka, pool, registry, codec: Arc::new(JsonCodec), metrics }
    }

    /// From now on, its processes read and write by `codec`.
    pub(crate) fn speak(&mut self, codec: impl Codec) {
        self.codec = Arc::new(codec);
    }

    /// The messaging of one more process of the service.
    pub(crate) fn messaging(&self) -> Messaging {
        self.messaging_with(&self.metrics)
    }

    pub(crate) fn messaging_with(&self, metrics: &Metrics) -> Messaging {
        self.messaging_at(&self.kafka.bootstrap_servers, metrics)
    }

    /// Of a process that reaches the broker at `bootstrap`.
    pub(crate) fn messaging_at(&self, bootstrap: &str, metrics: &Metrics) -> Messaging {
        let kafka = KafkaConfig { bootstrap_servers: bootstrap.to_owned(), ..self.kafka.clone() };
        let (pool, codec) = (self.pool.clone(), self.codec.clone());
        let messaging = Messaging::with_codec(kafka, SERVICE, pool, codec, metrics).unwrap();
        messaging.with_options(Self::options())
    }

    pub(crate) fn options() -> ConsumerOptions {
        ConsumerOptions {
            // Small, so that a test's events make many batches.
            batch_max: 40,
            transient_attempts: 3,
            parked_first: Duration::from_millis(10),
            parked_most: Duration::from_millis(200),
            retry_first: Duration::from_millis(10),
            retry_most: Duration::from_millis(200),
            ..ConsumerOptions::default()
        }
    }

    /// Starts a consumer.
    pub(crate) fn consume(&self, handler: impl Handler) -> Running {
        Running::start(self.messaging(), handler)
    }

    pub(crate) async fn publish(&self, events: &[Envelope]) {
        self.messaging().producer().publish(events).await.unwrap();
    }

    /// Sends a record as it is.
    pub(crate) fn send_raw(&self, topic: Topic, key: &str, value: &[u8], timestamp: i64) {
        let producer: ThreadedProducer<_> = self.client().create().unwrap();
        let topic = self.topic(topic);
        let record = BaseRecord::to(&topic).key(key).payload(value).timestamp(timestamp);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
    }

    /// Sends a record with headers as it is.
    pub(crate) fn send_record(&self, topic: Topic, key: &str, value: &[u8], headers: OwnedHeaders) {
        let producer: ThreadedProducer<_> = self.client().create().unwrap();
        let topic = self.topic(topic);
        let record = BaseRecord::to(&topic).key(key).payload(value).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
    }

    /// Key and number of every effect, in the order in which they happened.
    pub(crate) async fn effects(&self) -> Vec<(String, i64)> {
        sqlx::query_as("SELECT key, number FROM effects ORDER BY position")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// Waits until there are `count` effects; there may never be more.
    pub(crate) async fn wait_for_effects(&self, count: usize) {
        eventually(&format!("{count} effects"), async || self.effects().await.len() >= count).await;
        assert_eq!(self.effects().await.len(), count);
    }

    pub(crate) async fn outbox_len(&self) -> i64 {
        sqlx::query_scalar("SELECT coalesce(sum(events), 0) FROM outbox").fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.kafka.topic_prefix, topic.name())
    }

    /// A metric's value, summed over the series whose labels include `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metric(&self.registry, name, labels)
    }

    /// Creates one more topic.
    pub(crate) async fn create_topic(&self, topic: Topic, configs: &[(&str, &str)]) {
        create_topics(&self.kafka, &[topic], configs).await;
    }

    /// Changes a setting of a topic.
    pub(crate) async fn configure_topic(&self, topic: Topic, key: &str, value: &str) {
        let name = self.topic(topic);
        let change = AlterConfig::new(ResourceSpecifier::Topic(&name)).set(key, value);
        let results = admin(&self.kafka).alter_configs([&change], &AdminOptions::new()).await.unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.bootstrap_servers);
        config
    }

    /// Everything on `topic` once there are at least `count` records; each partition's in order.
    pub(crate) async fn records(&self, topic: Topic, count: usize) -> Vec<OwnedMessage> {
        let (config, name) = (self.client(), self.topic(topic));
        tokio::task::spawn_blocking(move || read(config, &name, count)).await.unwrap()
    }

    /// The group's committed offsets, summed over the input's partitions.
    pub(crate) async fn committed(&self) -> i64 {
        let consumer = self.group_client();
        let partitions = self.partitions();
        let committed = tokio::task::spawn_blocking(move || consumer.committed_offsets(partitions, DEADLINE));
        let offsets = committed.await.unwrap().unwrap();
        offsets.elements().iter().filter_map(|element| element.offset().to_raw()).map(|raw| raw.max(0)).sum()
    }

    /// Sets the group back to the start, as if no offset had ever been committed.
    pub(crate) async fn rewind(&self) {
        // The broker refuses while the group has members; the last one may still be leaving.
        eventually("the group to be empty", async || {
            let (consumer, mut partitions) = (self.group_client(), self.partitions());
            partitions.set_all_offsets(Offset::Offset(0)).unwrap();
            tokio::task::spawn_blocking(move || consumer.commit(&partitions, CommitMode::Sync))
                .await
                .unwrap()
                .is_ok()
        })
        .await;
    }

    fn group_client(&self) -> BaseConsumer {
        let group = SERVICE.consumer_group(&self.kafka.topic_prefix);
        self.client().set("group.id", group).set("enable.auto.commit", "false").create().unwrap()
    }

    fn partitions(&self) -> TopicPartitionList {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&self.topic(INPUT), 0, PARTITIONS - 1);
        partitions
    }
}

/// A metric's value in `registry`, summed over the series whose labels include `labels`.
pub(crate) fn metric(registry: &Registry, name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |metric: &prometheus::proto::Metric, (name, value): &(&str, &str)| {
        metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
    };
    registry
        .gather()
        .iter()
        .filter(|family| family.name() == name)
        .flat_map(|family| family.get_metric())
        .filter(|metric| labels.iter().all(|label| has(metric, label)))
        .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
        .sum()
}

fn admin(kafka: &KafkaConfig) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &kafka.bootstrap_servers).create().unwrap()
}

pub(crate) async fn create_topics(kafka: &KafkaConfig, topics: &[Topic], configs: &[(&str, &str)]) {
    let names: Vec<String> =
        topics.iter().map(|topic| format!("{}{}", kafka.topic_prefix, topic.name())).collect();
    let new = |name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    let with_configs =
        |topic| configs.iter().fold(topic, |topic: NewTopic<'_>, (key, value)| topic.set(key, value));
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| with_configs(new(name))).collect();
    let admin = admin(kafka);
    for result in admin.create_topics(&topics, &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
    // A broker shows what was created before it takes records for it.
    eventually("the topics to be served", async || names.iter().all(|name| is_served(&admin, name))).await;
}

fn is_served(admin: &AdminClient<DefaultClientContext>, topic: &str) -> bool {
    let ends = |partition| admin.inner().fetch_watermarks(topic, partition, DEADLINE).is_ok();
    tokio::task::block_in_place(|| (0..PARTITIONS).all(ends))
}

fn read(mut config: ClientConfig, topic: &str, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = config.set("group.id", "unused").create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range(topic, 0, PARTITIONS - 1);
    partitions.set_all_offsets(Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    let mut records = Vec::new();
    loop {
        let end: i64 = (0..PARTITIONS)
            .map(|partition| consumer.fetch_watermarks(topic, partition, DEADLINE).unwrap().1)
            .sum();
        while records.len() < usize::try_from(end).unwrap() {
            assert!(std::time::Instant::now() < deadline, "{} of {end} records came", records.len());
            match consumer.poll(Duration::from_millis(100)) {
                Some(message) => records.push(message.unwrap().detach()),
                None => continue,
            }
        }
        if records.len() >= count {
            records.sort_by_key(|record| (record.partition(), record.offset()));
            return records;
        }
        assert!(std::time::Instant::now() < deadline, "{} of {count} records on {topic}", records.len());
    }
}

/// The event number `number` of `key`.
pub(crate) fn event(key: &str, number: i64) -> Envelope {
    let event: Event = InventoryUpdated {
        product_id: key.parse().unwrap(),
        on_hand: number.try_into().unwrap(),
        reserved: 0,
        sold: 0,
        available: 0,
    }
    .into();
    Envelope::new(event, format!("corr-{key}").parse().unwrap(), Timestamp::now())
}

/// `per_key` events of each of `keys` keys, the keys taking turns.
pub(crate) fn events(keys: i64, per_key: i64) -> Vec<Envelope> {
    (0..per_key).flat_map(|number| (0..keys).map(move |key| event(&format!("key-{key}"), number))).collect()
}

pub(crate) fn number_of(delivery: &Delivery) -> i64 {
    match &delivery.envelope.event {
        Event::InventoryUpdated(updated) => updated.on_hand.try_into().unwrap(),
        other => panic!("{} is not what the tests send", other.event_type()),
    }
}

/// Asserts that each key's effects are its events from 0 on, in order, without gap or repetition.
pub(crate) fn assert_in_order(effects: &[(String, i64)]) {
    let mut next = std::collections::HashMap::<&str, i64>::new();
    for (key, number) in effects {
        let expected = next.entry(key).or_default();
        assert_eq!(number, expected, "the next effect of {key}");
        *expected += 1;
    }
}

/// A process of the service: a consumer and a relay.
pub(crate) struct Running {
    pub(crate) messaging: Messaging,
    shutdown: CancellationToken,
    consumer: JoinHandle<Result<(), ConsumeError>>,
    relay: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(messaging: Messaging, handler: impl Handler) -> Self {
        let shutdown = CancellationToken::new();
        let consumer = tokio::spawn({
            let (messaging, shutdown) = (messaging.clone(), shutdown.clone());
            async move { messaging.consume(&[INPUT], handler, shutdown).await }
        });
        let relay = tokio::spawn({
            let (messaging, shutdown) = (messaging.clone(), shutdown.clone());
            async move { messaging.relay(shutdown).await }
        });
        Self { messaging, shutdown, consumer, relay }
    }

    /// Ends it properly.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        within("the consumer to stop", self.consumer).await.unwrap().unwrap();
        within("the relay to stop", self.relay).await.unwrap();
    }

    /// Ends it as a crash would: nothing is finished, nothing committed.
    pub(crate) async fn crash(self) {
        self.consumer.abort();
        self.relay.abort();
        assert!(self.consumer.await.is_err());
        assert!(self.relay.await.is_err());
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// What `future` gives, within the deadline.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// `RUST_LOG=messaging=debug` shows what happened.
pub(crate) fn show_logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // Only the first test of the process can; the others have it then.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
