//! The transactional outbox: events are rows of the transaction that they report, and a relay publishes them
//! afterwards. What committed is published; what was rolled back never is.
//!
//! [`Outbox::append`] is for whoever writes, [`Relay`] is the one that publishes. Nothing here speaks to
//! Kafka while a transaction is open. What the broker refuses waits aside, and with it nothing but what has to follow
//! it.

mod aside;
pub(crate) mod bell;
pub(crate) mod bucket;
mod lease;
mod load;
mod parcel;
pub(crate) mod relay;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{Envelope, headers};
use sqlx::PgConnection;
use tokio::sync::Notify;

use self::parcel::Parcel;
pub use self::relay::Relay;
use crate::codec::{Codec, EncodeError};
use crate::record::Outgoing;

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
        let (buckets, counts, parcels) = pack(events, &*self.codec)?;
        // Ids are drawn in the order of the select, so the array's order is the order of publication.
        sqlx::query(
            "INSERT INTO outbox (bucket, events, records)
             SELECT bucket, events, records
             FROM unnest($1::smallint[], $2::integer[], $3::bytea[])
                  WITH ORDINALITY AS row (bucket, events, records, position)
             ORDER BY position",
        )
        .bind(buckets)
        .bind(counts)
        .bind(parcels)
        .execute(conn)
        .await
        .map_err(AppendError::Insert)?;
        Ok(())
    }

    /// The events that wait for publication, each key's in order. For tests and inspection; the relay has its
    /// own way to them.
    ///
    /// # Errors
    /// The database cannot be read, or holds what this build did not write.
    pub async fn pending(&self, conn: &mut PgConnection) -> Result<Vec<Envelope>, sqlx::Error> {
        let rows: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT records FROM outbox ORDER BY id").fetch_all(conn).await?;
        let mut events = Vec::new();
        for row in rows {
            for record in parcel::open(&row).map_err(|error| sqlx::Error::Decode(error.into()))? {
                let value = record.value.unwrap_or_default();
                events.push(self.codec.decode(&value).map_err(|error| sqlx::Error::Decode(error.into()))?);
            }
        }
        Ok(events)
    }

    /// Tells the relay of this process, or whoever rings for those of others, that rows were committed. Without it
    /// they are published as well, only up to a poll later.
    pub fn notify(&self) {
        self.written.notify_one();
    }

    pub(crate) fn written(&self) -> &Notify {
        &self.written
    }
}

/// The columns of the rows to insert: one row per bucket, more where a bucket has much.
type Columns = (Vec<i16>, Vec<i32>, Vec<Vec<u8>>);

fn pack(events: &[Envelope], codec: &dyn Codec) -> Result<Columns, AppendError> {
    let mut open: BTreeMap<i16, Parcel> = BTreeMap::new();
    let mut columns = Columns::default();
    for envelope in events {
        let record = record_of(envelope, codec)?;
        let bucket = bucket::bucket_of(&envelope.event.key());
        let parcel = open.entry(bucket).or_insert_with(Parcel::new);
        parcel.add(&record);
        if parcel.is_full() {
            let full = std::mem::replace(parcel, Parcel::new());
            push(&mut columns, bucket, full);
        }
    }
    for (bucket, parcel) in open {
        push(&mut columns, bucket, parcel);
    }
    Ok(columns)
}

fn push((buckets, counts, parcels): &mut Columns, bucket: i16, parcel: Parcel) {
    let (count, bytes) = parcel.close();
    if count > 0 {
        buckets.push(bucket);
        counts.push(count);
        parcels.push(bytes);
    }
}

/// The record that carries `envelope`, its topic without prefix.
fn record_of(envelope: &Envelope, codec: &dyn Codec) -> Result<Outgoing, AppendError> {
    let (key, value) = (envelope.event.key(), codec.encode(envelope)?);
    if value.len() > MAX_EVENT_BYTES {
        let event_type = envelope.event.event_type();
        return Err(AppendError::TooLarge { event_type, key, size: value.len() });
    }
    let headers = headers_of(envelope, codec).into_iter();
    Ok(Outgoing {
        topic: envelope.event.topic().name().to_owned(),
        key: Some(key.into_bytes()),
        value: Some(value),
        headers: headers.map(|(name, value)| (name, Some(value.into_bytes()))).collect(),
        timestamp: Some(envelope.timestamp.as_millisecond()),
    })
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
