//! The orders in the database, and their sagas. SQL only; decides nothing.

use std::time::Duration;

use contract::{CorrelationId, OrderDetails, OrderId};
use domain::saga::{OrderSaga, OrderStatus, StepState};
use jiff::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder, Row};

use super::request::NewOrder;

/// An order as it is stored.
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

/// An order to be stored for the first time.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The id it will have.
    pub id: OrderId,
    /// Joins what this order will cause.
    pub correlation_id: CorrelationId,
    /// What was asked for.
    pub request: NewOrder,
    /// What tells it from other requests.
    pub fingerprint: Vec<u8>,
    /// Its saga at the beginning.
    pub saga: OrderSaga,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// The columns of [`Order`], in the order in which [`order_of`] names them.
const COLUMNS: &str =
    "order_id, correlation_id, details::text AS details, status, cancel_reason, cancel_detail, steps::text AS steps, step_timeout_ms,
    closing_timeout_ms, deadline_us, version, created_at_us, updated_at_us";

/// Inserts `drafts` in one statement and returns the ids that are new; the others exist already. Two
/// transactions that insert the same ids wait for each other in the order of the ids, so never in a circle.
pub async fn insert(conn: &mut PgConnection, drafts: &[&Draft]) -> Result<Vec<OrderId>, sqlx::Error> {
    let text = |value: Result<String, serde_json::Error>| value.map_err(encode);
    let column = |of: &dyn Fn(&Draft) -> Result<String, serde_json::Error>| {
        drafts.iter().map(|draft| text(of(draft))).collect::<Result<Vec<_>, _>>()
    };
    let details = column(&|draft| serde_json::to_string(&draft.request.details))?;
    let steps = column(&|draft| serde_json::to_string(&draft.saga.steps))?;
    let rows = sqlx::query(
        "INSERT INTO orders (order_id, customer_id, correlation_id, fingerprint, details, status, steps,
             step_timeout_ms, closing_timeout_ms, deadline_us, version, created_at_us, updated_at_us)
         SELECT order_id, customer_id, correlation_id, fingerprint, details::json, status, steps::jsonb,
             step_timeout_ms, closing_timeout_ms, deadline_us, version, created_at_us, created_at_us
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[],
             $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
             AS new (order_id, customer_id, correlation_id, fingerprint, details, status, steps,
                 step_timeout_ms, closing_timeout_ms, deadline_us, version, created_at_us)
         ORDER BY order_id
         ON CONFLICT (order_id) DO NOTHING
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
    .bind(drafts.iter().map(|draft| micros(draft.created_at)).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| row.try_get("order_id").map(OrderId::new)).collect()
}

/// Loads and locks those of `ids` that exist. Locks are taken in the order of the ids, so that two batches
/// never wait for each other in a circle.
pub async fn lock(conn: &mut PgConnection, ids: &[OrderId]) -> Result<Vec<Order>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM orders WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE");
    // Safe: the text is made of constants only.
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(uuids(ids)).fetch_all(conn).await?;
    rows.iter().map(order_of).collect()
}

/// Loads and locks at most `limit` orders whose deadline is over. Those that someone else has locked are
/// left out: another replica sweeps them, or an event is moving them right now.
pub async fn lock_overdue(
    conn: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Order>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM orders WHERE deadline_us <= $1
         ORDER BY deadline_us LIMIT $2 FOR UPDATE SKIP LOCKED"
    );
    // Safe: the text is made of constants only.
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(micros(now)).bind(limit).fetch_all(conn).await?;
    rows.iter().map(order_of).collect()
}

