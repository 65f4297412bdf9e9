//! Idempotency keys in the database: which request each belongs to. SQL only.

use std::collections::BTreeMap;

use contract::{CorrelationId, OrderId};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::store::micros;

/// A request that wants a key for itself.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The key.
    pub key: &'a str,
    /// What tells the request from others.
    pub fingerprint: &'a [u8],
    /// The order that the request is about to become.
    pub order_id: OrderId,
}

/// The answer that a request got the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAnswer {
    /// What told that request from others.
    pub fingerprint: Vec<u8>,
    /// The order it became.
    pub order_id: OrderId,
    /// The order's correlation id.
    pub correlation_id: CorrelationId,
}

/// Claims keys, each at most once in `claims`, and returns those that were free. A key that another open
/// transaction claims is waited for. Keys are taken in sorted order, so that nobody waits in a circle.
pub async fn claim(
    conn: &mut PgConnection,
    claims: &[Claim<'_>],
    now: Timestamp,
) -> Result<Vec<String>, sqlx::Error> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "INSERT INTO idempotency_keys (key, fingerprint, order_id, created_at_us)
         SELECT key, fingerprint, order_id, $4
         FROM unnest($1::text[], $2::bytea[], $3::uuid[]) AS new (key, fingerprint, order_id)
         ORDER BY key
         ON CONFLICT (key) DO NOTHING
         RETURNING key",
    )
    .bind(claims.iter().map(|claim| claim.key).collect::<Vec<_>>())
    .bind(claims.iter().map(|claim| claim.fingerprint).collect::<Vec<_>>())
    .bind(claims.iter().map(|claim| claim.order_id.as_uuid()).collect::<Vec<_>>())
    .bind(micros(now))
    .fetch_all(conn)
    .await
}

/// Gives keys back that this transaction claimed.
pub async fn release(conn: &mut PgConnection, keys: &[&str]) -> Result<(), sqlx::Error> {
    if !keys.is_empty() {
        sqlx::query("DELETE FROM idempotency_keys WHERE key = ANY($1)").bind(keys).execute(conn).await?;
    }
    Ok(())
}

/// What those who hold `keys` were answered.
pub async fn first_answers_by_key(
    conn: &mut PgConnection,
    keys: &[&str],
) -> Result<BTreeMap<String, FirstAnswer>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    sqlx::query(
        "SELECT key, idempotency_keys.fingerprint, order_id, correlation_id
         FROM idempotency_keys JOIN orders USING (order_id) WHERE key = ANY($1)",
    )
    .bind(keys)
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| Ok((row.try_get("key")?, answer_of(row)?)))
    .collect()
}

/// What those who hold `ids` were answered.
pub async fn first_answers_by_id(
    conn: &mut PgConnection,
    ids: &[OrderId],
) -> Result<BTreeMap<OrderId, FirstAnswer>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    sqlx::query("SELECT fingerprint, order_id, correlation_id FROM orders WHERE order_id = ANY($1)")
        .bind(ids.iter().map(OrderId::as_uuid).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?
        .iter()
        .map(|row| answer_of(row).map(|answer| (answer.order_id, answer)))
        .collect()
}

/// Forgets at most `limit` keys that were claimed before `before`; returns how many.
pub async fn forget(conn: &mut PgConnection, before: Timestamp, limit: i64) -> Result<u64, sqlx::Error> {
    let forgotten = sqlx::query(
        "DELETE FROM idempotency_keys WHERE key IN (
             SELECT key FROM idempotency_keys WHERE created_at_us < $1
             ORDER BY created_at_us LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(micros(before))
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(forgotten.rows_affected())
}

fn answer_of(row: &sqlx::postgres::PgRow) -> Result<FirstAnswer, sqlx::Error> {
    let correlation_id = row.try_get::<&str, _>("correlation_id")?;
    Ok(FirstAnswer {
        fingerprint: row.try_get("fingerprint")?,
        order_id: OrderId::new(row.try_get("order_id")?),
        correlation_id: correlation_id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
    })
}
