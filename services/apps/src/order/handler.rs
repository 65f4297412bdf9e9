//! What other services' events mean for orders.

use std::collections::BTreeMap;

use contract::{
    CancelReason, Event, InventoryFailed, InventoryFailure, OrderId, PaymentFailed, PaymentFailure,
    ReleaseReason, ShippingFailed, ShippingFailure, Shortage, Step,
};
use domain::saga::Input;
use messaging::{Deduplication, Delivery, Effects, HandleError, Handler};

use super::metrics::Metrics;
use super::progress::{Loaded, News};
use super::store;
use super::watch::Watch;

/// Moves orders along their sagas.
#[derive(Clone)]
pub struct OrderHandler {
    metrics: Metrics,
    watch: Watch,
}

impl OrderHandler {
    /// A handler that wakes the requests that wait at `watch`.
    pub fn new(metrics: Metrics, watch: Watch) -> Self {
        Self { metrics, watch }
    }
}

impl Handler for OrderHandler {
    /// Each event's effect is a step of the saga in its row, from which none leads back: coming again it finds
    /// that step taken. The rows are locked before they are read, and are never deleted.
    const DEDUPLICATION: Deduplication = Deduplication::OwnRows;

    /// Loads and locks the sagas of the batch, moves each by its events in their order, saves all that changed
    /// and tells it. Three statements at most, whatever the size of the batch.
    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let inputs: Vec<_> =
            batch.iter().filter_map(|delivery| input_of(delivery).map(|i| (delivery, i))).collect();
        let ids: Vec<OrderId> = inputs.iter().map(|(_, (id, _))| *id).collect();
        let stored = store::lock(fx.conn(), &ids).await?;
        let mut sagas: BTreeMap<OrderId, Loaded> =
            stored.into_iter().map(|stored| (stored.order_id, Loaded::new(stored))).collect();
        let mut news = Vec::new();
        for (delivery, (id, input)) in inputs {
            let correlation_id = delivery.envelope.correlation_id.as_str();
            match sagas.get_mut(&id) {
                Some(loaded) => {
                    // A span, because it costs nothing where its level is not logged.
                    let _story = tracing::debug_span!("event", correlation_id).entered();
                    let told = loaded.advance(input, fx.now(), &self.metrics);
                    news.extend(told.into_iter().map(|item| (item, delivery)));
                }
                // Every order is committed before its event leaves, so this one is not of this database.
                None => tracing::warn!(
                    order.id = %id, message.type = delivery.envelope.event.event_type(), correlation_id,
                    "an event speaks of order {id}, which does not exist here",
                ),
            }
        }
        self.save(fx, &sagas).await?;
        tell(fx, &sagas, news).await
    }
}

/// Publishes `news`, each as an effect of its delivery.
async fn tell(
    fx: &mut Effects<'_>,
    sagas: &BTreeMap<OrderId, Loaded>,
    news: Vec<(News, &Delivery)>,
) -> Result<(), HandleError> {
    let in_full: Vec<OrderId> =
        news.iter().filter(|(news, _)| news.needs_details()).map(|(news, _)| news.order_id).collect();
    let origins =
        if in_full.is_empty() { BTreeMap::new() } else { store::origins(fx.conn(), &in_full).await? };
    for (news, delivery) in news {
        if let Some(loaded) = sagas.get(&news.order_id) {
            fx.emit(loaded.tell(news, &origins)?, delivery);
        }
    }
    Ok(())
}

impl OrderHandler {
    async fn save(&self, fx: &mut Effects<'_>, sagas: &BTreeMap<OrderId, Loaded>) -> Result<(), HandleError> {
        let changed: Vec<&Loaded> = sagas.values().filter(|loaded| loaded.is_changed()).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let now = fx.now();
        save_all(fx.conn(), &changed, now).await?;
        if changed.iter().any(|loaded| loaded.stored.saga.status.is_terminal()) {
            // Before the commit, which is not ours: whoever waits looks again until it is visible.
            self.watch.touch();
        }
        Ok(())
    }
}

