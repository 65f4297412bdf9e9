//! Reads a whole topic, all partitions of it, in every instance: a table of the last record of each key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Envelope, Service, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;

use super::schemas::Schemas;
use super::{Stop, StreamsError};
use crate::codec::Codec;
use crate::producer::{ClientError, SetupError};
use crate::{KafkaConfig, config, consumer};

/// How long to wait for a record before looking after new partitions and shutdown.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// How often new partitions are looked for. Partitions are added by people.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(10);
/// How long the question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon it is asked again while there is no answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Reader {
    consumer: BaseConsumer,
    topic: Topic,
    name: String,
    schemas: Schemas,
    codec: Arc<dyn Codec>,
    stop: Stop,
    partitions: HashSet<i32>,
    /// Those of the first look that were not read to the end yet.
    left: Option<HashSet<i32>>,
}

impl Reader {
    pub(super) fn start(
        kafka: &KafkaConfig,
        service: Service,
        topic: Topic,
        codec: Arc<dyn Codec>,
        stop: Stop,
    ) -> Result<Self, StreamsError> {
        let group = service.consumer_group(&kafka.topic_prefix);
        let consumer = config::reader(kafka, &group)
            .create()
            .map_err(|error| SetupError::Configuration(ClientError::from(error)))?;
        let name = format!("{}{topic}", kafka.topic_prefix);
        let schemas = Schemas::new(codec.clone(), stop.clone());
        Ok(Self { consumer, topic, name, schemas, codec, stop, partitions: HashSet::new(), left: None })
    }

    pub(super) fn run(
        mut self,
        mut take: impl FnMut(Envelope),
        caught_up: &watch::Sender<bool>,
    ) -> Result<(), StreamsError> {
        let mut look_at = Instant::now();
        while self.stop.asked().is_none() {
            if Instant::now() >= look_at {
                look_at = Instant::now() + self.look_for_partitions();
            }
            match self.consumer.poll(POLL_WAIT) {
                Some(Ok(message)) => {
                    if !self.schemas.ready_for(message.payload()) {
                        return Ok(());
                    }
                    match consumer::decode::envelope_of(message.payload(), self.topic, &*self.codec) {
                        Ok(envelope) => take(envelope),
                        Err(grounds) => {
                            let (offset, reason) = (message.offset(), grounds.details);
                            tracing::warn!(
                                topic = self.name,
                                offset,
                                reason,
                                "a record of the table is left out"
                            );
                        }
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(left) = &mut self.left {
                        left.remove(&partition);
                        if left.is_empty() {
                            caught_up.send_if_modified(|known| !std::mem::replace(known, true));
                        }
                    }
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(StreamsError::Fatal(error.into()));
                }
                Some(Err(error)) => tracing::warn!(%error, "could not fetch; the client tries again"),
                None => {}
            }
        }
        Ok(())
    }

    /// Reads partitions that are new. Returns when to look again.
    fn look_for_partitions(&mut self) -> Duration {
        match self.add_partitions() {
            Ok(()) if !self.partitions.is_empty() => PARTITIONS_INTERVAL,
            Ok(()) => RETRY_INTERVAL,
            Err(error) => {
                tracing::warn!(topic = self.name, %error, "could not ask for the topic's partitions");
                RETRY_INTERVAL
            }
        }
    }

    fn add_partitions(&mut self) -> Result<(), KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.name), ASK_TIMEOUT)?;
        let all: HashSet<i32> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.id())
            .collect();
        let mut new = TopicPartitionList::new();
        for partition in all.difference(&self.partitions) {
            new.add_partition_offset(&self.name, *partition, Offset::Beginning)?;
        }
        if new.count() > 0 {
            self.consumer.incremental_assign(&new)?;
            self.left.get_or_insert_with(|| all.clone());
            self.partitions = all;
        }
        Ok(())
    }
}
