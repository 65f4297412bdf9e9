//! The seam between envelopes and the bytes of a record's value: JSON, or Avro in Confluent framing, chosen when
//! the process starts. Handlers never see bytes.

use std::collections::BTreeSet;

use contract::{DecodeError, Envelope};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::avro::RegistryError;

/// Why an event cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The format has no room for one of its values.
    #[error(transparent)]
    Value(#[from] contract::avro::EncodeError),
    /// It is not one of the events whose schemas this process has registered.
    #[error("{event_type} is not one of the events that this service writes: no schema is registered for it")]
    NotRegistered {
        /// The event's type.
        event_type: &'static str,
    },
}

/// Turns envelopes into values and back. Both directions are pure and quick: whatever a codec needs from
/// elsewhere is fetched before.
pub trait Codec: Send + Sync + 'static {
    /// The `content-type` of what [`Codec::encode`] writes.
    fn content_type(&self) -> &'static str;

    /// The value of the record that carries `envelope`.
    ///
    /// # Errors
    /// The format cannot carry it; trying again will not help.
    fn encode(&self, envelope: &Envelope) -> Result<Vec<u8>, EncodeError>;

    /// The envelope in a record's value, after what is [`Codec::missing`] for it was fetched.
    ///
    /// # Errors
    /// The bytes are no event that this build can handle; trying again will not help.
    fn decode(&self, value: &[u8]) -> Result<Envelope, DecodeError>;

    /// The number of the schema that has to be fetched before `value` can be decoded, if there is one.
    fn missing(&self, _value: &[u8]) -> Option<u32> {
        None
    }

    /// Fetches schemas. One that the registry does not have is no error: decoding will say so.
    fn fetch<'c>(&'c self, _ids: &'c BTreeSet<u32>) -> BoxFuture<'c, Result<(), RegistryError>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// The contract's JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonCodec;

impl Codec for JsonCodec {
    fn content_type(&self) -> &'static str {
        contract::headers::CONTENT_TYPE_JSON
    }

    fn encode(&self, envelope: &Envelope) -> Result<Vec<u8>, EncodeError> {
        Ok(contract::codec::encode_json(envelope))
    }

    fn decode(&self, value: &[u8]) -> Result<Envelope, DecodeError> {
        match contract::avro::unframe(value) {
            Some((id, _)) => {
                Err(DecodeError::UnknownSchema { id, why: "no schema registry is configured".to_owned() })
            }
            None => contract::codec::decode_json(value),
        }
    }
}
