//! Avro in Confluent framing: every value begins with the number of the schema that it was written with, under
//! which a registry keeps the schema.
//!
//! Numbers for writing are fetched before the codec exists, schemas for reading before a batch is decoded; both
//! are kept for ever, because a number always means the same schema. So encoding and decoding never wait.

mod registry;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use contract::avro::{self, Schema};
use contract::{DecodeError, Envelope, EventType, headers};
use futures::FutureExt;
use futures::future::BoxFuture;

pub use registry::{Compatibility, Registry, RegistryConfig, RegistryCredentials, RegistryError};

use crate::codec::{Codec, EncodeError, JsonCodec};

/// Reads both formats, whichever a record is in, and writes one of them: a pipeline that changes from one to the
/// other still has records of the first in its topics.
#[derive(Debug)]
pub struct AvroCodec {
    registry: Registry,
    /// The numbers of the schemas to write with, by event type; none: events are written in JSON.
    numbers: Option<HashMap<&'static str, u32>>,
    /// What is known of the schemas of values that came.
    schemas: RwLock<HashMap<u32, Known>>,
}

/// The largest number that a registry gives to a schema.
const LARGEST: u32 = i32::MAX.unsigned_abs();

/// A schema that was fetched; or why it is of no use.
type Known = Result<Arc<Schema>, String>;

impl AvroCodec {
    /// Writes `events` in Avro. Their schemas are registered, each under the name of its topic with `prefix`,
    /// where they are not yet.
    ///
    /// # Errors
    /// A registry that cannot be asked ([`RegistryError::is_temporary`]), or does not take a schema.
    pub async fn writing_avro(
        registry: Registry,
        prefix: &str,
        events: impl IntoIterator<Item = EventType>,
    ) -> Result<Self, RegistryError> {
        let mut numbers = HashMap::new();
        for event in events {
            let subject = avro::subject_of(&format!("{prefix}{}", event.topic.name()));
            let number = registry.number_of(&subject, event.name, &avro::schema_text_of(event)).await?;
            tracing::debug!(subject, number, "the schema is registered");
            numbers.insert(event.name, number);
        }
        Ok(Self { registry, numbers: Some(numbers), schemas: RwLock::default() })
    }

    /// Writes JSON.
    #[must_use]
    pub fn writing_json(registry: Registry) -> Self {
        Self { registry, numbers: None, schemas: RwLock::default() }
    }

    fn known(&self, id: u32) -> Option<Known> {
        self.schemas.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    async fn fetch_one(&self, id: u32) -> Result<(), RegistryError> {
        let Some(kept) = self.registry.schema(id).await? else {
            // Not remembered: numbers are made up easily, and a real one may be given out yet.
            return Ok(());
        };
        let known = match kept.schema_type.as_deref() {
            None | Some("AVRO") => {
                Schema::parse(&kept.schema).map(Arc::new).map_err(|error| error.to_string())
            }
            Some(other) => Err(format!("it is a schema of {other}")),
        };
        self.schemas.write().unwrap_or_else(PoisonError::into_inner).insert(id, known);
        Ok(())
    }
}

impl Codec for AvroCodec {
    fn content_type(&self) -> &'static str {
        match self.numbers {
            Some(_) => headers::CONTENT_TYPE_AVRO,
            None => JsonCodec.content_type(),
        }
    }

    fn encode(&self, envelope: &Envelope) -> Result<Vec<u8>, EncodeError> {
        let Some(numbers) = &self.numbers else { return JsonCodec.encode(envelope) };
        let event_type = envelope.event.event_type();
        let number = numbers.get(event_type).ok_or(EncodeError::NotRegistered { event_type })?;
        Ok(avro::frame(*number, &avro::encode(envelope)?))
    }

    fn decode(&self, value: &[u8]) -> Result<Envelope, DecodeError> {
        let Some((id, body)) = avro::unframe(value) else { return JsonCodec.decode(value) };
        let unknown = |why: &str| DecodeError::UnknownSchema { id, why: why.to_owned() };
        let known = self.known(id).ok_or_else(|| unknown("the registry does not have it"))?;
        let schema = known.map_err(|why| unknown(&why))?;
        avro::decode(body, &schema)
    }

    fn missing(&self, value: &[u8]) -> Option<u32> {
        let (id, _) = avro::unframe(value)?;
        // Larger numbers are not given out, and Confluent's registry, whose numbers are Java's, does not answer as to a
        // number that it does not know: it would be asked for ever.
        (id <= LARGEST && self.known(id).is_none()).then_some(id)
    }

    fn fetch<'c>(&'c self, ids: &'c BTreeSet<u32>) -> BoxFuture<'c, Result<(), RegistryError>> {
        async move {
            for id in ids {
                self.fetch_one(*id).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_registry_gives_out_is_not_asked_for() {
        let registry = Registry::new(RegistryConfig::at("http://127.0.0.1:1")).unwrap();
        let codec = AvroCodec::writing_json(registry);

        assert_eq!(codec.missing(&avro::frame(7, b"")), Some(7));
        assert_eq!(codec.missing(&avro::frame(LARGEST, b"")), Some(LARGEST));
        for id in [LARGEST + 1, u32::MAX] {
            let value = avro::frame(id, b"");
            assert_eq!(codec.missing(&value), None);
            assert!(matches!(codec.decode(&value), Err(DecodeError::UnknownSchema { .. })));
        }
    }
}
