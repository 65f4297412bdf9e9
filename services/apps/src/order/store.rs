//! The orders in the database, and their sagas. SQL only; decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{CorrelationId, Money, OrderDetails, OrderId};
use domain::saga::{OrderSaga, OrderStatus, StepState};
use jiff::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder, Row};

use super::request::NewOrder;
use crate::rows::{self, Sorted, decode};

/// An order with all that is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The order.
    pub id: OrderId,
    /// Joins what this order caused.
    pub correlation_id: CorrelationId,
    /// What was ordered, by whom, and where it goes.
    pub details: OrderDetails,
    /// How far it is.
    pub saga: OrderSaga,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its saga last changed.
    pub updated_at: Timestamp,
}

/// What a step needs to know of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSaga {
    /// The order.
    pub order_id: OrderId,
    /// For how much it is.
    pub total: Money,
    /// How far it is.
    pub saga: OrderSaga,
}

/// What never changes about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Joins what this order caused.
    pub correlation_id: CorrelationId,
    /// What was ordered, by whom, and where it goes.
    pub details: OrderDetails,
}

/// An order to be stored for the first time.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The id it will have.
    pub id: OrderId,
    /// Joins what this order will cause.
    pub correlation_id: CorrelationId,
    /// The trace of the request, if it has one.
    pub traceparent: Option<String>,
    /// What was asked for.
    pub request: NewOrder,
    /// What tells it from other requests.
    pub fingerprint: Vec<u8>,
    /// Its saga at the beginning.
    pub saga: OrderSaga,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// The columns of [`Order`].
const ORDER: &str = "order_id, correlation_id, details::text AS details, sagas.created_at_us, updated_at_us";

/// The columns of [`StoredSaga`].
const SAGA: &str = "order_id, status, cancel_reason, cancel_detail, steps::text AS steps, step_timeout_ms,
    closing_timeout_ms, deadline_us, version, total_minor, currency";

/// Inserts `drafts` in one statement and returns the ids that are new; the others exist already. Two
/// transactions that insert the same ids wait for each other in the order of the ids, so never in a circle.
pub async fn insert(conn: &mut PgConnection, drafts: &[&Draft]) -> Result<Vec<OrderId>, sqlx::Error> {
    let text = |value: Result<String, serde_json::Error>| value.map_err(encode);
    let column = |of: &dyn Fn(&Draft) -> Result<String, serde_json::Error>| {
        drafts.iter().map(|draft| text(of(draft))).collect::<Result<Vec<_>, _>>()
    };
    let details = column(&|draft| serde_json::to_string(&draft.request.details))?;
    let steps = column(&|draft| serde_json::to_string(&draft.saga.steps))?;
    let total = |draft: &&Draft| draft.request.details.total;
    let rows = sqlx::query(
        "WITH given AS (
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[],
                 $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[],
                 $14::bigint[])
             AS new (order_id, customer_id, correlation_id, fingerprint, details, status, steps, step_timeout_ms,
                 closing_timeout_ms, deadline_us, version, total_minor, currency, created_at_us)
         ), added AS (
             INSERT INTO orders (order_id, customer_id, correlation_id, fingerprint, details, created_at_us)
             SELECT order_id, customer_id, correlation_id, fingerprint, details::json, created_at_us
             FROM given ORDER BY order_id
             ON CONFLICT (order_id) DO NOTHING
             RETURNING order_id
         )
         INSERT INTO sagas (order_id, status, steps, step_timeout_ms, closing_timeout_ms, deadline_us,
             sweep_at_us, version, total_minor, currency, created_at_us, updated_at_us)
         SELECT order_id, status, steps::json, step_timeout_ms, closing_timeout_ms, deadline_us,
             deadline_us, version, total_minor, currency, created_at_us, created_at_us
         FROM given JOIN added USING (order_id)
         RETURNING order_id",
    )
    .bind(drafts.iter().map(|draft| draft.id.as_uuid()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.request.details.customer.customer_id.as_str()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.correlation_id.as_str()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.fingerprint.as_slice()).collect::<Vec<_>>())
    .bind(details)
    .bind(drafts.iter().map(|draft| draft.saga.status.name()).collect::<Vec<_>>())
    .bind(steps)
    .bind(drafts.iter().map(|draft| millis(draft.saga.step_timeout)).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| millis(draft.saga.closing_timeout)).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.saga.deadline.map(micros)).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.saga.version).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| total(draft).amount_minor).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| total(draft).currency.to_string()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| micros(draft.created_at)).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| row.try_get("order_id").map(OrderId::new)).collect()
}

/// Loads and locks the sagas of those of `ids` that exist. Locks are taken in the order of the ids, so that two
/// batches never wait for each other in a circle.
pub async fn lock(conn: &mut PgConnection, ids: &[OrderId]) -> Result<Vec<StoredSaga>, sqlx::Error> {
    // `NO KEY`: no other table refers to these rows.
    let sql =
        format!("SELECT {SAGA} FROM sagas WHERE order_id = ANY($1) ORDER BY order_id FOR NO KEY UPDATE");
    // Safe: the text is made of constants only.
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(uuids(ids)).fetch_all(conn).await?;
    rows.iter().map(stored_saga_of).collect()
}

