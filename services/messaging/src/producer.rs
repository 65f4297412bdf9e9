//! The one producer of a process: whole batches are handed over, then their acknowledgements are awaited.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::Envelope;
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use crate::codec::{Codec, EncodeError};
use crate::record::Outgoing;
use crate::{KafkaConfig, config, outbox};

/// How long to wait for room in librdkafka's queue before looking again. Acknowledgements make room, and
/// those take about a millisecond.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(2);

/// Why nothing can be sent or received at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The settings are contradictory, or a file that they name cannot be read.
    #[error("the Kafka client refuses its configuration")]
    Configuration(#[source] ClientError),
}

/// An error of the Kafka client, in its words.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ClientError(KafkaError);

impl From<KafkaError> for ClientError {
    fn from(error: KafkaError) -> Self {
        Self(error)
    }
}

/// Why events were not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// One of them cannot be written. None was sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The broker did not take one; the others may have been taken.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// A record that the broker did not take.
#[derive(Debug, thiserror::Error)]
#[error("could not send record {index} of the batch to {topic}")]
pub struct SendError {
    /// Its place in the batch.
    pub index: usize,
    /// Where it was to go.
    pub topic: String,
    #[source]
    source: ClientError,
}

impl SendError {
    /// The same, of a record that has another place in another batch.
    pub(crate) fn at(self, index: usize) -> Self {
        Self { index, ..self }
    }

    /// Whether the record is larger than the topic takes: no further attempt will be any different.
    pub(crate) fn is_too_large(&self) -> bool {
        self.source.0.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
    }
}

/// Sends records idempotently, acknowledged by all in-sync replicas. Clones share one connection.
///
/// No record is ever given up by time: while the broker is away, a batch waits. Whoever cannot wait drops the
/// future; what was handed over may then still arrive.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    topic_prefix: String,
    codec: Arc<dyn Codec>,
    client: Mutex<Client>,
}

type Client = Arc<ThreadedProducer<Acknowledgements>>;

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    pub(crate) fn new(kafka: &KafkaConfig, codec: Arc<dyn Codec>) -> Result<Self, SetupError> {
        let config = config::producer(kafka);
        let client = Mutex::new(connect(&config).map_err(|error| SetupError::Configuration(error.into()))?);
        let topic_prefix = kafka.topic_prefix.clone();
        Ok(Self { shared: Arc::new(Shared { config, topic_prefix, codec, client }) })
    }

    /// Publishes `events` at once, past the outbox: for what has no transaction to belong to. Ends when the
    /// broker has acknowledged all.
    ///
    /// # Errors
    /// The first event that cannot be written, or that the broker refused.
    pub async fn publish(&self, events: &[Envelope]) -> Result<(), PublishError> {
        let records: Vec<Outgoing> = events
            .iter()
            .map(|envelope| record_of(&self.shared.topic_prefix, &*self.shared.codec, envelope))
            .collect::<Result<_, _>>()?;
        Ok(self.send(&records).await.into_iter().next().map_or(Ok(()), Err)?)
    }

    /// The name of a topic in the cluster.
    pub(crate) fn full_name(&self, topic: &str) -> String {
        format!("{}{topic}", self.shared.topic_prefix)
    }

    /// The name without the pipeline's prefix.
    pub(crate) fn short_name<'n>(&self, topic: &'n str) -> &'n str {
        topic.strip_prefix(&self.shared.topic_prefix).unwrap_or(topic)
    }

    /// Sends `records` in order and waits until the fate of each is known. Returns those that failed; order
    /// per key holds among those that did not.
    pub(crate) async fn send(&self, records: &[Outgoing]) -> Vec<SendError> {
        let client = self.client();
        let batch = Arc::new(Batch::of(records.len()));
        for (index, record) in records.iter().enumerate() {
            if let Err(error) = hand_over(&client, record, &batch, index).await {
                batch.settle(index, Some(error));
            }
        }
        batch.settled.notified().await;
        let mut failed = batch.take_failures();
        failed.sort_unstable_by_key(|(index, _)| *index);
        if !failed.is_empty() {
            self.replace_if_broken(&client);
        }
        failed
            .into_iter()
            .map(|(index, error)| SendError {
                index,
                topic: records.get(index).map(|record| record.topic.clone()).unwrap_or_default(),
                source: error.into(),
            })
            .collect()
    }

    /// Waits for what is on its way, at most for `timeout`. What is left then is lost with the process; it
    /// stands in the outbox still.
    pub async fn flush(&self, timeout: Duration) {
        let client = self.client();
        // Flushing blocks its thread.
        let flushed = tokio::task::spawn_blocking(move || client.flush(timeout)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the producer did not get everything acknowledged in time");
        }
    }

    fn client(&self) -> Client {
        self.shared.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An idempotent producer that lost track of its sequence numbers can do nothing any more, for ever: a
    /// new one has to take its place.
    fn replace_if_broken(&self, broken: &Client) {
        let Some((code, reason)) = broken.client().fatal_error() else { return };
        let mut current = self.shared.client.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, broken) {
            return;
        }
        match connect(&self.shared.config) {
            Ok(new) => {
                tracing::warn!(error = %code, reason, "the producer failed for good and was replaced");
                *current = new;
            }
            Err(error) => tracing::error!(%error, "could not replace the failed producer"),
        }
    }
}

