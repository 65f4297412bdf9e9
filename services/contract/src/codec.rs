//! The JSON encoding of an envelope. What it writes is fixed by the golden files; what it reads is tolerant of
//! fields it does not know, so that a producer may add optional ones first.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{CorrelationId, Envelope, Event};

/// Why bytes are not an event that this build can handle. None of them gets better by trying again.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not an envelope.
    #[error("the value is not an event envelope in JSON")]
    Malformed(#[source] serde_json::Error),
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
            Self::Malformed(_) => "malformed",
            Self::UnknownType { .. } => "unknown_type",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::InvalidPayload { .. } => "invalid_payload",
        }
    }
}

/// The envelope as JSON, in one line, fields always in the same order.
#[must_use]
pub fn encode_json(envelope: &Envelope) -> Vec<u8> {
    let wire = Written {
        event_id: envelope.event_id,
        event_type: envelope.event.event_type(),
        event_version: envelope.event.version(),
        timestamp: envelope.timestamp,
        correlation_id: &envelope.correlation_id,
        causation_id: envelope.causation_id,
        payload: &envelope.event,
        metadata: &envelope.metadata,
    };
    serde_json::to_vec(&wire).expect("every map of an envelope has text keys, and no writer can fail")
}

/// Reads what [`encode_json`] wrote, of this or of another build.
///
/// # Errors
/// See [`DecodeError`]; all are permanent.
pub fn decode_json(bytes: &[u8]) -> Result<Envelope, DecodeError> {
    let wire: Read<'_> = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
    let event = Event::decode(&wire.event_type, wire.event_version, wire.payload)?;
    Ok(Envelope {
        event_id: wire.event_id,
        timestamp: wire.timestamp,
        correlation_id: wire.correlation_id,
        causation_id: wire.causation_id,
        metadata: wire.metadata,
        event,
    })
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
struct Read<'a> {
    event_id: Uuid,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    event_version: u16,
    timestamp: Timestamp,
    correlation_id: CorrelationId,
    #[serde(default)]
    causation_id: Option<Uuid>,
    // Kept as text until type and version say what it is: errors then name the field of the real payload.
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}
