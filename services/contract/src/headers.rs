//! Names and values of Kafka headers: CloudEvents attributes, tracing, and Spring's dead-letter names.
//!
//! The value is the whole envelope; the headers repeat what tools route, filter and trace by, so that they need
//! not parse it. Names are those of the CloudEvents Kafka binding (binary mode) and of Spring Kafka's
//! `KafkaHeaders`, because consoles and other clients already know them.

use crate::{Envelope, Service};

/// Media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// Media type of an envelope as [`crate::codec`] writes it.
pub const CONTENT_TYPE_JSON: &str = "application/json";
/// Media type of an envelope as [`crate::avro`] writes it, framed with the number of its schema.
pub const CONTENT_TYPE_AVRO: &str = "application/avro";
/// W3C trace context; set by whoever traces.
pub const TRACEPARENT: &str = "traceparent";

/// Version of the CloudEvents specification.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// The envelope's `event_id`.
pub const CE_ID: &str = "ce_id";
/// The service that wrote the event.
pub const CE_SOURCE: &str = "ce_source";
/// The event's type.
pub const CE_TYPE: &str = "ce_type";
/// The envelope's `timestamp`.
pub const CE_TIME: &str = "ce_time";
/// What the event is about: the record's key.
pub const CE_SUBJECT: &str = "ce_subject";
/// The event's version (an extension: attribute names have lower-case letters and digits only).
pub const CE_EVENT_VERSION: &str = "ce_eventversion";
/// The envelope's `correlation_id` (an extension; the specification has no such attribute).
pub const CE_CORRELATION_ID: &str = "ce_correlationid";
/// The envelope's `causation_id` (an extension), absent where there is none.
pub const CE_CAUSATION_ID: &str = "ce_causationid";

/// Topic of the record that was given up.
pub const DLT_ORIGINAL_TOPIC: &str = "kafka_dlt-original-topic";
/// Its partition: 4 bytes, big-endian.
pub const DLT_ORIGINAL_PARTITION: &str = "kafka_dlt-original-partition";
/// Its offset: 8 bytes, big-endian.
pub const DLT_ORIGINAL_OFFSET: &str = "kafka_dlt-original-offset";
/// Its timestamp in milliseconds: 8 bytes, big-endian.
pub const DLT_ORIGINAL_TIMESTAMP: &str = "kafka_dlt-original-timestamp";
/// `CreateTime` or `LogAppendTime`.
pub const DLT_ORIGINAL_TIMESTAMP_TYPE: &str = "kafka_dlt-original-timestamp-type";
/// Consumer group that gave it up.
pub const DLT_ORIGINAL_CONSUMER_GROUP: &str = "kafka_dlt-original-consumer-group";
/// Class of the error that ended it.
pub const DLT_EXCEPTION_FQCN: &str = "kafka_dlt-exception-fqcn";
/// Class of that error's cause.
pub const DLT_EXCEPTION_CAUSE_FQCN: &str = "kafka_dlt-exception-cause-fqcn";
/// The error in words.
pub const DLT_EXCEPTION_MESSAGE: &str = "kafka_dlt-exception-message";

/// The headers of an envelope that is sent as JSON.
#[must_use]
pub fn for_envelope(envelope: &Envelope) -> Vec<(&'static str, String)> {
    let event = &envelope.event;
    let mut headers = vec![
        (CE_SPECVERSION, "1.0".to_owned()),
        (CE_ID, envelope.event_id.to_string()),
        (CE_SOURCE, format!("/orderpipeline/{}", Service::producer_of(event.topic()))),
        (CE_TYPE, event.event_type().to_owned()),
        (CE_TIME, envelope.timestamp.to_string()),
        (CE_SUBJECT, event.key()),
        (CE_EVENT_VERSION, event.version().to_string()),
        (CE_CORRELATION_ID, envelope.correlation_id.to_string()),
        (CONTENT_TYPE, CONTENT_TYPE_JSON.to_owned()),
    ];
    if let Some(causation_id) = envelope.causation_id {
        headers.push((CE_CAUSATION_ID, causation_id.to_string()));
    }
    headers
}

/// The value of a `traceparent`, if it is one: `version-traceid-parentid-flags` in lower-case hex (W3C Trace Context,
/// section 3.2). Anything else is not passed on: it would end up in every header and log line that follows.
#[must_use]
pub fn valid_traceparent(value: &[u8]) -> Option<&str> {
    const LENGTHS: [usize; 4] = [2, 32, 16, 2];
    let text = std::str::from_utf8(value).ok()?;
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let parts: Vec<&str> = text.split('-').collect();
    let valid = parts.len() == LENGTHS.len()
        && parts.iter().zip(LENGTHS).all(|(part, length)| part.len() == length && hex(part));
    valid.then_some(text)
}
