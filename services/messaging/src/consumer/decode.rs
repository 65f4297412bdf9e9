//! From a record to a delivery, or to the grounds for giving it up.

use std::collections::BTreeSet;

use contract::{DecodeError, Envelope, Topic, headers};

use super::chain;
use crate::Delivery;
use crate::codec::Codec;
use crate::dead_letter::{Class, Grounds};
use crate::record::Incoming;

/// Why a record is no delivery.
#[derive(Debug, thiserror::Error)]
enum Undecodable {
    #[error("the record has no value")]
    Empty,
    #[error("the value is no event")]
    Value(#[source] DecodeError),
    #[error("{event_type} does not belong on this topic")]
    Misplaced { event_type: &'static str },
}

impl Undecodable {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Value(error) => error.reason(),
            Self::Misplaced { .. } => "misplaced",
        }
    }
}

/// The numbers of the schemas that have to be fetched before `records` can be decoded. Mostly none.
pub(super) fn missing_of<'r>(
    records: impl IntoIterator<Item = &'r Incoming>,
    codec: &dyn Codec,
) -> BTreeSet<u32> {
    records.into_iter().filter_map(|record| codec.missing(record.value.as_deref()?)).collect()
}

impl From<Undecodable> for Grounds {
    fn from(error: Undecodable) -> Self {
        Self {
            class: Class::Undecodable,
            reason: error.reason(),
            message: error.to_string(),
            details: chain(&error),
        }
    }
}

/// The event in the `value` of a record of `topic`.
pub(crate) fn envelope_of(
    value: Option<&[u8]>,
    topic: Topic,
    codec: &dyn Codec,
) -> Result<Envelope, Grounds> {
    let value = value.ok_or(Undecodable::Empty)?;
    let envelope = codec.decode(value).map_err(Undecodable::Value)?;
    // Whoever may write to one topic must not be able to forge the events of another.
    if envelope.event.topic() != topic {
        return Err(Undecodable::Misplaced { event_type: envelope.event.event_type() }.into());
    }
    Ok(envelope)
}

/// The delivery in `record`.
pub(super) fn delivery_of(record: &Incoming, codec: &dyn Codec) -> Result<Delivery, Grounds> {
    let mut envelope = envelope_of(record.value.as_deref(), record.source.topic, codec)?;
    if let Some(traceparent) = record.header(headers::TRACEPARENT).and_then(headers::valid_traceparent) {
        envelope.metadata.insert(headers::TRACEPARENT.to_owned(), traceparent.to_owned());
    }
    let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    Ok(Delivery {
        key: key.map_or_else(|| envelope.event.key(), ToOwned::to_owned),
        envelope,
        topic: record.source.topic,
        partition: record.source.partition,
        offset: record.offset,
    })
}

#[cfg(test)]
mod tests {
    use contract::{Envelope, Event, InventoryUpdated, Topic};
    use jiff::Timestamp;

    use super::*;
    use crate::JsonCodec;
    use crate::record::Source;

    fn envelope() -> Envelope {
        let event: Event = InventoryUpdated {
            product_id: "burger".parse().unwrap(),
            on_hand: 3,
            reserved: 1,
            sold: 0,
            available: 2,
        }
        .into();
        Envelope::new(event, "corr-1".parse().unwrap(), Timestamp::UNIX_EPOCH)
    }

    fn record(topic: Topic) -> Incoming {
        Incoming {
            source: Source { topic, name: topic.name().into(), partition: 1 },
            offset: 7,
            timestamp: None,
            key: Some(b"burger".to_vec()),
            value: Some(JsonCodec.encode(&envelope()).unwrap()),
            headers: Vec::new(),
        }
    }

    fn reason(record: &Incoming) -> &'static str {
        delivery_of(record, &JsonCodec).unwrap_err().reason
    }

    #[test]
    fn an_event_arrives_with_its_place_and_key() {
        let delivery = delivery_of(&record(Topic::InventoryUpdated), &JsonCodec).unwrap();

        assert_eq!((delivery.key.as_str(), delivery.partition, delivery.offset), ("burger", 1, 7));
        assert_eq!(delivery.envelope.correlation_id, envelope().correlation_id);
    }

    #[test]
    fn trace_context_is_carried_unless_it_is_malformed() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (sent, carried) in [(traceparent, Some(traceparent)), ("00-x", None), ("", None)] {
            let header = (headers::TRACEPARENT.to_owned(), Some(sent.as_bytes().to_vec()));
            let record = Incoming { headers: vec![header], ..record(Topic::InventoryUpdated) };

            let delivery = delivery_of(&record, &JsonCodec).unwrap();

            assert_eq!(delivery.traceparent(), carried);
        }
    }

    #[test]
    fn what_is_no_event_is_given_up_with_its_reason() {
        let record = record(Topic::InventoryUpdated);

        assert_eq!(reason(&Incoming { value: None, ..record.clone() }), "empty");
        assert_eq!(reason(&Incoming { value: Some(b"{".to_vec()), ..record }), "malformed");
    }

    #[test]
    fn an_event_on_another_events_topic_is_given_up() {
        assert_eq!(reason(&record(Topic::OrdersCreated)), "misplaced");
    }

    #[test]
    fn a_record_without_a_key_has_its_events() {
        let record = Incoming { key: None, ..record(Topic::InventoryUpdated) };

        assert_eq!(delivery_of(&record, &JsonCodec).unwrap().key, "burger");
    }
}
