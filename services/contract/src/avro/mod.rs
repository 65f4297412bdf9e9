//! The Avro encoding of an envelope: the fields of the JSON encoding, in Avro's binary form.
//!
//! A value is read by the schema that it was written with and becomes the JSON that it stands for; from there both
//! encodings go the same way. So whatever may differ between two builds in JSON may differ in Avro, and no more:
//! fields that are not known are ignored, optional fields may be missing, and an unknown value of an enum is
//! refused by its name.
//!
//! On the wire a value is framed as Confluent's tools do it: which schema, by its number in a registry, and the
//! binary form. What a schema of the contract looks like, and which there have been, stands in `schemas/`.

mod read;
mod schema;
mod shape;
mod text;
mod write;

use std::sync::LazyLock;

use crate::codec::{self, DecodeError};
use crate::{Envelope, Event, EventType};

pub use read::read;
pub(crate) use schema::Type;
pub use schema::{InvalidSchema, Schema};
pub(crate) use shape::{Records, Shape};
pub use write::write;

/// Why a value and a schema do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", place(.path))]
pub struct Mismatch {
    /// The field, such as `payload.total.currency`; empty for the value as a whole.
    path: String,
    reason: String,
}

fn place(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

impl Mismatch {
    fn new(reason: impl Into<String>) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }

    fn inside(mut self, field: &str) -> Self {
        self.path = if self.path.is_empty() { field.to_owned() } else { format!("{field}.{}", self.path) };
        self
    }
}

/// Why an event cannot be written in Avro.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event_type} cannot be written in Avro")]
pub struct EncodeError {
    /// The event's type.
    pub event_type: &'static str,
    /// Which field, and why.
    #[source]
    pub source: Mismatch,
}

/// What the schemas of all events are, in the order of [`Event::TYPES`].
static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    Event::SHAPES.iter().map(|(event, payload)| shape::envelope(event.name, *payload)).collect()
});

/// The schema by which this build writes an event of this type.
///
/// # Panics
/// When the catalogue has no such event.
#[must_use]
pub fn schema_of(event: EventType) -> &'static Schema {
    let index = Event::TYPES.iter().position(|declared| *declared == event);
    index.and_then(|index| SCHEMAS.get(index)).expect("event types are made by the catalogue only")
}

/// The JSON text of [`schema_of`], as registries are given it: the same for the same schema, always.
#[must_use]
pub fn schema_text_of(event: EventType) -> String {
    text::pretty(schema_of(event))
}

/// The binary form of `envelope`, without frame. Timestamps are cut to microseconds.
///
/// # Errors
/// A count is too large for Avro (above 2⁶³−1).
pub fn encode(envelope: &Envelope) -> Result<Vec<u8>, EncodeError> {
    let event = envelope.event.declared();
    write(&codec::to_value(envelope), schema_of(event))
        .map_err(|source| EncodeError { event_type: event.name, source })
}

/// The envelope in the binary form `bytes`, which was written by `schema`, in this or another build.
///
/// # Errors
/// See [`DecodeError`]; all are permanent.
pub fn decode(bytes: &[u8], schema: &Schema) -> Result<Envelope, DecodeError> {
    codec::from_value(read(bytes, schema).map_err(DecodeError::MalformedAvro)?)
}

/// What a framed value begins with. No JSON text does.
const MAGIC: u8 = 0;

/// `body` behind the number of its schema: a zero, and four bytes, the highest first.
#[must_use]
pub fn frame(schema_id: u32, body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(5 + body.len());
    framed.push(MAGIC);
    framed.extend(schema_id.to_be_bytes());
    framed.extend(body);
    framed
}

/// The number of the schema and the body, if `value` is framed.
#[must_use]
pub fn unframe(value: &[u8]) -> Option<(u32, &[u8])> {
    let (id, body) = value.strip_prefix(&[MAGIC])?.split_first_chunk()?;
    Some((u32::from_be_bytes(*id), body))
}

/// The name under which a registry keeps the schemas of a topic's values (Confluent's TopicNameStrategy).
#[must_use]
pub fn subject_of(full_topic_name: &str) -> String {
    format!("{full_topic_name}-value")
}