/// The record that carries `envelope`.
pub(crate) fn record_of(
    topic_prefix: &str,
    codec: &dyn Codec,
    envelope: &Envelope,
) -> Result<Outgoing, EncodeError> {
    Ok(Outgoing {
        topic: format!("{topic_prefix}{}", envelope.event.topic()),
        key: Some(envelope.event.key().into_bytes()),
        value: Some(codec.encode(envelope)?),
        headers: outbox::headers_of(envelope, codec)
            .into_iter()
            .map(|(name, value)| (name, Some(value.into_bytes())))
            .collect(),
        timestamp: Some(envelope.timestamp.as_millisecond()),
    })
}

fn connect(config: &ClientConfig) -> Result<Client, KafkaError> {
    ThreadedProducer::from_config_and_context(config, Acknowledgements).map(Arc::new)
}

/// Puts one record into librdkafka's queue, waiting for room where there is none.
async fn hand_over(
    client: &Client,
    record: &Outgoing,
    batch: &Arc<Batch>,
    index: usize,
) -> Result<(), KafkaError> {
    let mut ticket = Box::new(Ticket { batch: batch.clone(), index });
    loop {
        match client.send(base_record(record, ticket)) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                ticket = refused.delivery_opaque;
                tokio::time::sleep(QUEUE_FULL_WAIT).await;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

fn base_record(record: &Outgoing, ticket: Box<Ticket>) -> BaseRecord<'_, [u8], [u8], Box<Ticket>> {
    let headers = record
        .headers
        .iter()
        .fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        });
    let mut base = BaseRecord::with_opaque_to(&record.topic, ticket).headers(headers);
    base.key = record.key.as_deref();
    base.payload = record.value.as_deref();
    base.timestamp = record.timestamp;
    base
}

/// A batch on its way.
struct Batch {
    outstanding: AtomicUsize,
    failures: Mutex<Vec<(usize, KafkaError)>>,
    settled: Notify,
}

/// Tells which record of which batch an acknowledgement is for.
struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

impl Batch {
    fn of(size: usize) -> Self {
        let batch =
            Self { outstanding: AtomicUsize::new(size), failures: Mutex::default(), settled: Notify::new() };
        if size == 0 {
            batch.settled.notify_one();
        }
        batch
    }

    fn settle(&self, index: usize, error: Option<KafkaError>) {
        if let Some(error) = error {
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).push((index, error));
        }
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_one();
        }
    }

    fn take_failures(&self) -> Vec<(usize, KafkaError)> {
        std::mem::take(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Receives acknowledgements, on the producer's own thread.
struct Acknowledgements;

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let error = result.as_ref().err().map(|(error, _)| error.clone());
        ticket.batch.settle(ticket.index, error);
    }
}

impl ClientContext for Acknowledgements {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the Kafka producer reports a problem");
    }
}

/// Passes librdkafka's log lines on.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        // A broker that is away is an "error" to librdkafka, though it heals by itself.
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}
