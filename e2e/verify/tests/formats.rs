//! What the topics say is read whichever format it is written in.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use contract::{Currency, Envelope, Event, Money, OrderCompleted, OrderId, Step, Topic, avro};
use devcluster::{ports, testing};
use jiff::Timestamp;
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin, Mode, NewRecord, NewTopic, TopicName, append_records};
use messaging::{AvroCodec, Codec, JsonCodec, Registry};
use uuid::Uuid;
use verify::{Facts, GatherError, RegistryConfig, Source, gather};

/// How long a broker or a registry may be too busy to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// A number that no registry has given out.
const NEVER_GIVEN: u32 = 2_000_000_000;

/// The topics of one test.
struct Realm {
    kafka: ConnectOptions,
    prefix: String,
}

impl Realm {
    async fn create() -> Self {
        let bootstrap = tokio::task::block_in_place(|| testing::kafka().bootstrap());
        let realm = Self {
            kafka: ConnectOptions::plaintext(bootstrap),
            prefix: format!("{}-", testing::unique("v")),
        };
        let admin = KafkaAdmin::connect(&realm.kafka).unwrap();
        let topics: Vec<NewTopic> = Topic::ALL
            .iter()
            .map(|topic| NewTopic::named(realm.name(*topic)).partitions(1).replicas(1))
            .collect();
        for created in admin.create_topics(&topics, Mode::Apply).await {
            created.unwrap();
        }
        realm
    }

    fn name(&self, topic: Topic) -> TopicName {
        format!("{}{}", self.prefix, topic.name()).parse().unwrap()
    }

    async fn append(&self, values: impl IntoIterator<Item = Vec<u8>>) {
        let topic = self.name(Topic::OrdersCompleted);
        let record = |value| {
            let (topic, value) = (topic.clone(), Some(value));
            NewRecord { topic, partition: None, key: None, value, headers: Vec::new() }
        };
        append_records(&self.kafka, &values.into_iter().map(record).collect::<Vec<_>>()).await.unwrap();
    }

    /// What the checker finds, with this registry. A broker that is busy is asked again.
    async fn gather(&self, registry: &str) -> Result<Facts, GatherError> {
        let source = Source::new(self.kafka.clone(), &self.prefix, Step::ALL.to_vec(), &BTreeMap::new())?;
        let (source, deadline) = (source.with_registry(at(registry))?, Instant::now() + PATIENCE);
        loop {
            match gather(&source).await {
                Err(GatherError::Kafka(_)) if Instant::now() < deadline => {}
                gathered => return gathered,
            }
        }
    }
}

fn at(url: &str) -> RegistryConfig {
    RegistryConfig::at(url)
}

fn completed(order: u128) -> Envelope {
    let (order_id, total) = (OrderId::new(Uuid::from_u128(order)), Money::new(100, Currency::USD));
    Envelope::new(OrderCompleted { order_id, total }.into(), "story".parse().unwrap(), Timestamp::UNIX_EPOCH)
}

/// As a service does at its start, it asks until it is answered.
async fn writing_avro(realm: &Realm, registry: &str) -> AvroCodec {
    let declared = Event::TYPES.iter().find(|event| event.topic == Topic::OrdersCompleted).unwrap();
    let (registry, deadline) = (Registry::new(at(registry)).unwrap(), Instant::now() + PATIENCE);
    loop {
        match AvroCodec::writing_avro(registry.clone(), &realm.prefix, [*declared]).await {
            Err(error) if error.is_temporary() && Instant::now() < deadline => {}
            codec => return codec.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_both_formats_are_read_and_what_is_none_is_passed() {
    let realm = Realm::create().await;
    let url = tokio::task::block_in_place(|| testing::registry().url());
    let avro = writing_avro(&realm, url).await;
    let in_avro = avro.encode(&completed(2)).unwrap();
    assert!(avro::unframe(&in_avro).is_some());

    let unknown = avro::frame(NEVER_GIVEN, b"anything");
    let in_json = JsonCodec.encode(&completed(1)).unwrap();
    realm.append([unknown.clone(), in_json, unknown, in_avro.clone(), in_avro]).await;
    let facts = realm.gather(url).await.unwrap();

    let orders: Vec<u128> = facts.said.keys().map(|order| order.as_uuid().as_u128()).collect();
    assert_eq!(orders, [1, 2]);
    assert!(facts.said.values().all(|said| said.len() == 1), "a copy says nothing new: {facts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_registry_there_is_no_verdict() {
    let realm = Realm::create().await;
    realm.append([JsonCodec.encode(&completed(1)).unwrap(), avro::frame(1, b"anything")]).await;

    let port = ports::free([127, 0, 0, 1].into()).unwrap();
    let gathered = realm.gather(&format!("http://127.0.0.1:{port}")).await;

    assert!(matches!(gathered, Err(GatherError::Registry(_))), "{gathered:?}");
}
