//! Payments in the database. SQL only; decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Envelope, Money, OrderId, PaymentId, codec};
use domain::payment::PaymentStatus;
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::rows::decode;

/// A payment as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payment {
    /// The order.
    pub order_id: OrderId,
    /// The provider's idempotency key.
    pub payment_id: PaymentId,
    /// How far it is.
    pub status: PaymentStatus,
    /// What is, or would be, captured.
    pub amount: Money,
    /// Why it failed, for people.
    pub detail: Option<String>,
    /// How often the provider was asked for what it is asked for now.
    pub attempts: i32,
    /// When the order was first heard of.
    pub created_at: Timestamp,
    /// When the status last changed.
    pub updated_at: Timestamp,
}

/// A payment that the provider is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// The payment.
    pub payment: Payment,
    /// The event that made it necessary.
    pub cause: Envelope,
}

/// A payment that is new or changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    /// The status that it must have on record; none, if its row is new or locked.
    pub from: Option<PaymentStatus>,
    /// The payment after the change.
    pub payment: &'a Payment,
    /// The event that made it necessary to do something.
    pub cause: Cause<'a>,
    /// When that is to be done, if something is.
    pub due_at: Option<Timestamp>,
}

/// The event that made it necessary to do something about a payment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause<'a> {
    /// Nothing is to be done.
    None,
    /// This one.
    Is(&'a Envelope),
    /// The one on record.
    Stays,
}

impl<'a> Change<'a> {
    /// A payment whose row is new or locked; `due_at` counts where something is to be done because of `cause`.
    pub(super) fn of(payment: &'a Payment, cause: Option<&'a Envelope>, due_at: Timestamp) -> Self {
        let cause = cause.filter(|_| payment.status.is_open());
        let due_at = cause.map(|_| due_at);
        Self { from: None, payment, cause: cause.map_or(Cause::None, Cause::Is), due_at }
    }

    fn encoded_cause(&self) -> Option<Vec<u8>> {
        match self.cause {
            Cause::Is(cause) => Some(codec::encode_json(cause)),
            Cause::None | Cause::Stays => None,
        }
    }
}

