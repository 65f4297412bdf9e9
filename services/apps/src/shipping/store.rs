//! Shipments in the database. SQL only; decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use contract::{OrderDetails, OrderId, ShipmentId};
use domain::shipment::{ShipmentInput, ShipmentNews, ShipmentStatus, react};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use crate::provider::record::{Change, Progress, Record, Task};
use crate::rows::Sorted;

/// A shipment as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shipment {
    /// How far it is.
    pub progress: Progress<ShipmentStatus>,
    /// The carrier's idempotency key.
    pub shipment_id: ShipmentId,
    /// Who carries it and by which the customer follows it, once that is agreed.
    pub booking: Option<Booking>,
}

/// What was agreed with a carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Booking {
    /// Who carries it.
    pub carrier: String,
    /// By which the customer follows it.
    pub tracking_number: String,
}

impl Record for Shipment {
    type Status = ShipmentStatus;
    type Input = ShipmentInput;
    type News = ShipmentNews;

    const GIVEN_UP: ShipmentInput = ShipmentInput::GivenUp;

    fn react(
        status: Option<ShipmentStatus>,
        input: ShipmentInput,
    ) -> Option<(ShipmentStatus, Option<ShipmentNews>)> {
        react(status, input)
    }

    fn is_open(status: ShipmentStatus) -> bool {
        status.is_open()
    }

    fn opening(progress: Progress<ShipmentStatus>, _details: &OrderDetails) -> Self {
        Self { progress, shipment_id: ShipmentId::new(Uuid::now_v7()), booking: None }
    }

    fn progress(&self) -> &Progress<ShipmentStatus> {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress<ShipmentStatus> {
        &mut self.progress
    }

    async fn insert(
        conn: &mut PgConnection,
        drafts: &[Change<'_, Self>],
    ) -> Result<BTreeSet<OrderId>, sqlx::Error> {
        let shipments = || drafts.iter().map(|draft| draft.record);
        sqlx::query_scalar(
            // In one order everywhere, so that two transactions with the same orders wait instead of deadlocking.
            "INSERT INTO shipments (order_id, shipment_id, status, due_at_us, cause, created_at_us,
             updated_at_us)
         SELECT order_id, shipment_id, status, due_at_us, cause, at_us, at_us
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[])
             AS new (order_id, shipment_id, status, due_at_us, cause, at_us)
         ORDER BY order_id
         ON CONFLICT (order_id) DO NOTHING
         RETURNING order_id",
        )
        .bind(shipments().map(|shipment| shipment.progress.order_id.as_uuid()).collect::<Vec<_>>())
        .bind(shipments().map(|shipment| shipment.shipment_id.as_uuid()).collect::<Vec<_>>())
        .bind(shipments().map(|shipment| shipment.progress.status.to_string()).collect::<Vec<_>>())
        .bind(drafts.iter().map(Change::due_at_us).collect::<Vec<_>>())
        .bind(drafts.iter().map(Change::encoded_cause).collect::<Vec<_>>())
        .bind(shipments().map(|shipment| shipment.progress.created_at.as_microsecond()).collect::<Vec<_>>())
        .fetch_all(conn)
        .await
        .map(|orders| orders.into_iter().map(OrderId::new).collect())
    }

