//! Heads of queues: taken for an attempt, put back with a later date, or removed for good.

use std::time::Duration;

use contract::Topic;
use sqlx::{FromRow, PgConnection};

use super::{Parking, queue};
use crate::record::{Incoming, Source, Timestamp};

/// How long a head of a topic that this build does not consume is left to one that does: longer than builds, or their
/// settings, take to replace each other.
const ORPHANED: Duration = Duration::from_secs(15 * 60);

/// The first event of a parked key.
#[derive(Debug)]
pub(crate) struct Head {
    key: Vec<u8>,
    id: i64,
    /// How many attempts it had.
    pub(crate) attempts: u32,
    /// Since when it is due, as PostgreSQL writes it: with the attempts it tells whether somebody had it meanwhile.
    due_at: String,
    pub(crate) record: Incoming,
}

#[derive(FromRow)]
struct Row {
    key: Vec<u8>,
    id: i64,
    attempts: i32,
    due_at: String,
    topic: String,
    partition: i32,
    record_offset: i64,
    timestamp_ms: Option<i64>,
    log_append: bool,
    record_key: Option<Vec<u8>>,
    value: Vec<u8>,
    header_names: Vec<String>,
    header_values: Vec<Option<Vec<u8>>>,
}

impl Parking {
    /// Takes the head that is due longest and that nobody else has, until the transaction ends. No statement
    /// of the transaction may then take longer than `statement_timeout`: one that hangs would keep the key for
    /// ever. Heads of topics that are not [consumed](Parking::consumes) are left to builds that do, for a while.
    pub(crate) async fn claim(
        &self,
        conn: &mut PgConnection,
        statement_timeout: Duration,
        full_name: impl Fn(&str) -> String,
    ) -> Result<Option<Head>, sqlx::Error> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT key, id, attempts, due_at::text, topic, partition, record_offset, timestamp_ms, log_append,
                 record_key, value, header_names, header_values
             FROM parked_events
             WHERE consumer = $1 AND due_at <= now() AND (topic = ANY ($2)
                 OR topic = ANY ($3) AND due_at <= now() - make_interval(secs => $4))
             ORDER BY parked_events.due_at LIMIT 1
             FOR UPDATE SKIP LOCKED",
        )
        .bind(self.consumer)
        .bind(&self.topics)
        .bind(Topic::ALL.iter().map(|topic| topic.name()).collect::<Vec<_>>())
        .bind(ORPHANED.as_secs_f64())
        .fetch_optional(&mut *conn)
        .await?;
        let Some(row) = row else { return Ok(None) };
        sqlx::query("SELECT set_config('statement_timeout', $1, true)")
            .bind(statement_timeout.as_millis().to_string())
            .execute(conn)
            .await?;
        head_of(row, full_name).map(Some)
    }

    /// Lets `head`, which was claimed, be due again after `wait` only, without spending an attempt.
    pub(crate) async fn postpone(
        &self,
        conn: &mut PgConnection,
        head: &mut Head,
        wait: Duration,
    ) -> Result<(), sqlx::Error> {
        head.due_at = sqlx::query_scalar(
            "UPDATE parked_events SET due_at = now() + make_interval(secs => $4)
             WHERE consumer = $1 AND key = $2 AND id = $3
             RETURNING due_at::text",
        )
        .bind(self.consumer)
        .bind(&head.key)
        .bind(head.id)
        .bind(wait.as_secs_f64())
        .fetch_one(conn)
        .await?;
        Ok(())
    }

    /// Takes `head` again, if it is still as it was and nobody else has it. What another worker has postponed to give
    /// it up, or put back, is not as it was.
    pub(crate) async fn reclaim(&self, conn: &mut PgConnection, head: &Head) -> Result<bool, sqlx::Error> {
        let claimed: Option<i64> = sqlx::query_scalar(
            "SELECT id FROM parked_events WHERE consumer = $1 AND key = $2 AND id = $3 AND attempts = $4
                 AND due_at = $5::timestamptz
             FOR UPDATE SKIP LOCKED",
        )
        .bind(self.consumer)
        .bind(&head.key)
        .bind(head.id)
        .bind(count(head.attempts))
        .bind(&head.due_at)
        .fetch_optional(conn)
        .await?;
        Ok(claimed.is_some())
    }

    /// Removes `head`, which was claimed, and gives the next of its key its turn.
    pub(crate) async fn remove(&self, conn: &mut PgConnection, head: &Head) -> Result<(), sqlx::Error> {
        let keys = [head.key.as_slice()];
        queue::lock(conn, self.consumer, &keys).await?;
        sqlx::query("DELETE FROM parked_events WHERE consumer = $1 AND key = $2 AND id = $3")
            .bind(self.consumer)
            .bind(&head.key)
            .bind(head.id)
            .execute(&mut *conn)
            .await?;
        queue::promote(conn, self.consumer, &keys, Duration::ZERO).await
    }

    /// Notes that an attempt at `head` failed because of `error`; the next is due after `wait`. Whoever has
    /// taken it meanwhile is waited for, and what it decided stands.
    pub(crate) async fn failed(&self, head: &Head, error: &str, wait: Duration) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE parked_events SET attempts = attempts + 1, due_at = now() + make_interval(secs => $5),
                 first_error = coalesce(first_error, $6), last_error = $6
             WHERE consumer = $1 AND key = $2 AND id = $3 AND attempts = $4 AND due_at = $7::timestamptz",
        )
        .bind(self.consumer)
        .bind(&head.key)
        .bind(head.id)
        .bind(count(head.attempts))
        .bind(wait.as_secs_f64())
        .bind(queue::storable(error))
        .bind(&head.due_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn head_of(row: Row, full_name: impl Fn(&str) -> String) -> Result<Head, sqlx::Error> {
    let unknown = || sqlx::Error::Decode(format!("topic {} is not in the catalogue", row.topic).into());
    let topic = Topic::from_name(&row.topic).ok_or_else(unknown)?;
    let timestamp = row.timestamp_ms.map(|ms| match row.log_append {
        true => Timestamp::LogAppend(ms),
        false => Timestamp::Create(ms),
    });
    Ok(Head {
        key: row.key,
        id: row.id,
        attempts: row.attempts.unsigned_abs(),
        due_at: row.due_at,
        record: Incoming {
            source: Source { topic, name: full_name(topic.name()).into(), partition: row.partition },
            offset: row.record_offset,
            timestamp,
            key: row.record_key,
            value: Some(row.value),
            headers: row.header_names.into_iter().zip(row.header_values).collect(),
        },
    })
}

fn count(attempts: u32) -> i32 {
    i32::try_from(attempts).unwrap_or(i32::MAX)
}
