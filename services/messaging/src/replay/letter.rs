//! A dead letter as its headers tell it, and the record that it becomes again. Pure.

use contract::{Topic, headers};
use uuid::Uuid;

use super::Refusal;
use crate::record::{Header, Incoming, Outgoing, Timestamp};

/// How often the record was replayed, in decimal. Kept by whoever gives it up again.
const REPLAY_COUNT: &str = "orderpipeline_replay-count";
const ORIGINAL: &str = "kafka_dlt-original-";
const EXCEPTION: &str = "kafka_dlt-exception-";

/// What a dead letter says about itself. Whatever its headers do not say, or not as they should, is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its partition in the dead-letter topic.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its key, where that is text.
    pub key: Option<String>,
    /// The event's id.
    pub event_id: Option<Uuid>,
    /// The event's type.
    pub event_type: Option<String>,
    /// When the event was first published.
    pub timestamp: Option<jiff::Timestamp>,
    /// The full name of the topic that it came from.
    pub original_topic: Option<String>,
    /// Its partition there.
    pub original_partition: Option<i32>,
    /// Its offset there.
    pub original_offset: Option<i64>,
    /// Why it was given up, in a word.
    pub reason: Option<String>,
    /// Why it was given up, in a sentence.
    pub message: Option<String>,
    /// How often it was replayed.
    pub replays: u32,
}

impl DeadLetter {
    /// What `record` says about itself. Of several headers of one name the first tells its origin, the last its
    /// end: other tools append.
    pub(super) fn of(record: &Incoming) -> Self {
        let text = |name| last(record, name).map(|value| String::from_utf8_lossy(value).into_owned());
        let first = |name| record.header(name);
        let cause = text(headers::DLT_EXCEPTION_CAUSE_FQCN);
        let number = |name| first(name).and_then(|bytes| Some(i64::from_be_bytes(bytes.try_into().ok()?)));
        let milliseconds =
            number(headers::DLT_ORIGINAL_TIMESTAMP).or(record.timestamp.map(Timestamp::milliseconds));
        Self {
            partition: record.source.partition,
            offset: record.offset,
            key: record.key.clone().and_then(|key| String::from_utf8(key).ok()),
            event_id: text(headers::CE_ID).and_then(|id| id.parse().ok()),
            event_type: text(headers::CE_TYPE),
            timestamp: milliseconds.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()),
            original_topic: first(headers::DLT_ORIGINAL_TOPIC)
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            original_partition: first(headers::DLT_ORIGINAL_PARTITION)
                .and_then(|bytes| Some(i32::from_be_bytes(bytes.try_into().ok()?))),
            original_offset: number(headers::DLT_ORIGINAL_OFFSET),
            reason: cause.and_then(|cause| Some(cause.rsplit_once('.')?.1.to_owned())),
            message: text(headers::DLT_EXCEPTION_MESSAGE),
            // One that cannot be read must not start the count anew.
            replays: text(REPLAY_COUNT).map_or(0, |count| count.parse().unwrap_or(u32::MAX)),
        }
    }

    /// The event topic that it came from, if the catalogue has it under `prefix`.
    pub(super) fn origin(&self, prefix: &str) -> Option<Topic> {
        let name = self.original_topic.as_deref()?.strip_prefix(prefix)?;
        Topic::from_name(name).filter(|topic| !topic.is_dead_letter())
    }

    /// Where to replay it, unless that must not be.
    pub(super) fn target(&self, record: &Incoming, prefix: &str, replays_max: u32) -> Result<Topic, Refusal> {
        let Some(name) = &self.original_topic else { return Err(Refusal::NoOrigin) };
        let Some(topic) = self.origin(prefix) else { return Err(Refusal::UnknownTopic(name.clone())) };
        if record.value.is_none() {
            return Err(Refusal::NoValue);
        }
        if self.replays >= replays_max {
            return Err(Refusal::TooOften(self.replays));
        }
        Ok(topic)
    }

    /// `record`, of which this tells, as it is sent to `topic` (its full name): itself, once more, but of now. Dead
    /// letters are kept for longer than events, and a broker deletes what is older than the retention of its topic as
    /// soon as it looks, read or not.
    pub(super) fn again(&self, record: &Incoming, topic: String) -> Outgoing {
        let mut headers = once_each(&record.headers);
        headers.retain(|(name, _)| name != REPLAY_COUNT);
        let replays = self.replays.saturating_add(1).to_string();
        headers.push((REPLAY_COUNT.to_owned(), Some(replays.into_bytes())));
        Outgoing { topic, key: record.key.clone(), value: record.value.clone(), headers, timestamp: None }
    }
}

fn last<'r>(record: &'r Incoming, name: &str) -> Option<&'r [u8]> {
    let header = record.headers.iter().rev().find(|(this, _)| this == name);
    header.and_then(|(_, value)| value.as_deref())
}

