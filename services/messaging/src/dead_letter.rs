//! Records that are given up, as they are written to `<service>.dlt`: unchanged, with headers that say where
//! they came from and why they were given up, in the names and binary forms of Spring Kafka, so that its
//! tools and ours read them alike.

use contract::headers;

use crate::record::{Header, Incoming, Outgoing, Timestamp};

/// Spring's header for the error at length; here the chain of causes.
const EXCEPTION_STACKTRACE: &str = "kafka_dlt-exception-stacktrace";
/// Says that the value was left out because it would not fit with the headers; its size in bytes. The value
/// is still in the source topic, at the place that the other headers name.
const VALUE_OMITTED: &str = "orderpipeline_value-omitted";
/// Headers are for reading, and share the record's size limit.
const TEXT_MAX: usize = 2_000;

/// Why a record is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grounds {
    pub(crate) class: Class,
    /// For the metric's label: one of a few words.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// The error with all its causes.
    pub(crate) details: String,
}

impl Grounds {
    /// The event was parked by a build, or with settings, that still consumed its topic.
    pub(crate) fn unconsumed() -> Self {
        let message = "the service does not consume the event's topic any more".to_owned();
        Self { class: Class::Rejected, reason: "unconsumed", details: message.clone(), message }
    }

    /// The database cannot even hold the event for another attempt.
    pub(crate) fn unparkable(error: &sqlx::Error) -> Self {
        Self {
            class: Class::Rejected,
            reason: "unparkable",
            message: "the event failed and cannot be parked".to_owned(),
            details: crate::consumer::chain(error),
        }
    }
}

/// The kind of failure, in the place of Java's exception class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Undecodable,
    Rejected,
    RetriesExhausted,
}

impl Class {
    const fn name(self) -> &'static str {
        match self {
            Self::Undecodable => "orderpipeline.messaging.Undecodable",
            Self::Rejected => "orderpipeline.messaging.Rejected",
            Self::RetriesExhausted => "orderpipeline.messaging.RetriesExhausted",
        }
    }
}

/// The dead letter of `record`, for `topic` (its full name), given up by `group`.
pub(crate) fn of(record: &Incoming, topic: String, group: &str, grounds: &Grounds) -> Outgoing {
    Outgoing {
        topic,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: headers_of(record, group, grounds),
        timestamp: record.timestamp.map(Timestamp::milliseconds),
    }
}

/// The same dead letter without its value, for one that is too large with it.
pub(crate) fn without_value(letter: &Outgoing) -> Outgoing {
    let size = letter.value.as_ref().map_or(0, Vec::len);
    let mut letter = Outgoing { value: None, ..letter.clone() };
    letter.headers.push(text(VALUE_OMITTED, &size.to_string()));
    letter
}

fn headers_of(record: &Incoming, group: &str, grounds: &Grounds) -> Vec<Header> {
    let mut all: Vec<Header> =
        record.headers.iter().filter(|(name, _)| !is_exception(name)).cloned().collect();
    // A replayed record that fails again keeps the first origin: that is where its story can be read.
    let replayed = all.iter().any(|(name, _)| name == headers::DLT_ORIGINAL_TOPIC);
    if !replayed {
        all.extend(origin(record, group));
    }
    all.extend([
        text(headers::DLT_EXCEPTION_FQCN, grounds.class.name()),
        text(headers::DLT_EXCEPTION_CAUSE_FQCN, &format!("{}.{}", grounds.class.name(), grounds.reason)),
        text(headers::DLT_EXCEPTION_MESSAGE, cut(&grounds.message)),
        text(EXCEPTION_STACKTRACE, cut(&grounds.details)),
    ]);
    all
}

fn origin(record: &Incoming, group: &str) -> Vec<Header> {
    let mut origin = vec![
        text(headers::DLT_ORIGINAL_TOPIC, &record.source.name),
        binary(headers::DLT_ORIGINAL_PARTITION, &record.source.partition.to_be_bytes()),
        binary(headers::DLT_ORIGINAL_OFFSET, &record.offset.to_be_bytes()),
        text(headers::DLT_ORIGINAL_CONSUMER_GROUP, group),
    ];
    if let Some(timestamp) = record.timestamp {
        let (ms, kind) = match timestamp {
            Timestamp::Create(ms) => (ms, "CreateTime"),
            Timestamp::LogAppend(ms) => (ms, "LogAppendTime"),
        };
        origin.push(binary(headers::DLT_ORIGINAL_TIMESTAMP, &ms.to_be_bytes()));
        origin.push(text(headers::DLT_ORIGINAL_TIMESTAMP_TYPE, kind));
    }
    origin
}