/// Which orders their deadlines may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Those that end well by it: nothing is lost by an answer that went unheard.
    Confirmed,
    /// Those that are cancelled by it as well.
    All,
}

/// Loads and locks at most `limit` sagas that are to be looked at: those whose deadline is over, and some whose
/// deadline has moved on. Those that someone else has locked are left out: another replica sweeps them, or an
/// event is moving them right now. Those that cannot be read are set aside.
pub async fn lock_due(
    conn: &mut PgConnection,
    now: Timestamp,
    ending: Ending,
    limit: i64,
) -> Result<Vec<StoredSaga>, sqlx::Error> {
    let which = match ending {
        Ending::Confirmed => "AND status = 'CONFIRMED'",
        Ending::All => "",
    };
    let sql = format!(
        "SELECT {SAGA} FROM sagas WHERE sweep_at_us <= $1 {which}
         ORDER BY sweep_at_us LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"
    );
    // Safe: the text is made of constants only.
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(micros(now)).bind(limit).fetch_all(&mut *conn).await?;
    Sorted::of(&rows, stored_saga_of)?.setting_aside(conn, SET_ASIDE, now).await
}

/// Looks at an order later. Its deadline moves too: the sweep never comes after it.
const SET_ASIDE: &str = "UPDATE sagas SET deadline_us = $2, sweep_at_us = $2 WHERE order_id = ANY($1)";

/// Has the sweep leave `ids`, whose rows are locked, alone for a while.
pub async fn set_aside(conn: &mut PgConnection, ids: &[OrderId], now: Timestamp) -> Result<(), sqlx::Error> {
    rows::set_aside(conn, SET_ASIDE, ids, now).await
}

/// Has the sweep look at `ids`, whose rows are locked, when their deadlines are over, and not before.
pub async fn sweep_at_deadline(conn: &mut PgConnection, ids: &[OrderId]) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE sagas SET sweep_at_us = deadline_us WHERE order_id = ANY($1)")
        .bind(uuids(ids))
        .execute(conn)
        .await?;
    Ok(())
}

/// What never changes about those of `ids` that exist and can be read.
pub async fn origins(
    conn: &mut PgConnection,
    ids: &[OrderId],
) -> Result<BTreeMap<OrderId, Origin>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT order_id, correlation_id, details::text AS details FROM orders WHERE order_id = ANY($1)",
    )
    .bind(uuids(ids))
    .fetch_all(conn)
    .await?;
    let origins = Sorted::of(&rows, |row| {
        let correlation_id = row.try_get::<&str, _>("correlation_id")?.parse().map_err(decode)?;
        let origin = Origin { correlation_id, details: json(row, "details")? };
        Ok((OrderId::new(row.try_get("order_id")?), origin))
    })?;
    for (order, error) in &origins.unreadable {
        tracing::error!(order.id = %order, error = error as &dyn std::error::Error, "an order cannot be read");
    }
    Ok(origins.readable.into_iter().collect())
}

/// Saves `sagas`, whose rows are locked and had the versions `expected`; returns how many still had them.
pub async fn save(
    conn: &mut PgConnection,
    sagas: &[&StoredSaga],
    expected: &[i64],
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let reason_of = |stored: &StoredSaga| match &stored.saga.status {
        OrderStatus::Cancelled { reason, detail } => (Some(reason.to_string()), Some(detail.clone())),
        OrderStatus::Pending | OrderStatus::Confirmed | OrderStatus::Completed => (None, None),
    };
    let (reasons, details): (Vec<_>, Vec<_>) = sagas.iter().map(|stored| reason_of(stored)).unzip();
    let steps = sagas
        .iter()
        .map(|stored| serde_json::to_string(&stored.saga.steps).map_err(encode))
        .collect::<Result<Vec<_>, _>>()?;
    let saved = sqlx::query(
        "UPDATE sagas SET status = new.status, cancel_reason = new.reason, cancel_detail = new.detail,
             steps = new.steps::json, deadline_us = new.deadline_us, version = new.version,
             sweep_at_us = CASE WHEN new.deadline_us IS NOT NULL THEN LEAST(sweep_at_us, new.deadline_us) END,
             updated_at_us = $9
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
             $8::bigint[])
             AS new (order_id, expected, status, reason, detail, steps, deadline_us, version)
         WHERE sagas.order_id = new.order_id AND sagas.version = new.expected",
    )
    .bind(sagas.iter().map(|stored| stored.order_id.as_uuid()).collect::<Vec<_>>())
    .bind(expected)
    .bind(sagas.iter().map(|stored| stored.saga.status.name()).collect::<Vec<_>>())
    .bind(reasons)
    .bind(details)
    .bind(steps)
    .bind(sagas.iter().map(|stored| stored.saga.deadline.map(micros)).collect::<Vec<_>>())
    .bind(sagas.iter().map(|stored| stored.saga.version).collect::<Vec<_>>())
    .bind(micros(now))
    .execute(conn)
    .await?;
    Ok(saved.rows_affected())
}

