//! The queues' shape: appending at the end, giving the first its turn. Under the keys' locks.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::Arrivals;
use crate::record::{Incoming, Timestamp};

/// Class of the keys' advisory locks; the object is the key's hash. Keys whose hashes meet merely wait for
/// each other's commits.
const CLASS: i32 = 0x5041_524b;
/// Most characters of an error that are kept: for reading.
const ERROR_MAX: usize = 2_000;

/// A record to append.
pub(super) struct Row<'a> {
    pub(super) key: &'a [u8],
    event_id: Uuid,
    record: &'a Incoming,
}

/// The rows for those of `arrivals` whose key is `wanted`, in order.
pub(super) fn rows_of<'a>(arrivals: Arrivals<'a>, wanted: impl Fn(&[u8]) -> bool) -> Vec<Row<'a>> {
    let Arrivals { records, deliveries } = arrivals;
    records
        .iter()
        .zip(deliveries)
        .map(|(record, delivery)| Row {
            key: delivery.key.as_bytes(),
            event_id: delivery.envelope.event_id,
            record,
        })
        .filter(|row| wanted(row.key))
        .collect()
}

/// Locks the queues of `keys` until the transaction ends. Always in one order, so that nobody waits in a
/// circle; and not while anything else is locked, except by who removes a head, who waits for nothing after.
pub(super) async fn lock(conn: &mut PgConnection, consumer: &str, keys: &[&[u8]]) -> Result<(), sqlx::Error> {
    let objects: BTreeSet<i32> = keys.iter().map(|key| lock_of(consumer, key)).collect();
    sqlx::query("SELECT pg_advisory_xact_lock($1, object) FROM unnest($2::int[]) AS object")
        .bind(CLASS)
        .bind(objects.into_iter().collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// The same in every build, for ever: FNV-1a, because std's hasher promises no such thing.
fn lock_of(consumer: &str, key: &[u8]) -> i32 {
    const OFFSET_BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let bytes = consumer.bytes().chain([0]).chain(key.iter().copied());
    bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME)).cast_signed()
}

/// Appends `rows`, those that are not there already. With an error they count as tried once.
pub(super) async fn insert(
    conn: &mut PgConnection,
    consumer: &str,
    rows: &[Row<'_>],
    error: Option<&str>,
) -> Result<(), sqlx::Error> {
    let (attempts, error) = (i32::from(error.is_some()), error.map(storable));
    let mut insert = QueryBuilder::<Postgres>::new(
        "INSERT INTO parked_events (consumer, key, event_id, topic, partition, record_offset, timestamp_ms,
             log_append, record_key, value, header_names, header_values, attempts, first_error, last_error) ",
    );
    insert.push_values(rows, |mut row, Row { key, event_id, record }| {
        let (timestamp_ms, log_append) = match record.timestamp {
            Some(Timestamp::Create(ms)) => (Some(ms), false),
            Some(Timestamp::LogAppend(ms)) => (Some(ms), true),
            None => (None, false),
        };
        let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        let values: Vec<Option<&[u8]>> = record.headers.iter().map(|(_, value)| value.as_deref()).collect();
        row.push_bind(consumer)
            .push_bind(*key)
            .push_bind(*event_id)
            .push_bind(record.source.topic.name())
            .push_bind(record.source.partition)
            .push_bind(record.offset)
            .push_bind(timestamp_ms)
            .push_bind(log_append)
            .push_bind(record.key.as_deref())
            // What became a delivery has a value.
            .push_bind(record.value.as_deref().unwrap_or_default())
            .push_bind(names)
            .push_bind(values)
            .push_bind(attempts)
            .push_bind(error.as_deref())
            .push_bind(error.as_deref());
    });
    insert.push(" ON CONFLICT (consumer, event_id) DO NOTHING");
    // A text per number of rows: not worth a place among the prepared statements.
    insert.build().persistent(false).execute(conn).await?;
    Ok(())
}

/// Gives the first of each of `keys` its turn after `wait`, unless it has one already.
pub(super) async fn promote(
    conn: &mut PgConnection,
    consumer: &str,
    keys: &[&[u8]],
    wait: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE parked_events AS parked SET due_at = now() + make_interval(secs => $3)
         FROM (SELECT DISTINCT key FROM unnest($2::bytea[]) AS key) AS wanted
         CROSS JOIN LATERAL (
             SELECT id FROM parked_events AS queued
             WHERE queued.consumer = $1 AND queued.key = wanted.key ORDER BY id LIMIT 1
         ) AS first
         WHERE parked.consumer = $1 AND parked.key = wanted.key AND parked.id = first.id
           AND parked.due_at IS NULL",
    )
    .bind(consumer)
    .bind(keys)
    .bind(wait.as_secs_f64())
    .execute(conn)
    .await?;
    Ok(())
}

/// `error` as PostgreSQL can store it, in a readable length.
pub(super) fn storable(error: &str) -> String {
    error.chars().filter(|character| *character != '\0').take(ERROR_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_lock_never_changes() {
        assert_eq!(lock_of("order", b"key-1"), lock_of("order", b"key-1"));
        assert_ne!(lock_of("order", b"key-1"), lock_of("order", b"key-2"));
        assert_eq!(
            [lock_of("order", b""), lock_of("inventory", b"burger")],
            GOLDEN,
            "replicas of two builds would not exclude each other"
        );
    }

    const GOLDEN: [i32; 2] = [-446_816_843, -950_994_696];

    #[test]
    fn errors_are_stored_without_what_text_cannot_hold() {
        assert_eq!(storable("a\0b"), "ab");
        assert_eq!(storable(&"ü".repeat(3_000)).chars().count(), ERROR_MAX);
    }
}