    async fn lock(
        conn: &mut PgConnection,
        orders: &BTreeSet<OrderId>,
    ) -> Result<BTreeMap<OrderId, Self>, sqlx::Error> {
        sqlx::query(
            "SELECT order_id, shipment_id, status, carrier, tracking_number, detail, attempts, created_at_us,
             updated_at_us
         FROM shipments WHERE order_id = ANY($1) ORDER BY order_id FOR NO KEY UPDATE",
        )
        .bind(orders.iter().map(OrderId::as_uuid).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?
        .iter()
        .map(|row| shipment_of(row).map(|shipment| (shipment.progress.order_id, shipment)))
        .collect()
    }

    async fn save(
        conn: &mut PgConnection,
        changes: &[Change<'_, Self>],
    ) -> Result<BTreeSet<OrderId>, sqlx::Error> {
        if changes.is_empty() {
            return Ok(BTreeSet::new());
        }
        let shipments = || changes.iter().map(|change| change.record);
        let bookings = || shipments().map(|shipment| shipment.booking.as_ref());
        sqlx::query_scalar(
            "UPDATE shipments SET
             status = new.status, carrier = new.carrier, tracking_number = new.tracking_number,
             detail = new.detail, attempts = new.attempts, due_at_us = new.due_at_us,
             cause = CASE WHEN new.keeps_cause THEN shipments.cause ELSE new.cause END,
             updated_at_us = new.updated_at_us
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::bigint[],
             $7::boolean[], $8::bytea[], $9::bigint[], $10::text[], $11::text[])
             AS new (order_id, was, status, detail, attempts, due_at_us, keeps_cause, cause, updated_at_us,
                 carrier, tracking_number)
         WHERE shipments.order_id = new.order_id AND (new.was IS NULL OR shipments.status = new.was)
         RETURNING shipments.order_id",
        )
        .bind(shipments().map(|shipment| shipment.progress.order_id.as_uuid()).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.from.map(|status| status.to_string())).collect::<Vec<_>>())
        .bind(shipments().map(|shipment| shipment.progress.status.to_string()).collect::<Vec<_>>())
        .bind(shipments().map(|shipment| shipment.progress.detail.as_deref()).collect::<Vec<_>>())
        .bind(shipments().map(|shipment| shipment.progress.attempts).collect::<Vec<_>>())
        .bind(changes.iter().map(Change::due_at_us).collect::<Vec<_>>())
        .bind(changes.iter().map(Change::keeps_cause).collect::<Vec<_>>())
        .bind(changes.iter().map(Change::encoded_cause).collect::<Vec<_>>())
        .bind(shipments().map(|shipment| shipment.progress.updated_at.as_microsecond()).collect::<Vec<_>>())
        .bind(bookings().map(|booking| Some(booking?.carrier.as_str())).collect::<Vec<_>>())
        .bind(bookings().map(|booking| Some(booking?.tracking_number.as_str())).collect::<Vec<_>>())
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
            "UPDATE shipments SET due_at_us = $2
         FROM (SELECT order_id FROM shipments WHERE due_at_us <= $1 ORDER BY due_at_us LIMIT $3
             FOR NO KEY UPDATE SKIP LOCKED) AS due
         WHERE shipments.order_id = due.order_id
         RETURNING shipments.order_id, shipment_id, status, carrier, tracking_number, detail, attempts, cause,
             created_at_us, updated_at_us",
        )
        .bind(now.as_microsecond())
        .bind(until.as_microsecond())
        .bind(limit)
        .fetch_all(&mut *conn)
        .await?;
        let tasks = Sorted::of(&rows, |row| Task::of_row(shipment_of(row)?, row))?;
        tasks.setting_aside(conn, "UPDATE shipments SET due_at_us = $2 WHERE order_id = ANY($1)", now).await
    }

    async fn count_open(conn: &mut PgConnection) -> Result<BTreeMap<String, i64>, sqlx::Error> {
        let counts: Vec<(String, i64)> = sqlx::query_as(
            "SELECT status, count(*) FROM shipments WHERE due_at_us IS NOT NULL GROUP BY status",
        )
        .fetch_all(conn)
        .await?;
        Ok(counts.into_iter().collect())
    }
}

/// Reads the shipment of an order, without a lock.
pub(super) async fn read(conn: &mut PgConnection, order: OrderId) -> Result<Option<Shipment>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT order_id, shipment_id, status, carrier, tracking_number, detail, attempts, created_at_us,
             updated_at_us
         FROM shipments WHERE order_id = $1",
    )
    .bind(order.as_uuid())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(shipment_of).transpose()
}

fn shipment_of(row: &PgRow) -> Result<Shipment, sqlx::Error> {
    let booking = match (row.try_get("carrier")?, row.try_get("tracking_number")?) {
        (Some(carrier), Some(tracking_number)) => Some(Booking { carrier, tracking_number }),
        _ => None,
    };
    Ok(Shipment {
        progress: Progress::of_row(row)?,
        shipment_id: ShipmentId::new(row.try_get("shipment_id")?),
        booking,
    })
}
