//! Stock and reservations in the database. SQL only; decides nothing.
//!
//! Locks are always taken in one order: stock rows by product, then reservations by order. Whoever touches an
//! order locks the stock of its products first, so two transactions never wait for each other in a circle, and
//! two events of one order (they name the same products) hardly ever decide at the same time. Where they do,
//! because no product is known, the row of the order lets only one of them save.

use std::collections::{BTreeMap, BTreeSet};

use contract::{CorrelationId, OrderId, ProductId, StockItem};
use domain::catalogue::InitialStock;
use domain::stock::StockLevel;
use domain::warehouse::{Changed, Reservation, Warehouse};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::rows::{self, Sorted, decode};

/// The correlation ids of orders.
pub(super) type Stories = BTreeMap<OrderId, CorrelationId>;

/// The stock of a product as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stock {
    /// The product.
    pub product_id: ProductId,
    /// Its levels.
    pub level: StockLevel,
    /// When they last changed.
    pub updated_at: Timestamp,
}

/// Loads what `orders` touch, and locks the stock of `products`, which are those that the orders name.
pub(super) async fn load(
    conn: &mut PgConnection,
    orders: &[OrderId],
    products: &BTreeSet<ProductId>,
) -> Result<Warehouse, sqlx::Error> {
    let mut levels = lock_levels(conn, products).await?;
    // A statement of its own, after the locks: it must see what the holder before us committed.
    let mut on_record = reservations(conn, orders).await?;
    let held = on_record.values().flat_map(|reservation| &reservation.items).map(|item| &item.product_id);
    let missing: BTreeSet<ProductId> = held.filter(|product| !products.contains(*product)).cloned().collect();
    if !missing.is_empty() {
        // An event that does not name what is on record for its order: rare enough to lock in two steps, and
        // should that end in a deadlock, to be tried again.
        levels.extend(lock_levels(conn, &missing).await?);
        on_record = reservations(conn, orders).await?;
    }
    Ok(Warehouse::new(levels, on_record))
}

/// Loads and locks the stock of `products`.
pub(super) async fn lock_levels(
    conn: &mut PgConnection,
    products: &BTreeSet<ProductId>,
) -> Result<BTreeMap<ProductId, StockLevel>, sqlx::Error> {
    sqlx::query(
        "SELECT product_id, on_hand, reserved, sold, backordered FROM stock
         WHERE product_id = ANY($1) ORDER BY product_id FOR NO KEY UPDATE",
    )
    .bind(products.iter().map(ProductId::as_str).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| Ok((product_of(row)?, level_of(row)?)))
    .collect()
}

/// What is on record about `orders`.
pub(super) async fn reservations(
    conn: &mut PgConnection,
    orders: &[OrderId],
) -> Result<BTreeMap<OrderId, Reservation>, sqlx::Error> {
    Ok(sorted_reservations(conn, orders).await?.all()?.into_iter().collect())
}

/// What is on record about `orders`, as far as it can be read.
pub(super) async fn sorted_reservations(
    conn: &mut PgConnection,
    orders: &[OrderId],
) -> Result<Sorted<(OrderId, Reservation)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT order_id, status, expires_at_us, items::text AS items FROM reservations
         WHERE order_id = ANY($1)",
    )
    .bind(uuids(orders))
    .fetch_all(conn)
    .await?;
    Sorted::of(&rows, |row| Ok((OrderId::new(row.try_get("order_id")?), reservation_of(row)?)))
}

/// Why changes were not saved.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    /// The database did not do it.
    #[error("could not save stock and reservations")]
    Database(#[from] sqlx::Error),
    /// Another transaction decided about one of the orders since it was loaded.
    #[error("an order was decided by somebody else meanwhile")]
    Overtaken,
}

/// Saves what changed in `warehouse`. `stories` has the correlation id of every order that is new in it.
///
/// # Errors
/// The transaction must not commit then.
pub(super) async fn save(
    conn: &mut PgConnection,
    warehouse: &Warehouse,
    stories: &Stories,
    now: Timestamp,
) -> Result<(), SaveError> {
    let changes: Vec<Changed<'_>> = warehouse.changed_reservations().collect();
    // Before the stock: who is overtaken has not changed it then.
    if save_reservations(conn, &changes, stories, now).await? != changes.len() {
        return Err(SaveError::Overtaken);
    }
    Ok(save_levels(conn, warehouse, now).await?)
}

