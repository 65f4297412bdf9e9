//! The JSON encoding of an envelope. What it writes is fixed by the golden files; what it reads is tolerant of
//! fields it does not know, so that a producer may add optional ones first. [`crate::avro`] builds on it.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::avro::Mismatch;
use crate::{CorrelationId, Envelope, Event};

/// Why bytes are not an event that this build can handle. None of them gets better by trying again.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not an envelope.
    #[error("the value is not an event envelope")]
    Malformed(#[source] serde_json::Error),
    /// Not what its Avro schema says.
    #[error("the value is not what its Avro schema says")]
    MalformedAvro(#[source] Mismatch),
    /// Framed as Avro, with a schema that cannot be had.
    #[error("the value's Avro schema {id} is unknown: {why}")]
    UnknownSchema {
        /// Its number in the registry.
        id: u32,
        /// Where it was looked for.
        why: String,
    },
    /// An envelope of an event that the catalogue does not have.
    #[error("event type {event_type:?} is unknown")]
    UnknownType {
        /// The type it claims.
        event_type: String,
    },
    /// A known event, in a version that this build does not speak.
    #[error("version {version} of {event_type} is not supported, version {supported} is")]
    UnsupportedVersion {
        /// The event's type.
        event_type: &'static str,
        /// The version it claims.
        version: u16,
        /// The version that this build speaks.
        supported: u16,
    },
    /// A known event and version whose payload breaks the contract.
    #[error("the payload is not a valid {event_type}")]
    InvalidPayload {
        /// The event's type.
        event_type: &'static str,
        /// Which field, and why.
        #[source]
        source: serde_json::Error,
    },
}

impl DecodeError {
    /// A short name of the kind of error, fit for a metric's label and a dead letter's header.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::MalformedAvro(_) => "malformed",
            Self::UnknownSchema { .. } => "unknown_schema",
            Self::UnknownType { .. } => "unknown_type",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::InvalidPayload { .. } => "invalid_payload",
        }
    }
}

/// The envelope as JSON, in one line, fields always in the same order.
#[must_use]
pub fn encode_json(envelope: &Envelope) -> Vec<u8> {
    serde_json::to_vec(&written(envelope)).expect(SERIALIZABLE)
}

/// The same as a JSON value.
pub(crate) fn to_value(envelope: &Envelope) -> Value {
    serde_json::to_value(written(envelope)).expect(SERIALIZABLE)
}

const SERIALIZABLE: &str = "every map of an envelope has text keys, and no writer can fail";

fn written(envelope: &Envelope) -> Written<'_> {
    Written {
        event_id: envelope.event_id,
        event_type: envelope.event.event_type(),
        event_version: envelope.event.version(),
        timestamp: envelope.timestamp,
        correlation_id: &envelope.correlation_id,
        causation_id: envelope.causation_id,
        payload: &envelope.event,
        metadata: &envelope.metadata,
    }
}

/// Reads what [`encode_json`] wrote, of this or of another build.
///
/// # Errors
/// See [`DecodeError`]; all are permanent.
pub fn decode_json(bytes: &[u8]) -> Result<Envelope, DecodeError> {
    // Kept as text until type and version say what it is: errors then name the field of the real payload.
    let wire: Read<'_, &RawValue> = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
    let mut payload = serde_json::Deserializer::from_str(wire.payload.get());
    let event = Event::decode(&wire.event_type, wire.event_version, &mut payload)?;
    Ok(wire.around(event))
}

/// Reads what [`to_value`] made, in this or another build.
pub(crate) fn from_value(value: Value) -> Result<Envelope, DecodeError> {
    let mut wire = Read::<Value>::deserialize(value).map_err(DecodeError::Malformed)?;
    let event = Event::decode(&wire.event_type, wire.event_version, wire.payload.take())?;
    Ok(wire.around(event))
}

#[derive(Serialize)]
struct Written<'a> {
    event_id: Uuid,
    event_type: &'static str,
    event_version: u16,
    timestamp: Timestamp,
    correlation_id: &'a CorrelationId,
    causation_id: Option<Uuid>,
    payload: &'a Event,
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Read<'a, P> {
    event_id: Uuid,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    event_version: u16,
    timestamp: Timestamp,
    correlation_id: CorrelationId,
    #[serde(default)]
    causation_id: Option<Uuid>,
    payload: P,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl<P> Read<'_, P> {
    fn around(self, event: Event) -> Envelope {
        Envelope {
            event_id: self.event_id,
            timestamp: self.timestamp,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            metadata: self.metadata,
            event,
        }
    }
}
