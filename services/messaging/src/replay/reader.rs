//! Reads a dead-letter topic from beginning to end, once. On a thread of its own: the client blocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::Topic;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::ahead::Ahead;
use crate::record::{Incoming, Source};

/// How long the broker may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for a record before looking whether anybody still wants one.
const POLL_WAIT: Duration = Duration::from_millis(200);
/// Records read ahead of who takes them.
const AHEAD: usize = 1_000;

/// Starts reading `topic`, called `name` in the cluster: what is there now, each partition in order.
pub(super) fn start(
    config: ClientConfig,
    topic: Topic,
    name: String,
) -> mpsc::Receiver<Result<Incoming, KafkaError>> {
    let (records, taken) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(&config, topic, &name, &records) {
            // Nobody listens if the replay was dropped.
            let _ = records.blocking_send(Err(error));
        }
    });
    taken
}

fn read(
    config: &ClientConfig,
    topic: Topic,
    name: &str,
    records: &mpsc::Sender<Result<Incoming, KafkaError>>,
) -> KafkaResult<()> {
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(name), PATIENCE)?;
    let Some(found) = metadata.topics().first() else { return Ok(()) };
    if let Some(error) = found.error() {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    let partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    drop(metadata);
    let name: Arc<str> = name.into();
    let mut open = HashMap::new();
    let mut assignment = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(&name, partition, PATIENCE)?;
        if low < high {
            assignment.add_partition_offset(&name, partition, Offset::Offset(low))?;
            open.insert(partition, Ahead::of(low, high));
        }
    }
    consumer.assign(&assignment)?;
    while !open.is_empty() && !records.is_closed() {
        match consumer.poll(POLL_WAIT) {
            Some(Ok(message)) => {
                let partition = message.partition();
                // Beyond the end that was: given up after we began, perhaps by our doing.
                if !open.get_mut(&partition).is_some_and(|ahead| ahead.take(message.offset())) {
                    open.remove(&partition);
                    continue;
                }
                let source = Source { topic, name: name.clone(), partition };
                if records.blocking_send(Ok(Incoming::of(source, &message))).is_err() {
                    return Ok(());
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                if let Some(ahead) = open.get_mut(&partition) {
                    ahead.end(Instant::now());
                }
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
            // The client tries again by itself; whoever waits for us sees that nothing comes.
            Some(Err(error)) => tracing::warn!(%error, "could not read dead letters; trying again"),
            None => {}
        }
        open.retain(|_, ahead| !ahead.is_done(Instant::now()));
    }
    Ok(())
}
