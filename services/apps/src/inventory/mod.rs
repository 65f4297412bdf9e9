//! The inventory service: holds the stock, and reserves, sells and releases it for orders.
//!
//! | consumes | and then |
//! |---|---|
//! | `orders.created` | holds all of its items (`inventory.reserved`), or none (`inventory.failed`), or lets it wait |
//! | `orders.confirmed` | turns what is held into sold units |
//! | `orders.cancelled` | frees what is held (`inventory.released`), and refuses the order from then on |
//!
//! Every change of stock is told by `inventory.updated`. What nobody decides is freed when its time is over
//! (`sweeper`). Orders that wait for stock stand in line (`queue`) and are served when there is some (`waker`).
//! It serves `/api/v1/inventory` (`api`). What is decided when stands in `domain::warehouse` and
//! `domain::backorder`.

mod api;
mod handler;
mod metrics;
mod queue;
mod store;
mod sweeper;
mod waker;

use anyhow::{Context as _, Result};
use contract::{CorrelationId, Envelope, Service};
use jiff::Timestamp;
use sqlx::migrate::Migrator;
use uuid::Uuid;

use self::api::Api;
use self::handler::{StockHandler, Terms, updated};
use self::metrics::Metrics;
use self::sweeper::Sweeper;
use self::waker::{Server, Skipped, Waker};
use crate::hold::Holder;
use crate::service::{Context, Parts, Role, Tasks};

/// The inventory service.
pub struct Inventory;

impl Role for Inventory {
    const SERVICE: Service = Service::Inventory;
    type Handler = StockHandler;

    fn migrations() -> Migrator {
        sqlx::migrate!("migrations/inventory")
    }

    async fn build(context: &Context) -> Result<Parts<StockHandler>> {
        let Context { config, pool, messaging, shutdown, .. } = context;
        seed(context).await.context("could not put the initial stock in place")?;
        let metrics = Metrics::register(context.exposition.registry())?;
        let (pool, outbox, waker) = (pool.clone(), messaging.outbox().clone(), Waker::default());
        let terms = Terms {
            reservation_ttl: config.inventory.inventory_reservation_ttl,
            backorder_timeout: Some(config.inventory.inventory_backorder_timeout)
                .filter(|timeout| !timeout.is_zero()),
        };
        let sweeper = Sweeper {
            pool: pool.clone(),
            outbox: outbox.clone(),
            waker: waker.clone(),
            metrics: metrics.clone(),
            holder: Holder::new(pool.clone(), config.inventory.hold_terms(), messaging.is_current()),
        };
        // Also where orders may not wait: some may do so since they might.
        let server = Server {
            pool: pool.clone(),
            outbox: outbox.clone(),
            waker: waker.clone(),
            reservation_ttl: terms.reservation_ttl,
            metrics: metrics.clone(),
            skipped: Skipped::default(),
        };
        let pulse = |name| context.health.watch(name, sweeper::SILENCE);
        let tasks = Tasks::of(config.parts)
            .events("sweeper", || sweeper.run(pulse("inventory.sweeper"), shutdown.clone()))
            .events("waker", || server.run(pulse("inventory.waker"), shutdown.clone()));
        Ok(Parts {
            handler: StockHandler::new(terms, waker.clone(), metrics),
            routes: Some(api::routes(Api { pool, outbox, waker })),
            tasks,
        })
    }
}

/// Adds the configured products that are not known yet. What is known stays as it is, at every start.
async fn seed(context: &Context) -> Result<()> {
    let now = Timestamp::now();
    let mut tx = context.pool.begin().await?;
    let added = store::seed(&mut tx, &context.config.inventory.inventory_initial_stock, now).await?;
    let story = CorrelationId::from(Uuid::now_v7());
    let news: Vec<Envelope> = added
        .iter()
        .map(|stock| Envelope::new(updated(&stock.product_id, stock.level).into(), story.clone(), now))
        .collect();
    context.messaging.outbox().append(&mut tx, &news).await?;
    tx.commit().await?;
    context.messaging.outbox().notify();
    for stock in added {
        tracing::info!(
            product = stock.product_id.as_str(),
            units = stock.level.on_hand,
            "a product was added"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
