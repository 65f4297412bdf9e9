//! What the inventory counts.

use contract::{CorrelationId, OrderId};
use domain::warehouse::Outcome;
use prometheus::{IntCounterVec, Opts, Registry};

use super::store::Stories;

/// Counters of the inventory. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    reservations: IntCounterVec,
}

impl Metrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When `registry` has them already.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reservations = IntCounterVec::new(
            Opts::new(
                "inventory_reservations_total",
                "What became of requests for stock; requests that changed nothing are not counted.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(reservations.clone()))?;
        Ok(Self { reservations })
    }

    /// Counts an outcome, and calls for help where only a human can go on; `stories` has the order's.
    pub(super) fn count(&self, order: OrderId, stories: &Stories, outcome: &Outcome) {
        let label = match outcome {
            Outcome::Reserved { .. } => "reserved",
            Outcome::Refused { .. } => "refused",
            Outcome::Waits { .. } => "backordered",
            Outcome::Withdrawn => "withdrawn",
            Outcome::Sold => "sold",
            Outcome::Released { .. } => "released",
            Outcome::Oversold { shortages } => {
                let missing = shortages.iter().map(|short| short.product_id.as_str()).collect::<Vec<_>>();
                tracing::error!(
                    order.id = %order, products = missing.join(", "),
                    correlation_id = stories.get(&order).map(CorrelationId::as_str),
                    "a confirmed order cannot be served: its reservation had expired and its units are gone"
                );
                "oversold"
            }
            Outcome::Nothing => return,
        };
        self.reservations.with_label_values(&[label]).inc();
    }
}
