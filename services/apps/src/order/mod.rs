//! The order service: takes orders over HTTP and leads each to its end.
//!
//! | consumes | what it means for an order |
//! |---|---|
//! | `inventory.reserved`, `payments.captured`, `shipping.scheduled` | its step succeeded |
//! | `inventory.failed`, `payments.failed`, `shipping.failed` | its step failed |
//! | `inventory.released`, because of its age | its step takes back its success |
//! | `shipping.delivered` | its parcel arrived: a confirmed order is complete |
//! | `notifications.sent` | its customer was told: complete, where nothing is shipped |
//!
//! It produces `orders.created` (`intake`), and `orders.confirmed`, `orders.completed`, `orders.cancelled`
//! (`handler` when an event decides, `sweeper` when a deadline does; both through `progress`). It serves the
//! order API (`api`). What is decided when stands in `domain::saga`.

pub mod api;
pub mod handler;
pub mod intake;
pub mod keys;
pub mod metrics;
pub mod progress;
pub mod query;
pub mod request;
pub mod store;
pub mod sweeper;
pub mod view;
pub mod watch;

use std::sync::Arc;

use anyhow::Result;
use contract::Service;
use futures::FutureExt;
use sqlx::migrate::Migrator;

use self::api::Api;
use self::handler::OrderHandler;
use self::intake::Intake;
use self::metrics::Metrics;
use self::sweeper::Sweeper;
use self::watch::Watch;
use crate::hold::Holder;
use crate::service::{Context, Parts, Role, Tasks};

/// The order service.
pub struct Order;

impl Role for Order {
    const SERVICE: Service = Service::Order;
    type Handler = OrderHandler;

    fn migrations() -> Migrator {
        sqlx::migrate!("migrations/order")
    }

    async fn build(context: &Context) -> Result<Parts<OrderHandler>> {
        let Context { config, pool, messaging, shutdown, .. } = context;
        let metrics = Metrics::register(context.exposition.registry())?;
        let (refreshed, database) = (metrics.clone(), pool.clone());
        context.exposition.refresh_with(Arc::new(move || {
            let (metrics, pool) = (refreshed.clone(), database.clone());
            async move { metrics.refresh(&pool).await }.boxed()
        }));
        let watch = Watch::new(context.closing.clone());
        let (intake, committer) = Intake::new(pool.clone(), messaging.outbox().clone(), metrics.clone());
        let sweeper = Sweeper {
            pool: pool.clone(),
            outbox: messaging.outbox().clone(),
            metrics: metrics.clone(),
            watch: watch.clone(),
            holder: Holder::new(pool.clone(), config.order.hold_terms(), messaging.is_current()),
        };
        let api = Api {
            pool: pool.clone(),
            intake,
            watch: watch.clone(),
            catalogue: Arc::new(config.order.order_catalogue.clone()),
            saga: Arc::new(config.saga()?),
            metrics: metrics.clone(),
        };
        Ok(Parts {
            handler: OrderHandler::new(metrics, watch.clone()),
            routes: Some(api::routes(api)),
            tasks: Tasks::of(config.parts)
                .api("intake", || committer.run(shutdown.clone()))
                .api("watch", || watch.run(pool.clone(), shutdown.clone()))
                .events("sweeper", || {
                    sweeper.run(context.health.watch("order.sweeper", sweeper::SILENCE), shutdown.clone())
                }),
        })
    }
}

#[cfg(test)]
mod redelivery_tests;
#[cfg(test)]
mod sweeper_tests;
#[cfg(test)]
mod tests;
