//! The shipping service: has parcels carried to customers.
//!
//! | consumes | and then |
//! |---|---|
//! | the event that begins the step | books a carrier (`shipping.scheduled`, `shipping.failed`) |
//! | `orders.confirmed` | lets the parcel leave, and notes when it arrives (`shipping.delivered`) |
//! | `orders.cancelled` | takes the booking back (`shipping.cancelled`), and refuses the order from then on |
//!
//! `handler` puts requests on record, the worker of [`crate::provider`] asks the carrier for them as `clerk`
//! says. It serves `/api/v1/shipments` (`api`). What is decided when stands in `domain::shipment`.

mod api;
mod carrier;
mod clerk;
mod handler;
mod store;

use anyhow::Result;
use contract::Service;
use sqlx::migrate::Migrator;

use self::carrier::SimulatedCarrier;
use self::clerk::ShippingClerk;
use self::handler::ShippingHandler;
use crate::provider::desk::{Desk, NewsCounter};
use crate::provider::gate::Gate;
use crate::provider::pending;
use crate::provider::simulator::Simulator;
use crate::provider::worker::{self, Handover};
use crate::service::{Context, Parts, Role, Tasks};

/// The shipping service.
pub struct Shipping;

impl Role for Shipping {
    const SERVICE: Service = Service::Shipping;
    type Handler = ShippingHandler;

    fn migrations() -> Migrator {
        sqlx::migrate!("migrations/shipping")
    }

    async fn build(context: &Context) -> Result<Parts<ShippingHandler>> {
        let Context { config, pool, messaging, shutdown, .. } = context;
        let registry = context.exposition.registry();
        let news = NewsCounter::register(
            "shipping_shipments_total",
            "What became of shipments, as it was announced.",
            registry,
        )?;
        pending::derive::<store::Shipment>(context, Self::SERVICE)?;
        let simulator = Simulator::new(config.shipping.shipping_simulator.clone());
        // Where nobody asks the provider, nobody should be told that he behaves otherwise now.
        if config.parts.has_events() {
            context.simulators.add(Self::SERVICE.name(), simulator.clone());
        }
        let desk = Desk {
            pool: pool.clone(),
            outbox: messaging.outbox().clone(),
            clerk: ShippingClerk(SimulatedCarrier::new(simulator)),
            gate: Gate::register(Self::SERVICE.name(), registry)?,
            budget: config.shipping.shipping_budget,
            news: news.clone(),
        };
        let (handover, handed_over) = Handover::new();
        let pulse = || context.health.watch("shipping.worker", worker::SILENCE);
        Ok(Parts {
            handler: ShippingHandler::new(handover, config.shipping.shipping_transit, news),
            routes: Some(api::routes(pool.clone())),
            tasks: Tasks::of(config.parts)
                .events("worker", || worker::run(desk, handed_over, pulse(), shutdown.clone())),
        })
    }
}

#[cfg(test)]
mod tests;