/// Reads one order, without a lock.
pub async fn read(conn: &mut PgConnection, id: OrderId) -> Result<Option<Order>, sqlx::Error> {
    let sql = format!("SELECT {ORDER}, {SAGA} FROM orders JOIN sagas USING (order_id) WHERE order_id = $1");
    // Safe: the text is made of constants only.
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.as_uuid()).fetch_optional(conn).await?;
    row.as_ref().map(order_of).transpose()
}

/// Which orders a page of the list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this customer's.
    pub customer_id: Option<String>,
    /// Only those with this status.
    pub status: Option<&'static str>,
    /// Only those after this place: creation time in microseconds, and id.
    pub after: Option<(i64, OrderId)>,
}

/// A page of at most `limit` orders, newest first.
pub async fn list(conn: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Vec<Order>, sqlx::Error> {
    // Absent filters are left out of the text instead of being `$1 IS NULL OR …`, and the order is that of the
    // table whose index fits: otherwise the planner could not use it.
    let by = if filter.customer_id.is_none() && filter.status.is_some() { "sagas" } else { "orders" };
    let text = format!("SELECT {ORDER}, {SAGA} FROM orders JOIN sagas USING (order_id) WHERE true");
    let mut query = QueryBuilder::<Postgres>::new(text);
    if let Some(customer_id) = &filter.customer_id {
        query.push(" AND customer_id = ").push_bind(customer_id.as_str());
    }
    if let Some(status) = filter.status {
        // A value in the text, because a partial index is not considered for one that is not. It is a constant.
        query.push(format!(" AND status = '{status}'"));
    }
    if let Some((created_at_us, id)) = filter.after {
        query.push(format!(" AND ({by}.created_at_us, {by}.order_id) < (")).push_bind(created_at_us);
        query.push(", ").push_bind(id.as_uuid()).push(")");
    }
    query.push(format!(" ORDER BY {by}.created_at_us DESC, {by}.order_id DESC LIMIT ")).push_bind(limit);
    let rows = query.build().fetch_all(conn).await?;
    rows.iter().map(order_of).collect()
}

/// Those of `ids` that have ended.
pub async fn ended_among(conn: &mut PgConnection, ids: &[OrderId]) -> Result<Vec<OrderId>, sqlx::Error> {
    sqlx::query("SELECT order_id FROM sagas WHERE order_id = ANY($1) AND deadline_us IS NULL")
        .bind(uuids(ids))
        .fetch_all(conn)
        .await?
        .iter()
        .map(|row| row.try_get("order_id").map(OrderId::new))
        .collect()
}

/// How many orders have not ended, by status.
pub async fn in_flight(conn: &mut PgConnection) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT status, count(*) FROM sagas WHERE sweep_at_us IS NOT NULL GROUP BY status")
        .fetch_all(conn)
        .await
}

fn order_of(row: &PgRow) -> Result<Order, sqlx::Error> {
    let StoredSaga { order_id: id, saga, .. } = stored_saga_of(row)?;
    Ok(Order {
        id,
        correlation_id: row.try_get::<&str, _>("correlation_id")?.parse().map_err(decode)?,
        details: json(row, "details")?,
        saga,
        created_at: timestamp(row.try_get("created_at_us")?)?,
        updated_at: timestamp(row.try_get("updated_at_us")?)?,
    })
}

fn stored_saga_of(row: &PgRow) -> Result<StoredSaga, sqlx::Error> {
    let status = match row.try_get::<&str, _>("status")? {
        "PENDING" => OrderStatus::Pending,
        "CONFIRMED" => OrderStatus::Confirmed,
        "COMPLETED" => OrderStatus::Completed,
        "CANCELLED" => OrderStatus::Cancelled {
            reason: row.try_get::<&str, _>("cancel_reason")?.parse().map_err(decode)?,
            detail: row.try_get::<Option<String>, _>("cancel_detail")?.unwrap_or_default(),
        },
        unknown => return Err(decode(format!("unknown order status {unknown}"))),
    };
    let steps: Vec<StepState> = json(row, "steps")?;
    let currency = row.try_get::<&str, _>("currency")?.parse().map_err(decode)?;
    Ok(StoredSaga {
        order_id: OrderId::new(row.try_get("order_id")?),
        total: Money::new(row.try_get("total_minor")?, currency),
        saga: OrderSaga {
            status,
            steps,
            deadline: row.try_get::<Option<i64>, _>("deadline_us")?.map(timestamp).transpose()?,
            step_timeout: duration(row.try_get("step_timeout_ms")?),
            closing_timeout: duration(row.try_get("closing_timeout_ms")?),
            version: row.try_get("version")?,
        },
    })
}

fn json<T: serde::de::DeserializeOwned>(row: &PgRow, column: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(row.try_get(column)?).map_err(decode)
}

/// Microseconds since 1970: what a timestamp is stored as, and the finest that PostgreSQL's own types have.
pub fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

fn timestamp(micros: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_microsecond(micros).map_err(decode)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

fn uuids(ids: &[OrderId]) -> Vec<uuid::Uuid> {
    ids.iter().map(OrderId::as_uuid).collect()
}

fn encode(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Encode(error.into())
}
