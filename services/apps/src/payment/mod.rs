//! The payment service: captures customers' money through a provider, and gives it back.
//!
//! | consumes | and then |
//! |---|---|
//! | the event that begins the step | asks the provider to capture the order's total (`payments.captured`, `payments.failed`) |
//! | `orders.cancelled` | has what was captured given back (`payments.refunded`), and refuses the order from then on |
//!
//! `handler` puts requests on record, the worker of [`crate::provider`] asks the provider for them as `clerk`
//! says. It serves `/api/v1/payments` (`api`). What is decided when stands in `domain::payment`.

mod api;
mod clerk;
mod handler;
mod provider;
mod store;

use anyhow::Result;
use contract::Service;
use sqlx::migrate::Migrator;

use self::clerk::PaymentClerk;
use self::handler::PaymentHandler;
use self::provider::SimulatedProvider;
use crate::provider::desk::{Desk, NewsCounter};
use crate::provider::gate::Gate;
use crate::provider::pending;
use crate::provider::simulator::Simulator;
use crate::provider::worker::{self, Handover};
use crate::service::{Context, Parts, Role, Tasks};

/// The payment service.
pub struct Payment;

impl Role for Payment {
    const SERVICE: Service = Service::Payment;
    type Handler = PaymentHandler;

    fn migrations() -> Migrator {
        sqlx::migrate!("migrations/payment")
    }

    async fn build(context: &Context) -> Result<Parts<PaymentHandler>> {
        let Context { config, pool, messaging, shutdown, .. } = context;
        let registry = context.exposition.registry();
        let news = NewsCounter::register(
            "payment_payments_total",
            "What became of payments, as it was announced.",
            registry,
        )?;
        pending::derive::<store::Payment>(context, Self::SERVICE)?;
        let simulator = Simulator::new(config.payment.payment_simulator.clone());
        // Where nobody asks the provider, nobody should be told that he behaves otherwise now.
        if config.parts.has_events() {
            context.simulators.add(Self::SERVICE.name(), simulator.clone());
        }
        let desk = Desk {
            pool: pool.clone(),
            outbox: messaging.outbox().clone(),
            clerk: PaymentClerk(SimulatedProvider::new(simulator)),
            gate: Gate::register(Self::SERVICE.name(), registry)?,
            budget: config.payment.payment_budget,
            news: news.clone(),
        };
        let (handover, handed_over) = Handover::new();
        let pulse = || context.health.watch("payment.worker", worker::SILENCE);
        Ok(Parts {
            handler: PaymentHandler::new(handover, news),
            routes: Some(api::routes(pool.clone())),
            tasks: Tasks::of(config.parts)
                .events("worker", || worker::run(desk, handed_over, pulse(), shutdown.clone())),
        })
    }
}

#[cfg(test)]
mod tests;
