//! The lines of orders that wait for stock, in the database. SQL only; decides nothing.
//!
//! Whoever changes a line has locked the stock of its product.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Envelope, OrderId, ProductId, StockItem, codec};
use domain::backorder::{Look, Page, Place};
use domain::stock::StockLevel;
use domain::warehouse::{Reservation, ReservationStatus, Warehouse};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::rows::{Sorted, decode};

/// Puts the orders that wait since `warehouse` was loaded into line, and takes out those that do not wait any more.
/// `asked` has the event that asked for each new one, in the order in which they came.
pub(super) async fn save(
    conn: &mut PgConnection,
    warehouse: &Warehouse,
    asked: &[&Envelope],
) -> Result<(), sqlx::Error> {
    let (mut come, mut gone) = (BTreeMap::new(), Vec::new());
    for change in warehouse.changed_reservations() {
        let waited = change.was == Some(ReservationStatus::Backordered);
        match (waited, change.reservation.status == ReservationStatus::Backordered) {
            (false, true) => drop(come.insert(change.order_id, change.reservation)),
            (true, false) => gone.push(change.order_id),
            (true, true) | (false, false) => {}
        }
    }
    if !come.is_empty() {
        join(conn, come, asked).await?;
    }
    if !gone.is_empty() {
        leave(conn, &gone).await?;
    }
    Ok(())
}

/// An order's place in the line of one product.
struct Row<'a> {
    order: OrderId,
    place: i64,
    item: &'a StockItem,
    lines: usize,
    cause: &'a Envelope,
}

async fn join(
    conn: &mut PgConnection,
    mut come: BTreeMap<OrderId, &Reservation>,
    asked: &[&Envelope],
) -> Result<(), sqlx::Error> {
    let places = draw(conn, come.len()).await?;
    let in_turn = asked.iter().filter_map(|cause| {
        let order = cause.event.order_id()?;
        Some((order, come.remove(&order)?, *cause))
    });
    let rows: Vec<Row<'_>> = in_turn
        .zip(places)
        .flat_map(|((order, reservation, cause), place)| {
            let lines = reservation.items.len();
            reservation.items.iter().map(move |item| Row { order, place, item, lines, cause })
        })
        .collect();
    sqlx::query(
        "INSERT INTO backorders (order_id, product_id, quantity, lines, place, cause)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::integer[], $5::bigint[], $6::bytea[])",
    )
    .bind(rows.iter().map(|row| row.order.as_uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.item.product_id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| i64::from(row.item.quantity)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| i32::try_from(row.lines).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.place).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| codec::encode_json(row.cause)).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// So many places behind all that were drawn, ascending.
async fn draw(conn: &mut PgConnection, count: usize) -> Result<Vec<i64>, sqlx::Error> {
    let count = i64::try_from(count).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let mut places: Vec<i64> =
        sqlx::query_scalar("SELECT nextval('backorder_places') FROM generate_series(1, $1)")
            .bind(count)
            .fetch_all(conn)
            .await?;
    places.sort_unstable();
    Ok(places)
}

async fn leave(conn: &mut PgConnection, gone: &[OrderId]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM backorders WHERE order_id = ANY($1)")
        .bind(gone.iter().map(OrderId::as_uuid).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// The products that are there and waited for. Without a lock: what follows looks again.
pub(super) async fn products(conn: &mut PgConnection) -> Result<BTreeSet<ProductId>, sqlx::Error> {
    sqlx::query_scalar("SELECT product_id FROM stock WHERE backordered > 0 AND on_hand > 0")
        .fetch_all(conn)
        .await?
        .into_iter()
        .map(|product: String| product.parse().map_err(decode))
        .collect()
}

/// The next pages of the lines that are looked along, each of at most `size` places. `levels` has the stock of their
/// products.
pub(super) async fn pages(
    conn: &mut PgConnection,
    look: &Look,
    levels: &BTreeMap<ProductId, StockLevel>,
    size: usize,
) -> Result<BTreeMap<ProductId, Page>, sqlx::Error> {
    let empty = |(product, level): (&ProductId, &StockLevel)| {
        (product.clone(), Page { on_hand: level.on_hand, places: Vec::new(), is_last: true })
    };
    let mut pages: BTreeMap<ProductId, Page> = levels.iter().map(empty).collect();
    let rows = sqlx::query(
        // Line by line, so that the index ends each page: of what is behind it nothing is read.
        "SELECT product_id, order_id, place, quantity, lines
         FROM unnest($1::text[]) AS looked_along (product)
         CROSS JOIN LATERAL (
             SELECT * FROM backorders WHERE product_id = product AND place > $2 ORDER BY place LIMIT $3
         ) AS page
         ORDER BY product_id, place",
    )
    .bind(levels.keys().map(ProductId::as_str).collect::<Vec<_>>())
    .bind(look.passed())
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .fetch_all(conn)
    .await?;
    for row in rows {
        let product: ProductId = row.try_get::<&str, _>("product_id")?.parse().map_err(decode)?;
        let Some(page) = pages.get_mut(&product) else { continue };
        page.places.push(Place {
            order_id: OrderId::new(row.try_get("order_id")?),
            turn: row.try_get("place")?,
            quantity: u32::try_from(row.try_get::<i64, _>("quantity")?).map_err(decode)?,
            lines: usize::try_from(row.try_get::<i32, _>("lines")?).map_err(decode)?,
        });
        page.is_last = page.places.len() < size;
    }
    Ok(pages)
}

/// The events that asked for what `orders` wait for, as far as they can be read.
pub(super) async fn causes(
    conn: &mut PgConnection,
    orders: &[OrderId],
) -> Result<Sorted<(OrderId, Envelope)>, sqlx::Error> {
    let rows =
        sqlx::query("SELECT DISTINCT ON (order_id) order_id, cause FROM backorders WHERE order_id = ANY($1)")
            .bind(orders.iter().map(OrderId::as_uuid).collect::<Vec<_>>())
            .fetch_all(conn)
            .await?;
    Sorted::of(&rows, |row| {
        let cause = codec::decode_json(row.try_get("cause")?).map_err(decode)?;
        Ok((OrderId::new(row.try_get("order_id")?), cause))
    })
}