/// Saves the sagas of `orders`, whose rows are locked and had the version before the saga's; returns how many
/// still had it.
pub async fn save(
    conn: &mut PgConnection,
    orders: &[&Order],
    expected_versions: &[i64],
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let reason_of = |order: &Order| match &order.saga.status {
        OrderStatus::Cancelled { reason, detail } => (Some(reason.to_string()), Some(detail.clone())),
        OrderStatus::Pending | OrderStatus::Confirmed | OrderStatus::Completed => (None, None),
    };
    let (reasons, details): (Vec<_>, Vec<_>) = orders.iter().map(|order| reason_of(order)).unzip();
    let steps = orders
        .iter()
        .map(|order| serde_json::to_string(&order.saga.steps).map_err(encode))
        .collect::<Result<Vec<_>, _>>()?;
    let saved = sqlx::query(
        "UPDATE orders SET status = new.status, cancel_reason = new.reason, cancel_detail = new.detail,
             steps = new.steps::jsonb, deadline_us = new.deadline_us, version = new.version,
             updated_at_us = $9
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
             $8::bigint[])
             AS new (order_id, expected, status, reason, detail, steps, deadline_us, version)
         WHERE orders.order_id = new.order_id AND orders.version = new.expected",
    )
    .bind(orders.iter().map(|order| order.id.as_uuid()).collect::<Vec<_>>())
    .bind(expected_versions)
    .bind(orders.iter().map(|order| order.saga.status.name()).collect::<Vec<_>>())
    .bind(reasons)
    .bind(details)
    .bind(steps)
    .bind(orders.iter().map(|order| order.saga.deadline.map(micros)).collect::<Vec<_>>())
    .bind(orders.iter().map(|order| order.saga.version).collect::<Vec<_>>())
    .bind(micros(now))
    .execute(conn)
    .await?;
    Ok(saved.rows_affected())
}

/// Reads one order, without a lock.
pub async fn read(conn: &mut PgConnection, id: OrderId) -> Result<Option<Order>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM orders WHERE order_id = $1");
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
    // Absent filters are left out of the text instead of being `$1 IS NULL OR …`: with that the planner
    // could not use the index that fits.
    let mut query = QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} FROM orders WHERE true"));
    if let Some(customer_id) = &filter.customer_id {
        query.push(" AND customer_id = ").push_bind(customer_id.as_str());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status);
    }
    if let Some((created_at_us, id)) = filter.after {
        query.push(" AND (created_at_us, order_id) < (").push_bind(created_at_us);
        query.push(", ").push_bind(id.as_uuid()).push(")");
    }
    query.push(" ORDER BY created_at_us DESC, order_id DESC LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(conn).await?;
    rows.iter().map(order_of).collect()
}

/// Those of `ids` that have ended.
pub async fn ended_among(conn: &mut PgConnection, ids: &[OrderId]) -> Result<Vec<OrderId>, sqlx::Error> {
    sqlx::query("SELECT order_id FROM orders WHERE order_id = ANY($1) AND deadline_us IS NULL")
        .bind(uuids(ids))
        .fetch_all(conn)
        .await?
        .iter()
        .map(|row| row.try_get("order_id").map(OrderId::new))
        .collect()
}

/// How many orders have not ended, by status.
pub async fn in_flight(conn: &mut PgConnection) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT status, count(*) FROM orders WHERE deadline_us IS NOT NULL GROUP BY status")
        .fetch_all(conn)
        .await
}

fn order_of(row: &PgRow) -> Result<Order, sqlx::Error> {
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
    Ok(Order {
        id: OrderId::new(row.try_get("order_id")?),
        correlation_id: row.try_get::<&str, _>("correlation_id")?.parse().map_err(decode)?,
        details: json(row, "details")?,
        saga: OrderSaga {
            status,
            steps,
            deadline: row.try_get::<Option<i64>, _>("deadline_us")?.map(timestamp).transpose()?,
            step_timeout: duration(row.try_get("step_timeout_ms")?),
            closing_timeout: duration(row.try_get("closing_timeout_ms")?),
            version: row.try_get("version")?,
        },
        created_at: timestamp(row.try_get("created_at_us")?)?,
        updated_at: timestamp(row.try_get("updated_at_us")?)?,
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

fn decode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

fn encode(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Encode(error.into())
}
