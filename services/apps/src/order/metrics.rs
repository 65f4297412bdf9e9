//! What Prometheus sees of orders.

use domain::saga::OrderStatus;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};
use sqlx::PgPool;

use super::store;

/// The metrics of the order service.
#[derive(Debug, Clone)]
pub struct Metrics {
    transitions: IntCounterVec,
    in_flight: IntGaugeVec,
    requests: IntCounterVec,
    /// Orders per intake transaction.
    pub batch_size: Histogram,
}

/// What became of a request for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// A new order.
    Accepted,
    /// The answer of an earlier, equal request.
    Replayed,
    /// Fields at fault, or a contradiction to an earlier request.
    Refused,
    /// No answer could be given now.
    Unavailable,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// The registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let transitions = IntCounterVec::new(
            Opts::new(
                "saga_transitions_total",
                "Decisions that changed an order's state; counted again where a transaction had to be repeated.",
            ),
            &["from", "to"],
        )?;
        let in_flight = IntGaugeVec::new(
            Opts::new("saga_in_flight", "Orders that have not ended, of all replicas together."),
            &["state"],
        )?;
        let requests = IntCounterVec::new(
            Opts::new("order_requests_total", "Requests for an order, by what became of them."),
            &["outcome"],
        )?;
        let batch_size = Histogram::with_opts(
            HistogramOpts::new("order_intake_batch_size_orders", "Orders accepted per transaction.")
                .buckets(prometheus::exponential_buckets(1.0, 2.0, 9)?),
        )?;
        registry.register(Box::new(transitions.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(batch_size.clone()))?;
        Ok(Self { transitions, in_flight, requests, batch_size })
    }

    /// Counts a request.
    pub fn count_request(&self, outcome: Outcome) {
        self.requests.with_label_values(&[<&str>::from(outcome)]).inc();
    }

    /// Counts a change of state.
    pub fn count_transition(&self, from: &OrderStatus, to: &OrderStatus) {
        if from.name() != to.name() {
            self.transitions.with_label_values(&[from.name(), to.name()]).inc();
        }
    }

    /// Sets what is derived from the database.
    pub async fn refresh(&self, pool: &PgPool) {
        let counted = async {
            let mut conn = pool.acquire().await?;
            store::in_flight(&mut conn).await
        };
        match counted.await {
            Ok(counts) => {
                for status in [OrderStatus::Pending, OrderStatus::Confirmed] {
                    let count = counts.iter().find(|(name, _)| name == status.name()).map_or(0, |(_, n)| *n);
                    self.in_flight.with_label_values(&[status.name()]).set(count);
                }
            }
            Err(error) => tracing::warn!(error = %error, "the orders in flight could not be counted"),
        }
    }
}
