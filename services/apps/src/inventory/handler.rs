//! What the inventory does when something happens to an order.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::{
    CorrelationId, Event, InventoryFailed, InventoryFailure, InventoryReleased, InventoryReserved,
    InventoryUpdated, OrderDetails, OrderId, ProductId, Step, StockItem,
};
use domain::after;
use domain::stock::{StockError, StockLevel};
use domain::warehouse::{Outcome, Warehouse};
use jiff::Timestamp;
use messaging::{Deduplication, Delivery, Effects, HandleError, Handler};

use super::metrics::Metrics;
use super::store::{self, SaveError, Stories};
use super::{queue, waker::Waker};

/// Reserves, sells and releases what orders ask for.
#[derive(Debug, Clone)]
pub struct StockHandler {
    terms: Terms,
    waker: Waker,
    metrics: Metrics,
}

/// How long orders hold stock, and wait for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// How long stock is held for an order that is not decided.
    pub reservation_ttl: Duration,
    /// How long an order waits for stock; none: it does not wait.
    pub backorder_timeout: Option<Duration>,
}

impl StockHandler {
    /// A handler that reserves on these terms, and says when there is stock for those who wait.
    pub(super) fn new(terms: Terms, waker: Waker, metrics: Metrics) -> Self {
        Self { terms, waker, metrics }
    }
}

impl Handler for StockHandler {
    // The row of an order tells what came: each status that an event leads to is left by others only.
    const DEDUPLICATION: Deduplication = Deduplication::OwnRows;

    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let concerned = batch.iter().filter(|delivery| delivery.envelope.event.concerns(Step::Inventory));
        let requests = concerned.map(Request::of).collect::<Result<Vec<_>, _>>()?;
        let now = fx.now();
        let wait_until = self.terms.backorder_timeout.map(|timeout| after(now, timeout));
        let mut warehouse = load(fx, &requests).await?.letting_orders_wait(wait_until);
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in &requests {
            let outcome = request.put_to(&mut warehouse, now, self.terms.reservation_ttl)?;
            if let Some(event) = answer(request.order_id, request.details, &outcome) {
                fx.emit(event, request.delivery);
            }
            outcomes.push((request.order_id, outcome));
        }
        let stories = requests.iter().map(|request| (request.order_id, request.story())).collect();
        save(fx, &warehouse, &requests, &stories).await?;
        for (product, level) in warehouse.changed_levels() {
            if let Some(cause) = last_to_touch(product, &requests) {
                fx.emit(updated(product, *level), cause);
            }
        }
        if warehouse.changed_levels().any(|(_, level)| is_awaited(*level)) {
            let waker = self.waker.clone();
            fx.after_commit(move || waker.wake());
        }
        outcomes.iter().for_each(|(order, outcome)| self.metrics.count(*order, &stories, outcome));
        Ok(())
    }
}

async fn save(
    fx: &mut Effects<'_>,
    warehouse: &Warehouse,
    requests: &[Request<'_>],
    stories: &Stories,
) -> Result<(), HandleError> {
    let now = fx.now();
    store::save(fx.conn(), warehouse, stories, now).await.map_err(|error| match error {
        SaveError::Database(error) => error.into(),
        // Two replicas had the same event. The other one is done: the next look sees what it did.
        error @ SaveError::Overtaken => HandleError::transient_because("another replica was quicker", error),
    })?;
    let asking = requests.iter().filter(|request| matches!(request.wish, Wish::Reserve));
    let asked: Vec<_> = asking.map(|request| &request.delivery.envelope).collect();
    Ok(queue::save(fx.conn(), warehouse, &asked).await?)
}

async fn load(fx: &mut Effects<'_>, requests: &[Request<'_>]) -> Result<Warehouse, sqlx::Error> {
    let orders: BTreeSet<OrderId> = requests.iter().map(|request| request.order_id).collect();
    let products: BTreeSet<ProductId> = requests.iter().flat_map(Request::products).cloned().collect();
    store::load(fx.conn(), &orders.into_iter().collect::<Vec<_>>(), &products).await
}

/// What an event asks of the inventory.
struct Request<'a> {
    order_id: OrderId,
    wish: Wish,
    details: &'a OrderDetails,
    delivery: &'a Delivery,
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Reserve,
    Sell,
    Release,
}

