//! Faults of what is in the topics.

use std::collections::BTreeMap;

use anyhow::Result;
use contract::{Service, Topic};
use kafka_admin::{NewRecord, Record, TopicName, append_records, read_topics};
use rand::prelude::*;

use crate::system::{System, is_event};
use crate::world::World;

/// Copies per fault; more say nothing new.
const COPIES: usize = 500;

/// While every service is frozen, copies of what is in the topics are written behind it, shuffled over all
/// partitions: with the same key on several partitions, a copy may well be handled first, or at the same time.
pub(super) async fn deliver_copies(world: &mut World<'_>) -> Result<()> {
    for service in world.system.services() {
        world.system.pause(service)?;
    }
    let copied = copy(&world.system, &mut world.rng).await;
    for service in world.system.services() {
        world.system.resume(service)?;
    }
    copied
}

async fn copy(system: &System, rng: &mut StdRng) -> Result<()> {
    // The newest are those still on their way; of old ones the topics of a long run have too many.
    let keep = |newest: &mut BTreeMap<(TopicName, i32), Vec<Record>>, record: Record| {
        let of_partition = newest.entry((record.topic.clone(), record.partition)).or_default();
        if of_partition.len() == COPIES {
            of_partition.clear();
        }
        of_partition.push(record);
    };
    let newest = read_topics(&system.kafka, &system.topics_of_events()?, BTreeMap::new(), keep).await?;
    // Every topic has the same partitions.
    let partitions: Vec<i32> = newest.keys().map(|(_, partition)| *partition).collect();
    let mut copies: Vec<NewRecord> = newest
        .into_values()
        .flatten()
        // Poison of an earlier fault would be injected once more.
        .filter(|record| is_event(&system.prefix, record))
        .map(|record| NewRecord {
            partition: partitions.choose(rng).copied(),
            topic: record.topic,
            key: record.key,
            value: record.value,
            headers: record.headers,
        })
        .collect();
    copies.shuffle(rng);
    copies.truncate(COPIES);
    Ok(append_records(&system.kafka, &copies).await?)
}

pub(super) async fn inject_poison(world: &mut World<'_>) -> Result<()> {
    let system = &world.system;
    let mut poison = Vec::new();
    for topic in Topic::ALL.iter().filter(|topic| !topic.is_dead_letter()) {
        let readers = readers_of(system, *topic);
        for value in
            [None, Some(GARBAGE), Some(UNKNOWN_TYPE), Some(UNKNOWN_VERSION), Some(foreign_to(*topic))]
        {
            let key = Some(world.rng.random::<u64>().to_string().into_bytes());
            let value = value.map(<[u8]>::to_vec);
            poison.push(NewRecord {
                topic: system.topic(*topic)?,
                partition: None,
                key,
                value,
                headers: Vec::new(),
            });
            world.injected += readers;
        }
    }
    poison.shuffle(&mut world.rng);
    append_records(&system.kafka, &poison).await?;
    Ok(())
}

/// Each of them writes a dead letter.
fn readers_of(system: &System, topic: Topic) -> u64 {
    let reads = |service: &Service| service.subscriptions(&system.steps).contains(&topic);
    system.services().into_iter().filter(reads).map(|_| 1).sum()
}

const GARBAGE: &[u8] = b"\xff\xfe{\"event_id\":";
const UNKNOWN_TYPE: &[u8] = br#"{"event_id":"01890a5d-ac96-774b-bcce-b302099a8057","event_type":"OrderEaten",
    "event_version":1,"timestamp":"2026-01-01T00:00:00Z","correlation_id":"poison","payload":{}}"#;
const UNKNOWN_VERSION: &[u8] = br#"{"event_id":"01890a5d-ac96-774b-bcce-b302099a8058",
    "event_type":"OrderCompleted","event_version":999,"timestamp":"2026-01-01T00:00:00Z",
    "correlation_id":"poison","payload":{}}"#;
const LEVELS: &[u8] = br#"{"event_id":"01890a5d-ac96-774b-bcce-b302099a8059","event_type":"InventoryUpdated",
    "event_version":1,"timestamp":"2026-01-01T00:00:00Z","correlation_id":"poison",
    "payload":{"product_id":"burger","on_hand":1,"reserved":0,"sold":0,"available":1}}"#;
const END: &[u8] = br#"{"event_id":"01890a5d-ac96-774b-bcce-b302099a8060","event_type":"OrderCompleted",
    "event_version":1,"timestamp":"2026-01-01T00:00:00Z","correlation_id":"poison",
    "payload":{"order_id":"01890a5d-ac96-774b-bcce-b302099a8061","total":{"amount_minor":1,"currency":"USD"}}}"#;

/// A valid event that belongs on another topic.
fn foreign_to(topic: Topic) -> &'static [u8] {
    if topic == Topic::InventoryUpdated { END } else { LEVELS }
}

#[cfg(test)]
mod tests {
    use contract::DecodeError;
    use contract::codec::decode_json;

    use super::*;

    #[test]
    fn each_poison_is_what_it_says() {
        assert!(matches!(decode_json(GARBAGE), Err(DecodeError::Malformed(_))));
        assert!(matches!(decode_json(UNKNOWN_TYPE), Err(DecodeError::UnknownType { .. })));
        assert!(matches!(decode_json(UNKNOWN_VERSION), Err(DecodeError::UnsupportedVersion { .. })));
        for topic in Topic::ALL {
            assert!(decode_json(foreign_to(*topic)).is_ok_and(|envelope| envelope.event.topic() != *topic));
        }
    }
}
