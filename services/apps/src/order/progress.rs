//! One input, one order: asks the domain what follows and puts it into events. Shared by the handler (inputs
//! from Kafka) and the sweeper (inputs from the clock).

use std::collections::BTreeMap;

use contract::{Event, OrderCancelled, OrderCompleted, OrderConfirmed, OrderDetails, OrderId};
use domain::saga::{self, Announcement, Effect, Input, Transition};
use jiff::Timestamp;
use messaging::HandleError;

use super::metrics::Metrics;
use super::store::{Origin, StoredSaga};

/// A saga and the version its row has.
#[derive(Debug)]
pub struct Loaded {
    /// The saga as it is now.
    pub stored: StoredSaga,
    stored_version: i64,
}

/// Something to tell about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The order.
    pub order_id: OrderId,
    announcement: Announcement,
}

impl Loaded {
    /// A saga as it was just read.
    pub fn new(stored: StoredSaga) -> Self {
        Self { stored_version: stored.saga.version, stored }
    }

    /// The version of the row.
    pub fn stored_version(&self) -> i64 {
        self.stored_version
    }

    /// Whether there is something to save.
    pub fn is_changed(&self) -> bool {
        self.stored.saga.version != self.stored_version
    }

    /// Moves the order by `input` and returns what is to be told. An input that changes nothing is logged and
    /// forgotten: duplicates and late answers are normal.
    pub fn advance(&mut self, input: Input, now: Timestamp, metrics: &Metrics) -> Vec<News> {
        let order_id = self.stored.order_id;
        let Transition { next, effects } = saga::advance(&self.stored.saga, input.clone(), now);
        if next.version == self.stored.saga.version {
            tracing::debug!(order.id = %order_id, saga.state = next.status.name(), ?input, "nothing changes");
            return Vec::new();
        }
        metrics.count_transition(&self.stored.saga.status, &next.status);
        // Not `info`: thousands a second say less than the metric.
        tracing::debug!(
            order.id = %order_id, saga.state = next.status.name(),
            "order {order_id} went from {} to {}", self.stored.saga.status.name(), next.status.name(),
        );
        self.stored.saga = next;
        let news = |Effect::Publish(announcement)| News { order_id, announcement };
        effects.into_iter().map(news).collect()
    }

    /// The event that tells `news`.
    ///
    /// # Errors
    /// `origins` lack an order of which everything has to be told: its row is gone, which only a hand can do.
    pub fn tell(&self, news: News, origins: &BTreeMap<OrderId, Origin>) -> Result<Event, HandleError> {
        let News { order_id, announcement } = news;
        Ok(match announcement {
            Announcement::Confirmed => {
                OrderConfirmed { order_id, details: details(order_id, origins)? }.into()
            }
            Announcement::Completed => OrderCompleted { order_id, total: self.stored.total }.into(),
            Announcement::Cancelled { reason, detail } => {
                OrderCancelled { order_id, details: details(order_id, origins)?, reason, detail }.into()
            }
        })
    }
}

impl News {
    /// Whether it is told with all that was ordered, which has to be loaded for it.
    pub fn needs_details(&self) -> bool {
        !matches!(self.announcement, Announcement::Completed)
    }
}

fn details(order_id: OrderId, origins: &BTreeMap<OrderId, Origin>) -> Result<OrderDetails, HandleError> {
    let origin = origins.get(&order_id);
    origin
        .map(|origin| origin.details.clone())
        .ok_or_else(|| HandleError::permanent(format!("order {order_id} has a saga and no order")))
}
