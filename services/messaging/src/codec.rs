//! The seam between envelopes and the bytes of a record's value. JSON today; Avro in Confluent framing is one
//! more implementation, chosen when the process starts. Handlers never see bytes.

use contract::{DecodeError, Envelope};

/// Turns envelopes into values and back. Both directions are pure and quick: whatever a codec needs from
/// elsewhere (schema ids, say) it has fetched before it is used.
pub trait Codec: Send + Sync + 'static {
    /// The `content-type` of what [`Codec::encode`] writes.
    fn content_type(&self) -> &'static str;

    /// The value of the record that carries `envelope`.
    fn encode(&self, envelope: &Envelope) -> Vec<u8>;

    /// The envelope in a record's value.
    ///
    /// # Errors
    /// The bytes are no event that this build can handle; trying again will not help.
    fn decode(&self, value: &[u8]) -> Result<Envelope, DecodeError>;
}

/// The contract's JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonCodec;

impl Codec for JsonCodec {
    fn content_type(&self) -> &'static str {
        contract::headers::CONTENT_TYPE_JSON
    }

    fn encode(&self, envelope: &Envelope) -> Vec<u8> {
        contract::codec::encode_json(envelope)
    }

    fn decode(&self, value: &[u8]) -> Result<Envelope, DecodeError> {
        contract::codec::decode_json(value)
    }
}