impl<'a> Request<'a> {
    fn of(delivery: &'a Delivery) -> Result<Self, HandleError> {
        let (wish, order_id, details) = match &delivery.envelope.event {
            Event::OrderCreated(order) => (Wish::Reserve, order.order_id, &order.details),
            Event::OrderConfirmed(order) => (Wish::Sell, order.order_id, &order.details),
            Event::OrderCancelled(order) => (Wish::Release, order.order_id, &order.details),
            other @ (Event::OrderCompleted(_)
            | Event::InventoryReserved(_)
            | Event::InventoryFailed(_)
            | Event::InventoryReleased(_)
            | Event::InventoryUpdated(_)
            | Event::PaymentCaptured(_)
            | Event::PaymentFailed(_)
            | Event::PaymentRefunded(_)
            | Event::ShippingScheduled(_)
            | Event::ShippingFailed(_)
            | Event::ShippingDelivered(_)
            | Event::ShippingCancelled(_)
            | Event::NotificationSent(_)
            | Event::SalesUpdated(_)) => {
                let reason = format!("{} asks nothing of the inventory", other.event_type());
                return Err(HandleError::permanent(reason));
            }
        };
        Ok(Self { order_id, wish, details, delivery })
    }

    fn products(&self) -> impl Iterator<Item = &'a ProductId> {
        self.details.items.iter().map(|item| &item.product_id)
    }

    fn story(&self) -> CorrelationId {
        self.delivery.envelope.correlation_id.clone()
    }

    fn put_to(
        &self,
        warehouse: &mut Warehouse,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Outcome, HandleError> {
        let items: Vec<StockItem> = self
            .details
            .items
            .iter()
            .map(|item| StockItem { product_id: item.product_id.clone(), quantity: item.quantity })
            .collect();
        let outcome = match self.wish {
            Wish::Reserve => warehouse.on_created(self.order_id, &items, after(now, ttl)),
            Wish::Sell => warehouse.on_confirmed(self.order_id, &items, now),
            Wish::Release => warehouse.on_cancelled(self.order_id, now),
        };
        outcome.map_err(|error| broken_books(self.order_id, error))
    }
}

/// What everybody is told about the outcome, where it is news.
pub(super) fn answer(order_id: OrderId, details: &OrderDetails, outcome: &Outcome) -> Option<Event> {
    match outcome.clone() {
        Outcome::Reserved { items, expires_at } => {
            let details = details.clone();
            Some(InventoryReserved { order_id, items, expires_at, details }.into())
        }
        Outcome::Refused { reason, shortages } => {
            Some(InventoryFailed { order_id, reason, shortages, waits_until: None }.into())
        }
        Outcome::Waits { until, shortages } => {
            let (reason, waits_until) = (InventoryFailure::OutOfStock, Some(until));
            Some(InventoryFailed { order_id, reason, shortages, waits_until }.into())
        }
        Outcome::Released { items, reason } => Some(InventoryReleased { order_id, items, reason }.into()),
        Outcome::Sold | Outcome::Withdrawn | Outcome::Oversold { .. } | Outcome::Nothing => None,
    }
}

/// Whether there are units, and orders that wait for them.
pub(super) fn is_awaited(level: StockLevel) -> bool {
    level.backordered > 0 && level.on_hand > 0
}

/// Trying again would find the same books; a dead letter keeps the event until somebody has mended them.
fn broken_books(order_id: OrderId, error: StockError) -> HandleError {
    HandleError::permanent_because(format!("the stock of order {order_id} cannot be moved"), error)
}

/// A product's new levels.
pub(super) fn updated(product: &ProductId, level: StockLevel) -> InventoryUpdated {
    InventoryUpdated {
        product_id: product.clone(),
        on_hand: level.on_hand,
        reserved: level.reserved,
        sold: level.sold,
        available: level.available(),
    }
}

/// The cause of a product's new levels: of all events of the batch that touched it, the last.
fn last_to_touch<'a>(product: &ProductId, requests: &[Request<'a>]) -> Option<&'a Delivery> {
    let touching = requests.iter().rev().find(|request| request.products().any(|other| other == product));
    // What is released stands on record; should the event not name it, the batch's last one has to do.
    touching.or(requests.last()).map(|request| request.delivery)
}
