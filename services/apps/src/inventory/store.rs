//! Stock and reservations in the database. SQL only; decides nothing.
//!
//! Locks are always taken in one order: stock rows by product, then reservations by order. Whoever touches an
//! order locks the stock of its products first, so two transactions never wait for each other in a circle, and
//! two events of one order (they name the same products) never decide at the same time.

use std::collections::{BTreeMap, BTreeSet};

use contract::{CorrelationId, OrderId, ProductId, StockItem};
use domain::catalogue::InitialStock;
use domain::stock::StockLevel;
use domain::warehouse::{Reservation, Warehouse};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

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

async fn lock_levels(
    conn: &mut PgConnection,
    products: &BTreeSet<ProductId>,
) -> Result<BTreeMap<ProductId, StockLevel>, sqlx::Error> {
    sqlx::query(
        "SELECT product_id, on_hand, reserved, sold FROM stock
         WHERE product_id = ANY($1) ORDER BY product_id FOR NO KEY UPDATE",
    )
    .bind(products.iter().map(ProductId::as_str).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| Ok((product_of(row)?, level_of(row)?)))
    .collect()
}

async fn reservations(
    conn: &mut PgConnection,
    orders: &[OrderId],
) -> Result<BTreeMap<OrderId, Reservation>, sqlx::Error> {
    sqlx::query(
        "SELECT order_id, status, expires_at_us, items::text AS items FROM reservations
         WHERE order_id = ANY($1)",
    )
    .bind(uuids(orders))
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| Ok((OrderId::new(row.try_get("order_id")?), reservation_of(row)?)))
    .collect()
}

/// Saves what changed in `warehouse`. `stories` has the correlation id of every order that is new in it.
pub(super) async fn save(
    conn: &mut PgConnection,
    warehouse: &Warehouse,
    stories: &Stories,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    save_levels(conn, warehouse, now).await?;
    save_reservations(conn, warehouse, stories, now).await
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
        "UPDATE stock SET on_hand = new.on_hand, reserved = new.reserved, sold = new.sold, updated_at_us = $5
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
             AS new (product_id, on_hand, reserved, sold)
         WHERE stock.product_id = new.product_id",
    )
    .bind(products.iter().map(|product| product.as_str()).collect::<Vec<_>>())
    .bind(levels.iter().map(|level| bigint(level.on_hand)).collect::<Result<Vec<_>, _>>()?)
    .bind(levels.iter().map(|level| bigint(level.reserved)).collect::<Result<Vec<_>, _>>()?)
    .bind(levels.iter().map(|level| bigint(level.sold)).collect::<Result<Vec<_>, _>>()?)
    .bind(now.as_microsecond())
    .execute(conn)
    .await?;
    Ok(())
}

async fn save_reservations(
    conn: &mut PgConnection,
    warehouse: &Warehouse,
    stories: &Stories,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (orders, reservations): (Vec<&OrderId>, Vec<&Reservation>) = warehouse.changed_reservations().unzip();
    if orders.is_empty() {
        return Ok(());
    }
    let story = |order: &&OrderId| stories.get(*order).map_or("", CorrelationId::as_str);
    let items = reservations
        .iter()
        .map(|reservation| serde_json::to_string(&reservation.items))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(
        "INSERT INTO reservations (order_id, status, expires_at_us, items, correlation_id, updated_at_us)
         SELECT order_id, status, expires_at_us, items::json, correlation_id, $6
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[])
             AS new (order_id, status, expires_at_us, items, correlation_id)
         ORDER BY order_id
         ON CONFLICT (order_id) DO UPDATE SET
             status = excluded.status, expires_at_us = excluded.expires_at_us, items = excluded.items,
             updated_at_us = excluded.updated_at_us",
    )
    .bind(orders.iter().map(|order| order.as_uuid()).collect::<Vec<_>>())
    .bind(reservations.iter().map(|reservation| reservation.status.to_string()).collect::<Vec<_>>())
    .bind(reservations.iter().map(|reservation| reservation.expires_at.as_microsecond()).collect::<Vec<_>>())
    .bind(items)
    .bind(orders.iter().map(story).collect::<Vec<_>>())
    .bind(now.as_microsecond())
    .execute(conn)
    .await?;
    Ok(())
}

/// A reservation that has expired.
#[derive(Debug)]
pub(super) struct Expired {
    /// The correlation id of its order.
    pub story: CorrelationId,
    /// What was held.
    pub items: Vec<StockItem>,
}

/// At most `limit` reservations that have expired, longest overdue first; by order.
pub(super) async fn expired(
    conn: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> Result<BTreeMap<OrderId, Expired>, sqlx::Error> {
    sqlx::query(
        "SELECT order_id, correlation_id, items::text AS items FROM reservations
         WHERE status = 'HELD' AND expires_at_us <= $1 ORDER BY expires_at_us LIMIT $2",
    )
    .bind(now.as_microsecond())
    .bind(limit)
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| {
        let story = row.try_get::<&str, _>("correlation_id")?.parse().map_err(decode)?;
        Ok((OrderId::new(row.try_get("order_id")?), Expired { story, items: items_of(row)? }))
    })
    .collect()
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
         RETURNING product_id, on_hand, reserved, sold, updated_at_us",
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
    let row =
        sqlx::query("SELECT on_hand, reserved, sold FROM stock WHERE product_id = $1 FOR NO KEY UPDATE")
            .bind(product.as_str())
            .fetch_optional(conn)
            .await?;
    row.as_ref().map(level_of).transpose()
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
        "SELECT product_id, on_hand, reserved, sold, updated_at_us FROM stock WHERE product_id = $1",
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
        "SELECT product_id, on_hand, reserved, sold, updated_at_us FROM stock
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
    Ok(StockLevel { on_hand: units("on_hand")?, reserved: units("reserved")?, sold: units("sold")? })
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

fn decode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