async fn save_levels(
    conn: &mut PgConnection,
    warehouse: &Warehouse,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (products, levels): (Vec<&ProductId>, Vec<&StockLevel>) = warehouse.changed_levels().unzip();
    if products.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE stock SET on_hand = new.on_hand, reserved = new.reserved, sold = new.sold,
             backordered = new.backordered, updated_at_us = $6
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
             AS new (product_id, on_hand, reserved, sold, backordered)
         WHERE stock.product_id = new.product_id",
    )
    .bind(products.iter().map(|product| product.as_str()).collect::<Vec<_>>())
    .bind(levels.iter().map(|level| bigint(level.on_hand)).collect::<Result<Vec<_>, _>>()?)
    .bind(levels.iter().map(|level| bigint(level.reserved)).collect::<Result<Vec<_>, _>>()?)
    .bind(levels.iter().map(|level| bigint(level.sold)).collect::<Result<Vec<_>, _>>()?)
    .bind(levels.iter().map(|level| bigint(level.backordered)).collect::<Result<Vec<_>, _>>()?)
    .bind(now.as_microsecond())
    .execute(conn)
    .await?;
    Ok(())
}

/// Inserts those that are new and updates the others, unless the row is not what was loaded. Returns how many.
async fn save_reservations(
    conn: &mut PgConnection,
    changes: &[Changed<'_>],
    stories: &Stories,
    now: Timestamp,
) -> Result<usize, sqlx::Error> {
    if changes.is_empty() {
        return Ok(0);
    }
    let reservations = || changes.iter().map(|change| change.reservation);
    let story = |change: &Changed<'_>| stories.get(&change.order_id).map_or("", CorrelationId::as_str);
    let items = reservations()
        .map(|reservation| serde_json::to_string(&reservation.items))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let saved: i64 = sqlx::query_scalar(
        // A transaction with the same new order is waited for: only one of the two inserts it.
        "WITH new AS (
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])
                 AS new (order_id, was, status, expires_at_us, items, correlation_id)
         ), inserted AS (
             INSERT INTO reservations (order_id, status, expires_at_us, items, correlation_id, updated_at_us)
             SELECT order_id, status, expires_at_us, items::json, correlation_id, $7
             FROM new WHERE was IS NULL ORDER BY order_id
             ON CONFLICT (order_id) DO NOTHING
             RETURNING 1
         ), updated AS (
             UPDATE reservations SET status = new.status, expires_at_us = new.expires_at_us,
                 items = new.items::json, updated_at_us = $7
             FROM new WHERE reservations.order_id = new.order_id AND reservations.status = new.was
             RETURNING 1
         )
         SELECT (SELECT count(*) FROM inserted) + (SELECT count(*) FROM updated)",
    )
    .bind(changes.iter().map(|change| change.order_id.as_uuid()).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.was.map(|status| status.to_string())).collect::<Vec<_>>())
    .bind(reservations().map(|reservation| reservation.status.to_string()).collect::<Vec<_>>())
    .bind(reservations().map(|reservation| reservation.expires_at.as_microsecond()).collect::<Vec<_>>())
    .bind(items)
    .bind(changes.iter().map(story).collect::<Vec<_>>())
    .bind(now.as_microsecond())
    .fetch_one(conn)
    .await?;
    usize::try_from(saved).map_err(decode)
}

/// A reservation whose time is over.
#[derive(Debug)]
pub(super) struct Expired {
    /// The correlation id of its order.
    pub story: CorrelationId,
    /// What was held, or waited for.
    pub items: Vec<StockItem>,
}

/// What may end because its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Waiting only: of held units it may be decided already, unheard.
    Waits,
    /// Holding units as well.
    WaitsAndHolds,
}

impl Ending {
    fn statuses(self) -> &'static [&'static str] {
        match self {
            Self::Waits => &["BACKORDERED"],
            Self::WaitsAndHolds => &["HELD", "BACKORDERED"],
        }
    }
}

/// At most `limit` reservations whose time is over, longest overdue first; by order. Those that cannot be read are
/// set aside.
pub(super) async fn expired(
    conn: &mut PgConnection,
    now: Timestamp,
    ending: Ending,
    limit: i64,
) -> Result<BTreeMap<OrderId, Expired>, sqlx::Error> {
    let rows = sqlx::query(
        // Both, because that is what the index has.
        "SELECT order_id, correlation_id, items::text AS items FROM reservations
         WHERE status IN ('HELD', 'BACKORDERED') AND status = ANY($3) AND expires_at_us <= $1
         ORDER BY expires_at_us LIMIT $2",
    )
    .bind(now.as_microsecond())
    .bind(limit)
    .bind(ending.statuses())
    .fetch_all(&mut *conn)
    .await?;
    let expired = Sorted::of(&rows, |row| {
        let story = row.try_get::<&str, _>("correlation_id")?.parse().map_err(decode)?;
        Ok((OrderId::new(row.try_get("order_id")?), Expired { story, items: items_of(row)? }))
    })?;
    Ok(expired.setting_aside(conn, SET_ASIDE, now).await?.into_iter().collect())
}

/// Looks at an order later.
const SET_ASIDE: &str = "UPDATE reservations SET expires_at_us = $2 WHERE order_id = ANY($1)";

/// Has the sweep leave `orders` alone for a while.
pub(super) async fn set_aside(
    conn: &mut PgConnection,
    orders: &[OrderId],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    rows::set_aside(conn, SET_ASIDE, orders, now).await
}