/// Inserts those of `drafts` whose order is not on record. Returns their orders.
/// A concurrent transaction with the same order is waited for: only one of the two inserts it.
pub(super) async fn open(
    conn: &mut PgConnection,
    drafts: &[Change<'_>],
) -> Result<BTreeSet<OrderId>, sqlx::Error> {
    let payments = || drafts.iter().map(|draft| draft.payment);
    sqlx::query_scalar(
        // In one order everywhere, so that two transactions with the same orders wait instead of deadlocking.
        "INSERT INTO payments (order_id, payment_id, status, amount_minor, currency, due_at_us, cause,
             created_at_us, updated_at_us)
         SELECT order_id, payment_id, status, amount_minor, currency, due_at_us, cause, at_us, at_us
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bytea[],
             $8::bigint[])
             AS new (order_id, payment_id, status, amount_minor, currency, due_at_us, cause, at_us)
         ORDER BY order_id
         ON CONFLICT (order_id) DO NOTHING
         RETURNING order_id",
    )
    .bind(payments().map(|payment| payment.order_id.as_uuid()).collect::<Vec<_>>())
    .bind(payments().map(|payment| payment.payment_id.as_uuid()).collect::<Vec<_>>())
    .bind(payments().map(|payment| payment.status.to_string()).collect::<Vec<_>>())
    .bind(payments().map(|payment| payment.amount.amount_minor).collect::<Vec<_>>())
    .bind(payments().map(|payment| payment.amount.currency.to_string()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.due_at.map(Timestamp::as_microsecond)).collect::<Vec<_>>())
    .bind(drafts.iter().map(Change::encoded_cause).collect::<Vec<_>>())
    .bind(payments().map(|payment| payment.created_at.as_microsecond()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map(|orders| orders.into_iter().map(OrderId::new).collect())
}

/// Loads and locks the payments of `orders`.
pub(super) async fn lock(
    conn: &mut PgConnection,
    orders: &BTreeSet<OrderId>,
) -> Result<BTreeMap<OrderId, Payment>, sqlx::Error> {
    sqlx::query(
        "SELECT order_id, payment_id, status, amount_minor, currency, detail, attempts, created_at_us,
             updated_at_us
         FROM payments WHERE order_id = ANY($1) ORDER BY order_id FOR NO KEY UPDATE",
    )
    .bind(orders.iter().map(OrderId::as_uuid).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| payment_of(row).map(|payment| (payment.order_id, payment)))
    .collect()
}

/// Saves the `changes` of payments that still have the status from which they change. Returns the orders of those.
pub(super) async fn save(
    conn: &mut PgConnection,
    changes: &[Change<'_>],
) -> Result<BTreeSet<OrderId>, sqlx::Error> {
    if changes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let payments = || changes.iter().map(|change| change.payment);
    sqlx::query_scalar(
        "UPDATE payments SET
             status = new.status, detail = new.detail, attempts = new.attempts, due_at_us = new.due_at_us,
             cause = CASE WHEN new.keeps_cause THEN payments.cause ELSE new.cause END, updated_at_us = new.updated_at_us
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::bigint[],
             $7::boolean[], $8::bytea[], $9::bigint[])
             AS new (order_id, was, status, detail, attempts, due_at_us, keeps_cause, cause, updated_at_us)
         WHERE payments.order_id = new.order_id AND (new.was IS NULL OR payments.status = new.was)
         RETURNING payments.order_id",
    )
    .bind(payments().map(|payment| payment.order_id.as_uuid()).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.from.map(|status| status.to_string())).collect::<Vec<_>>())
    .bind(payments().map(|payment| payment.status.to_string()).collect::<Vec<_>>())
    .bind(payments().map(|payment| payment.detail.as_deref()).collect::<Vec<_>>())
    .bind(payments().map(|payment| payment.attempts).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.due_at.map(Timestamp::as_microsecond)).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| matches!(change.cause, Cause::Stays)).collect::<Vec<_>>())
    .bind(changes.iter().map(Change::encoded_cause).collect::<Vec<_>>())
    .bind(payments().map(|payment| payment.updated_at.as_microsecond()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map(|orders| orders.into_iter().map(OrderId::new).collect())
}

/// Takes at most `limit` payments that are due, for this worker alone until `until`.
pub(super) async fn take(
    conn: &mut PgConnection,
    now: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Task>, sqlx::Error> {
    sqlx::query(
        "UPDATE payments SET due_at_us = $2
         FROM (SELECT order_id FROM payments WHERE due_at_us <= $1 ORDER BY due_at_us LIMIT $3
             FOR NO KEY UPDATE SKIP LOCKED) AS due
         WHERE payments.order_id = due.order_id
         RETURNING payments.order_id, payment_id, status, amount_minor, currency, detail, attempts, cause,
             created_at_us, updated_at_us",
    )
    .bind(now.as_microsecond())
    .bind(until.as_microsecond())
    .bind(limit)
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| {
        let cause = codec::decode_json(row.try_get("cause")?).map_err(decode)?;
        Ok(Task { payment: payment_of(row)?, cause })
    })
    .collect()
}

/// Reads the payment of an order, without a lock.
pub(super) async fn read(conn: &mut PgConnection, order: OrderId) -> Result<Option<Payment>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT order_id, payment_id, status, amount_minor, currency, detail, attempts, created_at_us,
             updated_at_us
         FROM payments WHERE order_id = $1",
    )
    .bind(order.as_uuid())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(payment_of).transpose()
}

fn payment_of(row: &PgRow) -> Result<Payment, sqlx::Error> {
    let currency = row.try_get::<&str, _>("currency")?.parse().map_err(decode)?;
    Ok(Payment {
        order_id: OrderId::new(row.try_get("order_id")?),
        payment_id: PaymentId::new(row.try_get("payment_id")?),
        status: row.try_get::<&str, _>("status")?.parse().map_err(decode)?,
        amount: Money::new(row.try_get("amount_minor")?, currency),
        detail: row.try_get("detail")?,
        attempts: row.try_get("attempts")?,
        created_at: Timestamp::from_microsecond(row.try_get("created_at_us")?).map_err(decode)?,
        updated_at: Timestamp::from_microsecond(row.try_get("updated_at_us")?).map_err(decode)?,
    })
}
