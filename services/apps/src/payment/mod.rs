//! The payment service: captures customers' money through a provider, and gives it back.
//!
//! | consumes | and then |
//! |---|---|
//! | the event that begins the step | asks the provider to capture the order's total (`payments.captured`, `payments.failed`) |
//! | `orders.cancelled` | has what was captured given back (`payments.refunded`), and refuses the order from then on |
//!
//! `handler` puts requests on record, the worker of [`crate::provider`] asks the provider for them as `desk`
//! says. It serves `/api/v1/payments` (`api`). What is decided when stands in `domain::payment`.

mod api;
mod desk;
mod handler;
mod metrics;
mod provider;
mod store;

use anyhow::Result;
use contract::Service;
use sqlx::migrate::Migrator;

use self::desk::PaymentDesk;
use self::handler::PaymentHandler;
use self::metrics::Metrics;
use self::provider::SimulatedProvider;
use crate::provider::gate::Gate;
use crate::provider::simulator::Simulator;
use crate::provider::worker::{self, Handover};
use crate::service::{Context, Parts, Role, Task};

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
        let metrics = Metrics::register(registry)?;
        let simulator = Simulator::new(config.payment.payment_simulator.clone());
        context.simulators.add(Self::SERVICE.name(), simulator.clone());
        let desk = PaymentDesk {
            pool: pool.clone(),
            outbox: messaging.outbox().clone(),
            provider: SimulatedProvider::new(simulator),
            gate: Gate::register(Self::SERVICE.name(), registry)?,
            budget: config.payment.payment_budget,
            metrics: metrics.clone(),
        };
        let (handover, handed_over) = Handover::new();
        let pulse = context.health.watch("payment.worker", worker::SILENCE);
        Ok(Parts {
            handler: PaymentHandler::new(handover, metrics),
            routes: Some(api::routes(pool.clone())),
            tasks: vec![Task::new("worker", worker::run(desk, handed_over, pulse, shutdown.clone()))],
        })
    }
}

#[cfg(test)]
mod tests;
