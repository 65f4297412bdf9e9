//! Shipments in the database. SQL only; decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Envelope, OrderId, ShipmentId, codec};
use domain::shipment::ShipmentStatus;
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::rows::decode;

/// A shipment as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shipment {
    /// The order.
    pub order_id: OrderId,
    /// The carrier's idempotency key.
    pub shipment_id: ShipmentId,
    /// How far it is.
    pub status: ShipmentStatus,
    /// Who carries it and by which the customer follows it, once that is agreed.
    pub booking: Option<Booking>,
    /// Why it failed, for people.
    pub detail: Option<String>,
    /// How often the carrier was asked for what it is asked for now.
    pub attempts: i32,
    /// When the order was first heard of.
    pub created_at: Timestamp,
    /// When the status last changed.
    pub updated_at: Timestamp,
}

/// What was agreed with a carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Booking {
    /// Who carries it.
    pub carrier: String,
    /// By which the customer follows it.
    pub tracking_number: String,
}

/// A shipment that the carrier is to be asked for, or that arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// The shipment.
    pub shipment: Shipment,
    /// The event that made it necessary.
    pub cause: Envelope,
}

/// A shipment that is new or changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    /// The status that it must have on record; none, if its row is new or locked.
    pub from: Option<ShipmentStatus>,
    /// The shipment after the change.
    pub shipment: &'a Shipment,
    /// The event that made it necessary to do something.
    pub cause: Cause<'a>,
    /// When that is to be done, if something is.
    pub due_at: Option<Timestamp>,
}

/// The event that made it necessary to do something about a shipment.
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
    /// A shipment whose row is new or locked; `due_at` counts where something is to be done because of `cause`.
    pub(super) fn of(shipment: &'a Shipment, cause: Option<&'a Envelope>, due_at: Timestamp) -> Self {
        let cause = cause.filter(|_| shipment.status.is_open());
        let due_at = cause.map(|_| due_at);
        Self { from: None, shipment, cause: cause.map_or(Cause::None, Cause::Is), due_at }
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
    let shipments = || drafts.iter().map(|draft| draft.shipment);
    sqlx::query_scalar(
        // In one order everywhere, so that two transactions with the same orders wait instead of deadlocking.
        "INSERT INTO shipments (order_id, shipment_id, status, due_at_us, cause, created_at_us, updated_at_us)
         SELECT order_id, shipment_id, status, due_at_us, cause, at_us, at_us
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[])
             AS new (order_id, shipment_id, status, due_at_us, cause, at_us)
         ORDER BY order_id
         ON CONFLICT (order_id) DO NOTHING
         RETURNING order_id",
    )
    .bind(shipments().map(|shipment| shipment.order_id.as_uuid()).collect::<Vec<_>>())
    .bind(shipments().map(|shipment| shipment.shipment_id.as_uuid()).collect::<Vec<_>>())
    .bind(shipments().map(|shipment| shipment.status.to_string()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.due_at.map(Timestamp::as_microsecond)).collect::<Vec<_>>())
    .bind(drafts.iter().map(Change::encoded_cause).collect::<Vec<_>>())
    .bind(shipments().map(|shipment| shipment.created_at.as_microsecond()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map(|orders| orders.into_iter().map(OrderId::new).collect())
}

/// Loads and locks the shipments of `orders`.
pub(super) async fn lock(
    conn: &mut PgConnection,
    orders: &BTreeSet<OrderId>,
) -> Result<BTreeMap<OrderId, Shipment>, sqlx::Error> {
    sqlx::query(
        "SELECT order_id, shipment_id, status, carrier, tracking_number, detail, attempts, created_at_us,
             updated_at_us
         FROM shipments WHERE order_id = ANY($1) ORDER BY order_id FOR NO KEY UPDATE",
    )
    .bind(orders.iter().map(OrderId::as_uuid).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| shipment_of(row).map(|shipment| (shipment.order_id, shipment)))
    .collect()
}

/// Saves the `changes` of shipments that still have the status from which they change. Returns the orders of those.
pub(super) async fn save(
    conn: &mut PgConnection,
    changes: &[Change<'_>],
) -> Result<BTreeSet<OrderId>, sqlx::Error> {
    if changes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let shipments = || changes.iter().map(|change| change.shipment);
    let bookings = || shipments().map(|shipment| shipment.booking.as_ref());
    sqlx::query_scalar(
        "UPDATE shipments SET
             status = new.status, carrier = new.carrier, tracking_number = new.tracking_number,
             detail = new.detail, attempts = new.attempts, due_at_us = new.due_at_us,
             cause = CASE WHEN new.keeps_cause THEN shipments.cause ELSE new.cause END, updated_at_us = new.updated_at_us
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::bigint[],
             $7::boolean[], $8::bytea[], $9::bigint[], $10::text[], $11::text[])
             AS new (order_id, was, status, detail, attempts, due_at_us, keeps_cause, cause, updated_at_us,
                 carrier, tracking_number)
         WHERE shipments.order_id = new.order_id AND (new.was IS NULL OR shipments.status = new.was)
         RETURNING shipments.order_id",
    )
    .bind(shipments().map(|shipment| shipment.order_id.as_uuid()).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.from.map(|status| status.to_string())).collect::<Vec<_>>())
    .bind(shipments().map(|shipment| shipment.status.to_string()).collect::<Vec<_>>())
    .bind(shipments().map(|shipment| shipment.detail.as_deref()).collect::<Vec<_>>())
    .bind(shipments().map(|shipment| shipment.attempts).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.due_at.map(Timestamp::as_microsecond)).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| matches!(change.cause, Cause::Stays)).collect::<Vec<_>>())
    .bind(changes.iter().map(Change::encoded_cause).collect::<Vec<_>>())
    .bind(shipments().map(|shipment| shipment.updated_at.as_microsecond()).collect::<Vec<_>>())
    .bind(bookings().map(|booking| Some(booking?.carrier.as_str())).collect::<Vec<_>>())
    .bind(bookings().map(|booking| Some(booking?.tracking_number.as_str())).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .map(|orders| orders.into_iter().map(OrderId::new).collect())
}

/// Takes at most `limit` shipments that are due, for this worker alone until `until`.
pub(super) async fn take(
    conn: &mut PgConnection,
    now: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Task>, sqlx::Error> {
    sqlx::query(
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
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| {
        let cause = codec::decode_json(row.try_get("cause")?).map_err(decode)?;
        Ok(Task { shipment: shipment_of(row)?, cause })
    })
    .collect()
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
        order_id: OrderId::new(row.try_get("order_id")?),
        shipment_id: ShipmentId::new(row.try_get("shipment_id")?),
        status: row.try_get::<&str, _>("status")?.parse().map_err(decode)?,
        booking,
        detail: row.try_get("detail")?,
        attempts: row.try_get("attempts")?,
        created_at: Timestamp::from_microsecond(row.try_get("created_at_us")?).map_err(decode)?,
        updated_at: Timestamp::from_microsecond(row.try_get("updated_at_us")?).map_err(decode)?,
    })
}
