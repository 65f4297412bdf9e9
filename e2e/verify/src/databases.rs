//! What the databases say.

use contract::{Money, OrderId, ProductId, Service};
use sqlx::PgPool;
use uuid::Uuid;

use crate::facts::{Facts, Order, Payment, Reservation, Shipment, Stock, Waiting};
use crate::source::{GatherError, Source};

pub(crate) async fn read(source: &Source, facts: &mut Facts) -> Result<(), GatherError> {
    for (&service, pool) in &source.databases {
        let failed = |source| GatherError::Database { service, source };
        let waiting = waiting(pool).await.map_err(failed)?;
        facts.waiting.insert(service, waiting);
        match service {
            Service::Order => orders(pool, facts).await?,
            Service::Inventory => inventory(pool, facts).await?,
            Service::Payment => payments(pool, facts).await?,
            Service::Shipping => shipments(pool, facts).await.map_err(failed)?,
            // A service of streams has no database to ask.
            Service::Notification | Service::OrderAnalytics => {}
        }
    }
    Ok(())
}

/// What a service still has to do, as far as its database knows.
pub(crate) async fn waiting(pool: &PgPool) -> Result<Waiting, sqlx::Error> {
    let outbox = count(pool, "SELECT count(*) FROM outbox").await?;
    let parked = count(pool, "SELECT count(*) FROM parked_events").await?;
    Ok(Waiting { outbox, parked, lag: 0 })
}

/// Orders that have not ended, and whatever else a service still has to decide, ask for or send.
pub(crate) async fn undecided(service: Service, pool: &PgPool) -> Result<u64, sqlx::Error> {
    match service {
        Service::Order => count(pool, "SELECT count(*) FROM sagas WHERE deadline_us IS NOT NULL").await,
        Service::Inventory => count(pool, "SELECT count(*) FROM reservations WHERE status = 'HELD'").await,
        Service::Notification => {
            count(pool, "SELECT count(*) FROM notifications WHERE finished_at_us IS NULL").await
        }
        Service::Payment => count(pool, "SELECT count(*) FROM payments WHERE due_at_us IS NOT NULL").await,
        Service::Shipping => count(pool, "SELECT count(*) FROM shipments WHERE due_at_us IS NOT NULL").await,
        Service::OrderAnalytics => Ok(0),
    }
}

async fn count(pool: &PgPool, query: &'static str) -> Result<u64, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(query).fetch_one(pool).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

async fn orders(pool: &PgPool, facts: &mut Facts) -> Result<(), GatherError> {
    let service = Service::Order;
    // An order and its saga are written together; half of one is no state that an order may be in.
    let rows = "SELECT order_id, CASE WHEN orders.details IS NULL OR sagas.status IS NULL THEN 'TORN'
                                      ELSE sagas.status END,
                       ARRAY(SELECT state ->> 'step' FROM json_array_elements(sagas.steps) AS state)
                FROM orders FULL JOIN sagas USING (order_id)";
    let rows: Vec<(Uuid, String, Vec<String>)> = sqlx::query_as(rows)
        .fetch_all(pool)
        .await
        .map_err(|source| GatherError::Database { service, source })?;
    for (order, status, steps) in rows {
        let step = |name: &String| {
            let what = || format!("{name:?} as a step");
            name.parse().map_err(|_unknown| GatherError::Unreadable { service, what: what() })
        };
        let steps = steps.iter().map(step).collect::<Result<_, _>>()?;
        facts.orders.insert(OrderId::new(order), Order { status, steps });
    }
    Ok(())
}

async fn inventory(pool: &PgPool, facts: &mut Facts) -> Result<(), GatherError> {
    let service = Service::Inventory;
    let failed = |source| GatherError::Database { service, source };
    let levels = "SELECT product_id, on_hand, reserved, sold FROM stock";
    let levels: Vec<(String, i64, i64, i64)> =
        sqlx::query_as(levels).fetch_all(pool).await.map_err(failed)?;
    for (product, on_hand, reserved, sold) in levels {
        let unreadable = || GatherError::Unreadable { service, what: format!("{product:?} as a product") };
        let units = |units: i64| u64::try_from(units).map_err(|_negative| unreadable());
        let stock = Stock { on_hand: units(on_hand)?, reserved: units(reserved)?, sold: units(sold)? };
        facts.stock.insert(product.parse::<ProductId>().map_err(|_invalid| unreadable())?, stock);
    }
    let rows = "SELECT order_id, status FROM reservations";
    let rows: Vec<(Uuid, String)> = sqlx::query_as(rows).fetch_all(pool).await.map_err(failed)?;
    let rows = rows.into_iter().map(|(order, status)| (OrderId::new(order), Reservation { status }));
    facts.reservations = rows.collect();
    Ok(())
}

async fn payments(pool: &PgPool, facts: &mut Facts) -> Result<(), GatherError> {
    let service = Service::Payment;
    let rows = "SELECT order_id, status, amount_minor, currency FROM payments";
    let rows: Vec<(Uuid, String, i64, String)> = sqlx::query_as(rows)
        .fetch_all(pool)
        .await
        .map_err(|source| GatherError::Database { service, source })?;
    for (order, status, amount_minor, currency) in rows {
        let what = || format!("{currency:?} as a currency");
        let known = currency.parse().map_err(|_unknown| GatherError::Unreadable { service, what: what() })?;
        let amount = Money::new(amount_minor, known);
        facts.payments.insert(OrderId::new(order), Payment { status, amount });
    }
    Ok(())
}

async fn shipments(pool: &PgPool, facts: &mut Facts) -> Result<(), sqlx::Error> {
    let rows = "SELECT order_id, status FROM shipments";
    let rows: Vec<(Uuid, String)> = sqlx::query_as(rows).fetch_all(pool).await?;
    let rows = rows.into_iter().map(|(order, status)| (OrderId::new(order), Shipment { status }));
    facts.shipments = rows.collect();
    Ok(())
}
