//! Payments in the database. SQL only; decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Money, OrderDetails, OrderId, PaymentId};
use domain::payment::{PaymentInput, PaymentNews, PaymentStatus, react};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use crate::provider::record::{Change, Progress, Record, Task};
use crate::rows::{Sorted, decode};

/// A payment as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payment {
    /// How far it is.
    pub progress: Progress<PaymentStatus>,
    /// The provider's idempotency key.
    pub payment_id: PaymentId,
    /// What is, or would be, captured.
    pub amount: Money,
}

impl Record for Payment {
    type Status = PaymentStatus;
    type Input = PaymentInput;
    type News = PaymentNews;

    const GIVEN_UP: PaymentInput = PaymentInput::GivenUp;

    fn react(
        status: Option<PaymentStatus>,
        input: PaymentInput,
    ) -> Option<(PaymentStatus, Option<PaymentNews>)> {
        react(status, input)
    }

    fn is_open(status: PaymentStatus) -> bool {
        status.is_open()
    }

    fn opening(progress: Progress<PaymentStatus>, details: &OrderDetails) -> Self {
        Self { progress, payment_id: PaymentId::new(Uuid::now_v7()), amount: details.total }
    }

    fn progress(&self) -> &Progress<PaymentStatus> {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress<PaymentStatus> {
        &mut self.progress
    }

    async fn insert(
        conn: &mut PgConnection,
        drafts: &[Change<'_, Self>],
    ) -> Result<BTreeSet<OrderId>, sqlx::Error> {
        let payments = || drafts.iter().map(|draft| draft.record);
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
        .bind(payments().map(|payment| payment.progress.order_id.as_uuid()).collect::<Vec<_>>())
        .bind(payments().map(|payment| payment.payment_id.as_uuid()).collect::<Vec<_>>())
        .bind(payments().map(|payment| payment.progress.status.to_string()).collect::<Vec<_>>())
        .bind(payments().map(|payment| payment.amount.amount_minor).collect::<Vec<_>>())
        .bind(payments().map(|payment| payment.amount.currency.to_string()).collect::<Vec<_>>())
        .bind(drafts.iter().map(Change::due_at_us).collect::<Vec<_>>())
        .bind(drafts.iter().map(Change::encoded_cause).collect::<Vec<_>>())
        .bind(payments().map(|payment| payment.progress.created_at.as_microsecond()).collect::<Vec<_>>())
        .fetch_all(conn)
        .await
        .map(|orders| orders.into_iter().map(OrderId::new).collect())
    }

    async fn lock(
        conn: &mut PgConnection,
        orders: &BTreeSet<OrderId>,
    ) -> Result<BTreeMap<OrderId, Self>, sqlx::Error> {
        sqlx::query(
            "SELECT order_id, payment_id, status, amount_minor, currency, detail, attempts, created_at_us,
             updated_at_us
         FROM payments WHERE order_id = ANY($1) ORDER BY order_id FOR NO KEY UPDATE",
        )
        .bind(orders.iter().map(OrderId::as_uuid).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?
        .iter()
        .map(|row| payment_of(row).map(|payment| (payment.progress.order_id, payment)))
        .collect()
    }

    async fn save(
        conn: &mut PgConnection,
        changes: &[Change<'_, Self>],
    ) -> Result<BTreeSet<OrderId>, sqlx::Error> {
        if changes.is_empty() {
            return Ok(BTreeSet::new());
        }
        let payments = || changes.iter().map(|change| change.record);
        sqlx::query_scalar(
            "UPDATE payments SET
             status = new.status, detail = new.detail, attempts = new.attempts, due_at_us = new.due_at_us,
             cause = CASE WHEN new.keeps_cause THEN payments.cause ELSE new.cause END,
             updated_at_us = new.updated_at_us
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::bigint[],
             $7::boolean[], $8::bytea[], $9::bigint[])
             AS new (order_id, was, status, detail, attempts, due_at_us, keeps_cause, cause, updated_at_us)
         WHERE payments.order_id = new.order_id AND (new.was IS NULL OR payments.status = new.was)
         RETURNING payments.order_id",
        )
        .bind(payments().map(|payment| payment.progress.order_id.as_uuid()).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.from.map(|status| status.to_string())).collect::<Vec<_>>())
        .bind(payments().map(|payment| payment.progress.status.to_string()).collect::<Vec<_>>())
        .bind(payments().map(|payment| payment.progress.detail.as_deref()).collect::<Vec<_>>())
        .bind(payments().map(|payment| payment.progress.attempts).collect::<Vec<_>>())
        .bind(changes.iter().map(Change::due_at_us).collect::<Vec<_>>())
        .bind(changes.iter().map(Change::keeps_cause).collect::<Vec<_>>())
        .bind(changes.iter().map(Change::encoded_cause).collect::<Vec<_>>())
        .bind(payments().map(|payment| payment.progress.updated_at.as_microsecond()).collect::<Vec<_>>())
        .fetch_all(conn)
        .await
        .map(|orders| orders.into_iter().map(OrderId::new).collect())
    }

    async fn take(
        conn: &mut PgConnection,
        now: Timestamp,
        until: Timestamp,
        limit: i64,
    ) -> Result<Vec<Task<Self>>, sqlx::Error> {
        let rows = sqlx::query(
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
        .fetch_all(&mut *conn)
        .await?;
        let tasks = Sorted::of(&rows, |row| Task::of_row(payment_of(row)?, row))?;
        tasks.setting_aside(conn, "UPDATE payments SET due_at_us = $2 WHERE order_id = ANY($1)", now).await
    }

    async fn count_open(conn: &mut PgConnection) -> Result<BTreeMap<String, i64>, sqlx::Error> {
        let counts: Vec<(String, i64)> = sqlx::query_as(
            "SELECT status, count(*) FROM payments WHERE due_at_us IS NOT NULL GROUP BY status",
        )
        .fetch_all(conn)
        .await?;
        Ok(counts.into_iter().collect())
    }
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
        progress: Progress::of_row(row)?,
        payment_id: PaymentId::new(row.try_get("payment_id")?),
        amount: Money::new(row.try_get("amount_minor")?, currency),
    })
}