/// Adds the products of `initial` that are not known yet, and returns those.
pub(super) async fn seed(
    conn: &mut PgConnection,
    initial: &InitialStock,
    now: Timestamp,
) -> Result<Vec<Stock>, sqlx::Error> {
    let (products, units): (Vec<_>, Vec<_>) =
        initial.iter().map(|(product, units)| (product.as_str(), i64::from(units))).unzip();
    sqlx::query(
        "INSERT INTO stock (product_id, on_hand, reserved, sold, updated_at_us)
         SELECT product_id, on_hand, 0, 0, $3
         FROM unnest($1::text[], $2::bigint[]) AS new (product_id, on_hand)
         ORDER BY product_id
         ON CONFLICT DO NOTHING
         RETURNING product_id, on_hand, reserved, sold, backordered, updated_at_us",
    )
    .bind(products)
    .bind(units)
    .bind(now.as_microsecond())
    .fetch_all(conn)
    .await?
    .iter()
    .map(stock_of)
    .collect()
}

/// Makes sure that there is a row for `product`; says whether there was none.
pub(super) async fn introduce(
    conn: &mut PgConnection,
    product: &ProductId,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO stock (product_id, on_hand, reserved, sold, updated_at_us) VALUES ($1, 0, 0, 0, $2)
         ON CONFLICT DO NOTHING",
    )
    .bind(product.as_str())
    .bind(now.as_microsecond())
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() > 0)
}

/// Loads and locks the stock of one product.
pub(super) async fn lock(
    conn: &mut PgConnection,
    product: &ProductId,
) -> Result<Option<StockLevel>, sqlx::Error> {
    Ok(lock_levels(conn, &BTreeSet::from([product.clone()])).await?.remove(product))
}

/// Saves the stock of one product, whose row is locked.
pub(super) async fn save_level(conn: &mut PgConnection, stock: &Stock) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE stock SET on_hand = $2, reserved = $3, sold = $4, updated_at_us = $5 WHERE product_id = $1",
    )
    .bind(stock.product_id.as_str())
    .bind(bigint(stock.level.on_hand)?)
    .bind(bigint(stock.level.reserved)?)
    .bind(bigint(stock.level.sold)?)
    .bind(stock.updated_at.as_microsecond())
    .execute(conn)
    .await?;
    Ok(())
}

/// Reads the stock of one product, without a lock.
pub(super) async fn read(conn: &mut PgConnection, product: &ProductId) -> Result<Option<Stock>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT product_id, on_hand, reserved, sold, backordered, updated_at_us FROM stock WHERE product_id = $1",
    )
    .bind(product.as_str())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(stock_of).transpose()
}

/// A page of at most `limit` products by name, those after `after`.
pub(super) async fn list(
    conn: &mut PgConnection,
    after: Option<&ProductId>,
    limit: i64,
) -> Result<Vec<Stock>, sqlx::Error> {
    sqlx::query(
        // No product has an empty name, so every product comes after it.
        "SELECT product_id, on_hand, reserved, sold, backordered, updated_at_us FROM stock
         WHERE product_id > $1 ORDER BY product_id LIMIT $2",
    )
    .bind(after.map_or("", ProductId::as_str))
    .bind(limit)
    .fetch_all(conn)
    .await?
    .iter()
    .map(stock_of)
    .collect()
}

fn stock_of(row: &PgRow) -> Result<Stock, sqlx::Error> {
    let updated_at = Timestamp::from_microsecond(row.try_get("updated_at_us")?).map_err(decode)?;
    Ok(Stock { product_id: product_of(row)?, level: level_of(row)?, updated_at })
}

fn product_of(row: &PgRow) -> Result<ProductId, sqlx::Error> {
    row.try_get::<&str, _>("product_id")?.parse().map_err(decode)
}

fn level_of(row: &PgRow) -> Result<StockLevel, sqlx::Error> {
    let units = |column| u64::try_from(row.try_get::<i64, _>(column)?).map_err(decode);
    Ok(StockLevel {
        on_hand: units("on_hand")?,
        reserved: units("reserved")?,
        sold: units("sold")?,
        backordered: units("backordered")?,
    })
}

fn reservation_of(row: &PgRow) -> Result<Reservation, sqlx::Error> {
    Ok(Reservation {
        status: row.try_get::<&str, _>("status")?.parse().map_err(decode)?,
        items: items_of(row)?,
        expires_at: Timestamp::from_microsecond(row.try_get("expires_at_us")?).map_err(decode)?,
    })
}

fn items_of(row: &PgRow) -> Result<Vec<StockItem>, sqlx::Error> {
    serde_json::from_str(row.try_get("items")?).map_err(decode)
}

fn uuids(orders: &[OrderId]) -> Vec<uuid::Uuid> {
    orders.iter().map(OrderId::as_uuid).collect()
}

fn bigint(units: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(units).map_err(|error| sqlx::Error::Encode(error.into()))
}
