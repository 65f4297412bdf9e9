//! The transactional outbox: events are rows of the transaction that they report, and a relay publishes them
//! afterwards. What committed is published; what was rolled back never is.
//!
//! [`Outbox::append`] is for whoever writes, [`Relay`] is the one that publishes. Nothing here speaks to
//! Kafka while a transaction is open.

pub(crate) mod bucket;
mod lease;
mod relay;

use std::sync::Arc;

use contract::{Envelope, headers};
use sqlx::PgConnection;
use tokio::sync::Notify;

pub use relay::Relay;

use crate::codec::{Codec, EncodeError};

/// The largest event, encoded. Well below the broker's `message.max.bytes` of 1 MiB, so that what was
/// accepted here can always be published, and still fits when it becomes a dead letter with further headers.
pub const MAX_EVENT_BYTES: usize = 512 * 1024;

/// Why events could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// An event is larger than [`MAX_EVENT_BYTES`]. Nothing was written.
    #[error("{event_type} for {key} has {size} bytes, more than the {MAX_EVENT_BYTES} that can be published")]
    TooLarge {
        /// The event's type.
        event_type: &'static str,
        /// Its key.
        key: String,
        /// Its encoded size.
        size: usize,
    },
    /// An event cannot be written in the pipeline's format. Nothing was written.
    #[error("could not write an event")]
    Encode(#[from] EncodeError),
    /// The rows could not be inserted; the transaction is unusable.
    #[error("could not append to the outbox")]
    Insert(#[source] sqlx::Error),
}

/// Where a service appends the events that it wants published.
#[derive(Clone)]
pub struct Outbox {
    codec: Arc<dyn Codec>,
    written: Arc<Notify>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    pub(crate) fn new(codec: Arc<dyn Codec>) -> Self {
        Self { codec, written: Arc::new(Notify::new()) }
    }

    /// Appends `events` inside the transaction that is open on `conn`, in one statement. They are published if
    /// it commits, those of one key in this order; call it after the row that the key stands for was locked,
    /// so that ids follow the order of commits. Then call [`Outbox::notify`].
    ///
    /// A `traceparent` in an envelope's metadata becomes the header of that name.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`] and [`AppendError::Encode`] before anything was written;
    /// [`AppendError::Insert`] leaves the transaction unusable.
    pub async fn append(&self, conn: &mut PgConnection, events: &[Envelope]) -> Result<(), AppendError> {
        if events.is_empty() {
            return Ok(());
        }
        let rows = Rows::of(events, &*self.codec)?;
        // Ids are drawn in the order of the select, so the array's order is the order of publication.
        sqlx::query(
            "INSERT INTO outbox (bucket, event_id, topic, key, headers, payload)
             SELECT bucket, event_id, topic, key, headers, payload
             FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[])
                  WITH ORDINALITY AS row (bucket, event_id, topic, key, headers, payload, position)
             ORDER BY position",
        )
        .bind(rows.buckets)
        .bind(rows.event_ids)
        .bind(rows.topics)
        .bind(rows.keys)
        .bind(rows.headers)
        .bind(rows.payloads)
        .execute(conn)
        .await
        .map_err(AppendError::Insert)?;
        Ok(())
    }

    /// Tells the relay of this process that rows were committed. Without it they are published as well, only
    /// up to a poll later.
    pub fn notify(&self) {
        self.written.notify_one();
    }

    pub(crate) fn written(&self) -> &Notify {
        &self.written
    }
}

/// The columns of the rows to insert.
#[derive(Default)]
struct Rows {
    buckets: Vec<i16>,
    event_ids: Vec<uuid::Uuid>,
    topics: Vec<&'static str>,
    keys: Vec<String>,
    headers: Vec<String>,
    payloads: Vec<Vec<u8>>,
}

impl Rows {
    fn of(events: &[Envelope], codec: &dyn Codec) -> Result<Self, AppendError> {
        let mut rows = Self::default();
        for envelope in events {
            let key = envelope.event.key();
            let payload = codec.encode(envelope)?;
            if payload.len() > MAX_EVENT_BYTES {
                let event_type = envelope.event.event_type();
                return Err(AppendError::TooLarge { event_type, key, size: payload.len() });
            }
            rows.buckets.push(bucket::bucket_of(&key));
            rows.event_ids.push(envelope.event_id);
            rows.topics.push(envelope.event.topic().name());
            rows.headers.push(encode_headers(&headers_of(envelope, codec)));
            rows.keys.push(key);
            rows.payloads.push(payload);
        }
        Ok(rows)
    }
}

/// The headers that `envelope` travels with.
pub(crate) fn headers_of(envelope: &Envelope, codec: &dyn Codec) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = headers::for_envelope(envelope)
        .into_iter()
        .map(|(name, value)| match name {
            headers::CONTENT_TYPE => (name.to_owned(), codec.content_type().to_owned()),
            _ => (name.to_owned(), value),
        })
        .collect();
    if let Some(traceparent) = envelope.metadata.get(headers::TRACEPARENT) {
        all.push((headers::TRACEPARENT.to_owned(), traceparent.clone()));
    }
    all
}

fn encode_headers(headers: &[(String, String)]) -> String {
    serde_json::to_string(headers).expect("pairs of strings are always JSON")
}

fn decode_headers(headers: &str) -> Result<Vec<(String, String)>, serde_json::Error> {
    serde_json::from_str(headers)
}
