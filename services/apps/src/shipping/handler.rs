//! Puts on record what orders ask of the shipping service. The carrier is asked when that is committed.

use std::time::Duration;

use contract::{Event, OrderId, ShippingDelivered, ShippingFailed, ShippingFailure, Step, Topic};
use domain::after;
use domain::shipment::{ShipmentInput, ShipmentNews, ShipmentStatus};
use jiff::Timestamp;
use messaging::{Deduplication, Delivery, Effects, HandleError, Handler};

use super::store::Shipment;
use crate::provider::book::{Book, Request};
use crate::provider::desk::NewsCounter;
use crate::provider::record::Task;
use crate::provider::worker::Handover;

/// Records shipments to be booked, parcels that leave, and bookings to be taken back.
#[derive(Debug, Clone)]
pub struct ShippingHandler {
    handover: Handover<Task<Shipment>>,
    transit: Duration,
    news: NewsCounter,
}

impl ShippingHandler {
    /// A handler that hands over what it has recorded. A parcel that leaves arrives after `transit`.
    pub(super) fn new(handover: Handover<Task<Shipment>>, transit: Duration, news: NewsCounter) -> Self {
        Self { handover, transit, news }
    }
}

impl Handler for ShippingHandler {
    // The row of an order tells what came: each status that an event leads to is left by others only.
    const DEDUPLICATION: Deduplication = Deduplication::OwnRows;

    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let requests = batch
            .iter()
            .filter(|delivery| delivery.envelope.event.concerns(Step::Shipping))
            .map(|delivery| Request::of(delivery, input_of(delivery)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut book = Book::open(fx, &requests, &self.handover).await?;
        for request in &requests {
            let mut news = book.enter(request, request.input, fx.now());
            if request.input == ShipmentInput::OrderConfirmed && self.transit.is_zero() {
                news = news.or(book.enter(request, ShipmentInput::Arrived, fx.now()));
            }
            if let Some(news) = news {
                self.news.count(news);
                fx.emit(announcement(&book, request.order_id, news, fx.now()), request.delivery);
            }
        }
        let arrival = after(fx.now(), self.transit);
        book.close(fx, |status| (status == ShipmentStatus::Dispatched).then_some(arrival)).await
    }
}

fn input_of(delivery: &Delivery) -> ShipmentInput {
    match delivery.topic {
        Topic::OrdersCancelled => ShipmentInput::OrderCancelled,
        Topic::OrdersConfirmed => ShipmentInput::OrderConfirmed,
        _ => ShipmentInput::Asked,
    }
}

fn announcement(book: &Book<'_, Shipment>, order_id: OrderId, news: ShipmentNews, now: Timestamp) -> Event {
    match book.record(order_id).filter(|_| news == ShipmentNews::Delivered) {
        Some(shipment) => {
            ShippingDelivered { order_id, shipment_id: shipment.shipment_id, delivered_at: now }.into()
        }
        // The only other news that no carrier is asked for.
        None => {
            let reason = ShippingFailure::OrderCancelled;
            ShippingFailed { order_id, reason, detail: "the order had been cancelled".to_owned() }.into()
        }
    }
}
