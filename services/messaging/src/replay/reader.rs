//! Reads a dead-letter topic from beginning to end, once. On a thread of its own: the client blocks.

use std::sync::Arc;
use std::time::Duration;

use contract::Topic;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::consumer::incoming;
use crate::record::{Incoming, Source};

/// How long the broker may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for a record before looking whether anybody still wants one.
const POLL_WAIT: Duration = Duration::from_millis(200);
/// Records read ahead of who takes them.
const AHEAD: usize = 1_000;

/// Starts reading `topic`, called `name` in the cluster: what is there now, partition by partition.
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
    let mut partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    partitions.sort_unstable();
    let name: Arc<str> = name.into();
    for partition in partitions {
        let source = Source { topic, name: name.clone(), partition };
        if !read_partition(&consumer, &source, records)? {
            break;
        }
    }
    Ok(())
}

/// Reads one partition up to where it ends now; false if nobody wants more.
fn read_partition(
    consumer: &BaseConsumer,
    source: &Source,
    records: &mpsc::Sender<Result<Incoming, KafkaError>>,
) -> KafkaResult<bool> {
    let (low, high) = consumer.fetch_watermarks(&source.name, source.partition, PATIENCE)?;
    let mut assignment = TopicPartitionList::with_capacity(1);
    assignment.add_partition_offset(&source.name, source.partition, Offset::Offset(low))?;
    consumer.assign(&assignment)?;
    while !records.is_closed() && low < high {
        match consumer.poll(POLL_WAIT) {
            // A record of the partition before, fetched ahead, is not of this one.
            Some(Ok(message)) if message.partition() != source.partition => {}
            // Given up after we began, perhaps by our doing.
            Some(Ok(message)) if message.offset() >= high => return Ok(true),
            Some(Ok(message)) => {
                let last = message.offset() + 1 >= high;
                if records.blocking_send(Ok(incoming(source.clone(), &message))).is_err() {
                    return Ok(false);
                }
                if last {
                    return Ok(true);
                }
            }
            // The end may be no record: a transaction's marker has an offset as well.
            Some(Err(KafkaError::PartitionEOF(partition))) if partition == source.partition => {
                return Ok(true);
            }
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
            // The client tries again by itself; whoever waits for us sees that nothing comes.
            Some(Err(error)) => tracing::warn!(%error, "could not read dead letters; trying again"),
        }
    }
    Ok(!records.is_closed())
}
