//! One input, one order: asks the domain what follows and puts it into events. Shared by the handler (inputs
//! from Kafka) and the sweeper (inputs from the clock).

use contract::{Event, OrderCancelled, OrderCompleted, OrderConfirmed};
use domain::saga::{self, Announcement, Effect, Input, Transition};
use jiff::Timestamp;

use super::metrics::Metrics;
use super::store::Order;

/// An order and the version its row has.
#[derive(Debug)]
pub struct Loaded {
    /// The order as it is now.
    pub order: Order,
    stored_version: i64,
}

impl Loaded {
    /// An order as it was just read.
    pub fn new(order: Order) -> Self {
        Self { stored_version: order.saga.version, order }
    }

    /// The version of the row.
    pub fn stored_version(&self) -> i64 {
        self.stored_version
    }

    /// Whether there is something to save.
    pub fn is_changed(&self) -> bool {
        self.order.saga.version != self.stored_version
    }

    /// Moves the order by `input` and returns the events that follow. An input that changes nothing is logged
    /// and forgotten: duplicates and late answers are normal.
    pub fn advance(&mut self, input: Input, now: Timestamp, metrics: &Metrics) -> Vec<Event> {
        let Transition { next, effects } = saga::advance(&self.order.saga, input.clone(), now);
        if next.version == self.order.saga.version {
            tracing::debug!(order.id = %self.order.id, saga.state = next.status.name(), ?input, "nothing changes");
            return Vec::new();
        }
        metrics.count_transition(&self.order.saga.status, &next.status);
        let (from, to) = (self.order.saga.status.name(), next.status.name());
        tracing::info!(
            order.id = %self.order.id, correlation_id = %self.order.correlation_id, saga.state = to,
            "order {} went from {from} to {to}", self.order.id,
        );
        self.order.saga = next;
        effects.into_iter().map(|effect| event_of(&self.order, effect)).collect()
    }
}

fn event_of(order: &Order, effect: Effect) -> Event {
    let Effect::Publish(announcement) = effect;
    let (order_id, total) = (order.id, order.details.total);
    let details = || order.details.clone();
    match announcement {
        Announcement::Confirmed => OrderConfirmed { order_id, details: details() }.into(),
        Announcement::Completed => OrderCompleted { order_id, total }.into(),
        Announcement::Cancelled { reason, detail } => {
            OrderCancelled { order_id, details: details(), reason, detail }.into()
        }
    }
}