/// Saves sagas whose rows are locked.
///
/// # Errors
/// When a row changed in spite of its lock, which only a bug can do; the transaction must not commit.
pub async fn save_all(
    conn: &mut sqlx::PgConnection,
    changed: &[&Loaded],
    now: jiff::Timestamp,
) -> Result<(), HandleError> {
    let sagas: Vec<_> = changed.iter().map(|loaded| &loaded.stored).collect();
    let versions: Vec<_> = changed.iter().map(|loaded| loaded.stored_version()).collect();
    let saved = store::save(conn, &sagas, &versions, now).await?;
    if usize::try_from(saved) == Ok(changed.len()) {
        return Ok(());
    }
    Err(HandleError::transient(format!("only {saved} of {} orders had the expected version", changed.len())))
}

/// The order that an event is about and what it means for it; nothing, for events that are not ours to read.
pub(super) fn input_of(delivery: &Delivery) -> Option<(OrderId, Input)> {
    match &delivery.envelope.event {
        Event::InventoryReserved(event) => Some((event.order_id, Input::StepSucceeded(Step::Inventory))),
        Event::InventoryFailed(event) => Some((event.order_id, not_reserved(event))),
        Event::InventoryReleased(event) => Some((event.order_id, taken_back(event.reason)?)),
        Event::PaymentCaptured(event) => Some((event.order_id, Input::StepSucceeded(Step::Payment))),
        Event::PaymentFailed(event) => Some((event.order_id, not_paid(event))),
        Event::ShippingScheduled(event) => Some((event.order_id, Input::StepSucceeded(Step::Shipping))),
        Event::ShippingFailed(event) => Some((event.order_id, not_shipped(event))),
        Event::ShippingDelivered(event) => Some((event.order_id, Input::Delivered)),
        Event::NotificationSent(event) => Some((event.order_id, Input::Notified(event.kind))),
        Event::OrderCreated(_)
        | Event::OrderConfirmed(_)
        | Event::OrderCompleted(_)
        | Event::OrderCancelled(_)
        | Event::InventoryUpdated(_)
        | Event::PaymentRefunded(_)
        | Event::ShippingCancelled(_)
        | Event::SalesUpdated(_) => None,
    }
}

fn not_reserved(event: &InventoryFailed) -> Input {
    if let Some(until) = event.waits_until {
        return Input::StepWaits { step: Step::Inventory, until };
    }
    let (reason, detail) = match event.reason {
        InventoryFailure::OutOfStock => (CancelReason::OutOfStock, "there is not enough stock"),
        InventoryFailure::UnknownProduct => (CancelReason::UnknownProduct, "a product is unknown"),
        InventoryFailure::OrderCancelled => (CancelReason::StepRefused, "the order had been cancelled"),
    };
    let shortages: Vec<String> = event.shortages.iter().map(shortage).collect();
    let detail =
        if shortages.is_empty() { detail.to_owned() } else { format!("{detail}: {}", shortages.join(", ")) };
    Input::StepFailed { step: Step::Inventory, reason, detail }
}

/// What is free again because the order was cancelled is no news.
fn taken_back(reason: ReleaseReason) -> Option<Input> {
    match reason {
        ReleaseReason::Expired => Some(Input::StepFailed {
            step: Step::Inventory,
            reason: CancelReason::StepTimedOut,
            detail: "its units were held too long and are free again".to_owned(),
        }),
        ReleaseReason::OrderCancelled => None,
    }
}

fn not_paid(event: &PaymentFailed) -> Input {
    let reason = match event.reason {
        PaymentFailure::Declined => CancelReason::PaymentDeclined,
        PaymentFailure::ProviderUnavailable | PaymentFailure::OrderCancelled => CancelReason::StepRefused,
    };
    Input::StepFailed { step: Step::Payment, reason, detail: event.detail.clone() }
}

fn not_shipped(event: &ShippingFailed) -> Input {
    let reason = match event.reason {
        ShippingFailure::Refused => CancelReason::NotShippable,
        ShippingFailure::CarrierUnavailable | ShippingFailure::OrderCancelled => CancelReason::StepRefused,
    };
    Input::StepFailed { step: Step::Shipping, reason, detail: event.detail.clone() }
}

fn shortage(shortage: &Shortage) -> String {
    let Shortage { product_id, requested, available } = shortage;
    format!("{requested} {product_id} ordered, {available} available")
}