/// `headers`, of those that tell the origin only the first of each name, of those that tell an error only the
/// last: tools that append instead of replacing let them grow with every round.
fn once_each(headers: &[Header]) -> Vec<Header> {
    let kept = |(index, (name, _)): &(usize, &Header)| {
        let same = |(other, _): &Header| other == name;
        if name.starts_with(ORIGINAL) {
            !headers.iter().take(*index).any(same)
        } else if name.starts_with(EXCEPTION) {
            !headers.iter().skip(*index + 1).any(same)
        } else {
            true
        }
    };
    headers.iter().enumerate().filter(kept).map(|(_, header)| header.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Source;

    fn header(name: &str, value: &[u8]) -> Header {
        (name.to_owned(), Some(value.to_vec()))
    }

    fn record(headers: Vec<Header>) -> Incoming {
        Incoming {
            source: Source { topic: Topic::OrderDlt, name: "shop.order.dlt".into(), partition: 2 },
            offset: 5,
            timestamp: Some(Timestamp::Create(1_700_000_000_123)),
            key: Some(b"key".to_vec()),
            value: Some(b"value".to_vec()),
            headers,
        }
    }

    fn from_topic(name: &str) -> Incoming {
        record(vec![header(headers::DLT_ORIGINAL_TOPIC, name.as_bytes())])
    }

    fn target(record: &Incoming) -> Result<Topic, Refusal> {
        DeadLetter::of(record).target(record, "shop.", 3)
    }

    #[test]
    fn only_event_topics_of_the_catalogue_are_targets() {
        let refused = |name: &str| target(&from_topic(name)).unwrap_err();

        assert_eq!(target(&from_topic("shop.inventory.reserved")), Ok(Topic::InventoryReserved));
        for unknown in ["shop.secrets", "inventory.reserved", "other.inventory.reserved", "shop.order.dlt"] {
            assert_eq!(refused(unknown), Refusal::UnknownTopic(unknown.to_owned()));
        }
        assert_eq!(target(&record(Vec::new())), Err(Refusal::NoOrigin));
        let empty = Incoming { value: None, ..from_topic("shop.inventory.reserved") };
        assert_eq!(target(&empty), Err(Refusal::NoValue));
    }

    #[test]
    fn what_was_replayed_too_often_is_refused_and_an_unreadable_count_is_too() {
        for (count, expected) in [("2", Ok(Topic::InventoryReserved)), ("3", Err(Refusal::TooOften(3)))] {
            let mut record = from_topic("shop.inventory.reserved");
            record.headers.push(header(REPLAY_COUNT, count.as_bytes()));
            assert_eq!(target(&record), expected);
        }
        let mut record = from_topic("shop.inventory.reserved");
        record.headers.push(header(REPLAY_COUNT, b"many"));
        assert_eq!(target(&record), Err(Refusal::TooOften(u32::MAX)));
    }

    #[test]
    fn a_record_goes_as_it_came_with_its_first_origin_its_last_error_and_a_count() {
        let before = record(vec![
            header("ce_id", b"1"),
            header("twice", b"a"),
            header("twice", b"b"),
            header(headers::DLT_ORIGINAL_OFFSET, &1_i64.to_be_bytes()),
            header(headers::DLT_ORIGINAL_OFFSET, &2_i64.to_be_bytes()),
            header(headers::DLT_ORIGINAL_TIMESTAMP, &1_600_000_000_000_i64.to_be_bytes()),
            header(headers::DLT_EXCEPTION_MESSAGE, b"first"),
            header(headers::DLT_EXCEPTION_MESSAGE, b"last"),
            header(REPLAY_COUNT, b"1"),
        ]);
        let letter = DeadLetter::of(&before);

        let again = letter.again(&before, "shop.inventory.reserved".to_owned());

        assert_eq!((letter.original_offset, letter.message.as_deref()), (Some(1), Some("last")));
        assert_eq!(letter.timestamp, Some("2020-09-13T12:26:40Z".parse().unwrap()));
        assert_eq!((&again.key, &again.value), (&before.key, &before.value));
        assert_eq!(again.timestamp, None, "an old one would be deleted by its age");
        let expected = [
            header("ce_id", b"1"),
            header("twice", b"a"),
            header("twice", b"b"),
            header(headers::DLT_ORIGINAL_OFFSET, &1_i64.to_be_bytes()),
            header(headers::DLT_ORIGINAL_TIMESTAMP, &1_600_000_000_000_i64.to_be_bytes()),
            header(headers::DLT_EXCEPTION_MESSAGE, b"last"),
            header(REPLAY_COUNT, b"2"),
        ];
        assert_eq!(again.headers, expected);
    }
}