fn is_exception(name: &str) -> bool {
    [
        headers::DLT_EXCEPTION_FQCN,
        headers::DLT_EXCEPTION_CAUSE_FQCN,
        headers::DLT_EXCEPTION_MESSAGE,
        EXCEPTION_STACKTRACE,
    ]
    .contains(&name)
}

fn text(name: &str, value: &str) -> Header {
    binary(name, value.as_bytes())
}

fn binary(name: &str, value: &[u8]) -> Header {
    (name.to_owned(), Some(value.to_vec()))
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use contract::Topic;

    use super::*;
    use crate::record::Source;

    fn record() -> Incoming {
        Incoming {
            source: Source { topic: Topic::OrdersCreated, name: "orders.created".into(), partition: 2 },
            offset: 513,
            timestamp: Some(Timestamp::Create(1_700_000_000_123)),
            key: Some(b"order-1".to_vec()),
            value: Some(b"\xff not json".to_vec()),
            headers: vec![("ce_id".to_owned(), Some(b"1".to_vec())), ("empty".to_owned(), None)],
        }
    }

    fn grounds() -> Grounds {
        Grounds {
            class: Class::Undecodable,
            reason: "malformed",
            message: "not JSON".to_owned(),
            details: "not JSON: expected value at line 1".to_owned(),
        }
    }

    fn header<'a>(letter: &'a Outgoing, name: &str) -> Vec<&'a [u8]> {
        letter.headers.iter().filter(|(n, _)| n == name).filter_map(|(_, value)| value.as_deref()).collect()
    }

    #[test]
    fn the_record_itself_is_unchanged() {
        let letter = of(&record(), "order.dlt".to_owned(), "group", &grounds());

        assert_eq!(letter.topic, "order.dlt");
        assert_eq!(letter.key, record().key);
        assert_eq!(letter.value, record().value);
        assert_eq!(letter.timestamp, Some(1_700_000_000_123));
        assert!(letter.headers.starts_with(&record().headers));
    }

    #[test]
    fn headers_have_springs_names_and_binary_forms() {
        let letter = of(&record(), "order.dlt".to_owned(), "group", &grounds());

        let expected: [(&str, &[u8]); 10] = [
            ("kafka_dlt-original-topic", b"orders.created"),
            ("kafka_dlt-original-partition", &[0, 0, 0, 2]),
            ("kafka_dlt-original-offset", &[0, 0, 0, 0, 0, 0, 2, 1]),
            ("kafka_dlt-original-timestamp", &1_700_000_000_123_i64.to_be_bytes()),
            ("kafka_dlt-original-timestamp-type", b"CreateTime"),
            ("kafka_dlt-original-consumer-group", b"group"),
            ("kafka_dlt-exception-fqcn", b"orderpipeline.messaging.Undecodable"),
            ("kafka_dlt-exception-cause-fqcn", b"orderpipeline.messaging.Undecodable.malformed"),
            ("kafka_dlt-exception-message", b"not JSON"),
            ("kafka_dlt-exception-stacktrace", b"not JSON: expected value at line 1"),
        ];
        for (name, value) in expected {
            assert_eq!(header(&letter, name), [value], "{name}");
        }
    }

    #[test]
    fn a_replayed_record_keeps_its_first_origin_and_gets_its_last_error() {
        let first = of(&record(), "order.dlt".to_owned(), "group", &grounds());
        let replayed = Incoming { offset: 999, headers: first.headers, ..record() };
        let last = Grounds { class: Class::Rejected, message: "no such product".to_owned(), ..grounds() };

        let letter = of(&replayed, "order.dlt".to_owned(), "group", &last);

        assert_eq!(header(&letter, "kafka_dlt-original-offset"), [513_i64.to_be_bytes().as_slice()]);
        assert_eq!(header(&letter, "kafka_dlt-exception-message"), [b"no such product".as_slice()]);
        assert_eq!(header(&letter, "kafka_dlt-exception-fqcn").len(), 1);
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        let long = Grounds { message: "ü".repeat(5_000), ..grounds() };

        let letter = of(&record(), "order.dlt".to_owned(), "group", &long);

        assert_eq!(header(&letter, "kafka_dlt-exception-message"), ["ü".repeat(1_000).as_bytes()]);
    }

    #[test]
    fn a_letter_that_is_too_large_says_what_it_left_out() {
        let letter = without_value(&of(&record(), "order.dlt".to_owned(), "group", &grounds()));

        assert_eq!(letter.value, None);
        assert_eq!(header(&letter, "orderpipeline_value-omitted"), [b"10".as_slice()]);
    }
}
