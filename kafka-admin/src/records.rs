//! The records of topics as they are: read from the first to the last, or appended. For tools that check or repair
//! what a cluster holds; services speak through a runtime of their own, with groups and transactions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

use crate::classify::classify;
use crate::connect::ConnectOptions;
use crate::error::{Error, UnavailableCause};
use crate::topic::TopicName;

/// How long to wait for a record before looking at the clock.
const POLL_WAIT: Duration = Duration::from_millis(200);

/// A header; Kafka allows values to be absent and any bytes.
pub type RecordHeader = (String, Option<Vec<u8>>);

/// A record in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: TopicName,
    /// The partition's number, from 0.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<RecordHeader>,
}

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The topic.
    pub topic: TopicName,
    /// The partition; where none is given, that of the key, as Java clients choose it.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<RecordHeader>,
}

/// Reads every committed record of `topics`, one topic after the other, from the first to the last there is when the
/// end is reached, and folds them into `initial`. Records are not kept, so that a topic may be larger than memory.
///
/// # Errors
/// [`Error::NotFound`] when a topic does not exist; [`Error::Unavailable`] when nothing arrives for as long as a call
/// may take.
pub async fn read_topics<A, F>(
    options: &ConnectOptions,
    topics: &[TopicName],
    initial: A,
    fold: F,
) -> Result<A, Error>
where
    A: Send + 'static,
    F: FnMut(&mut A, Record) + Send + 'static,
{
    let mut config = options.offsets_client_config();
    // Without it, the end of a partition cannot be told from a slow broker.
    config.set("enable.partition.eof", "true");
    // An end is told by an empty answer, and the broker keeps one back for 500 ms by default: seconds for many topics.
    config.set("fetch.wait.max.ms", "20");
    // Nobody goes on where this reader stopped.
    config.set("enable.auto.commit", "false");
    let (topics, patience) = (topics.to_vec(), options.request_timeout);
    // The client blocks its thread.
    let reading = tokio::task::spawn_blocking(move || read(&config, patience, &topics, initial, fold));
    reading.await.map_err(|ended| Error::Other { code: "READER".to_owned(), message: ended.to_string() })?
}

fn read<A>(
    config: &ClientConfig,
    patience: Duration,
    topics: &[TopicName],
    mut state: A,
    mut fold: impl FnMut(&mut A, Record),
) -> Result<A, Error> {
    let consumer: BaseConsumer = config.create().map_err(|error| error_of(&error))?;
    for topic in topics {
        read_topic(&consumer, patience, topic, |record| fold(&mut state, record))?;
    }
    Ok(state)
}

/// One topic at a time, because the client names the partition that ended, but not its topic.
fn read_topic(
    consumer: &BaseConsumer,
    patience: Duration,
    topic: &TopicName,
    mut take: impl FnMut(Record),
) -> Result<(), Error> {
    let mut open = partitions_of(consumer, patience, topic)?;
    let mut assignment = TopicPartitionList::new();
    for partition in &open {
        let added = assignment.add_partition_offset(topic.as_str(), *partition, Offset::Beginning);
        added.map_err(|error| error_of(&error))?;
    }
    consumer.assign(&assignment).map_err(|error| error_of(&error))?;
    let mut heard = Instant::now();
    while !open.is_empty() {
        match consumer.poll(POLL_WAIT) {
            Some(Ok(message)) => {
                heard = Instant::now();
                take(record_of(topic, &message));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                heard = Instant::now();
                open.remove(&partition);
            }
            // The client goes on by itself; whether it gets anywhere, the clock tells.
            Some(Err(error)) => tracing::debug!(%error, %topic, "could not read; the client tries again"),
            None => {}
        }
        if heard.elapsed() > patience {
            let message = format!("no record of {topic} for {patience:?}");
            return Err(Error::Unavailable { cause: UnavailableCause::Timeout, message });
        }
    }
    Ok(())
}

fn partitions_of(
    consumer: &BaseConsumer,
    patience: Duration,
    topic: &TopicName,
) -> Result<BTreeSet<i32>, Error> {
    let metadata = consumer.fetch_metadata(Some(topic.as_str()), patience);
    let metadata = metadata.map_err(|error| error_of(&error))?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let partitions: BTreeSet<i32> = partitions.map(|partition| partition.id()).collect();
    if partitions.is_empty() {
        return Err(Error::not_found(format!("topic {topic}")));
    }
    Ok(partitions)
}

fn record_of(topic: &TopicName, message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        topic: topic.clone(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

/// Appends `records`, each acknowledged by all in-sync replicas; those of one partition keep their order.
///
/// # Errors
/// The first refusal; the other records may have been taken.
pub async fn append_records(options: &ConnectOptions, records: &[NewRecord]) -> Result<(), Error> {
    let mut config = options.client_config();
    config.set("partitioner", "murmur2_random");
    // Keeps the order through the client's own retries, and waits for all in-sync replicas.
    config.set("enable.idempotence", "true");
    config.set("message.timeout.ms", options.request_timeout.as_millis().to_string());
    let producer: FutureProducer = config.create().map_err(|error| error_of(&error))?;
    let sent = records.iter().map(|record| producer.send(borrowed(record), Timeout::Never));
    let results = join_all(sent).await;
    results.into_iter().try_for_each(|sent| sent.map(drop).map_err(|(error, _)| error_of(&error)))
}

fn borrowed(record: &NewRecord) -> FutureRecord<'_, [u8], [u8]> {
    let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: value.as_deref() })
    });
    let mut borrowed = FutureRecord::to(record.topic.as_str()).headers(headers);
    borrowed.partition = record.partition;
    borrowed.key = record.key.as_deref();
    borrowed.payload = record.value.as_deref();
    borrowed
}

fn error_of(error: &KafkaError) -> Error {
    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
    classify(code as i32, &format!("{code:?}"), error.to_string())
}
