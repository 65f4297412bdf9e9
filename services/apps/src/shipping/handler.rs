//! Puts on record what orders ask of the shipping service. The carrier is asked when that is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::{
    Envelope, Event, OrderId, ShipmentId, ShippingDelivered, ShippingFailed, ShippingFailure, Topic,
};
use domain::after;
use domain::shipment::{ShipmentInput, ShipmentNews, ShipmentStatus, react};
use jiff::Timestamp;
use messaging::{Deduplication, Delivery, Effects, HandleError, Handler};
use uuid::Uuid;

use super::metrics::Metrics;
use super::store::{self, Change, Shipment, Task};
use crate::provider::worker::{Handover, LEASE};

/// Records shipments to be booked, parcels that leave, and bookings to be taken back.
#[derive(Debug, Clone)]
pub struct ShippingHandler {
    handover: Handover<Task>,
    transit: Duration,
    metrics: Metrics,
}

impl ShippingHandler {
    /// A handler that hands over what it has recorded. A parcel that leaves arrives after `transit`.
    pub(super) fn new(handover: Handover<Task>, transit: Duration, metrics: Metrics) -> Self {
        Self { handover, transit, metrics }
    }
}

impl Handler for ShippingHandler {
    // The row of an order tells what came: each status that an event leads to is left by others only.
    const DEDUPLICATION: Deduplication = Deduplication::OwnRows;

    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let requests = batch.iter().map(Request::of).collect::<Result<Vec<_>, _>>()?;
        let place = self.handover.reserve();
        let plan = Plan {
            // Leased, if this process works it off at once; else due for whoever comes.
            ask_at: if place.is_some() { after(fx.now(), LEASE) } else { fx.now() },
            arrival: after(fx.now(), self.transit),
        };
        let mut book = Book::open(fx, &requests, plan).await?;
        for request in &requests {
            let mut news = book.enter(request, request.input, fx.now());
            if request.input == ShipmentInput::OrderConfirmed && self.transit.is_zero() {
                news = news.or(book.enter(request, ShipmentInput::Arrived, fx.now()));
            }
            if let Some(news) = news {
                self.metrics.count(news);
                fx.emit(book.announcement(request.order_id, news, fx.now()), request.delivery);
            }
        }
        let tasks = book.close(fx, plan).await?;
        if let Some(place) = place.filter(|_| !tasks.is_empty()) {
            fx.after_commit(move || drop(place.send(tasks)));
        }
        Ok(())
    }
}

/// When what is recorded now is to be done.
#[derive(Debug, Clone, Copy)]
struct Plan {
    ask_at: Timestamp,
    arrival: Timestamp,
}

impl Plan {
    fn due_at(self, status: ShipmentStatus) -> Timestamp {
        if status == ShipmentStatus::Dispatched { self.arrival } else { self.ask_at }
    }
}

/// What an event asks of the shipping service.
struct Request<'a> {
    order_id: OrderId,
    input: ShipmentInput,
    delivery: &'a Delivery,
}

impl<'a> Request<'a> {
    fn of(delivery: &'a Delivery) -> Result<Self, HandleError> {
        let event = &delivery.envelope.event;
        let input = match delivery.topic {
            Topic::OrdersCancelled => ShipmentInput::OrderCancelled,
            Topic::OrdersConfirmed => ShipmentInput::OrderConfirmed,
            _ => ShipmentInput::Asked,
        };
        match event.order_id().filter(|_| event.details().is_some()) {
            Some(order_id) => Ok(Self { order_id, input, delivery }),
            None => {
                let reason = format!("{} asks nothing of the shipping service", event.event_type());
                Err(HandleError::permanent(reason))
            }
        }
    }

    /// The shipment of an order that was never heard of, if this request opens one.
    fn opening(&self, now: Timestamp) -> Option<Shipment> {
        let (status, _) = react(None, self.input)?;
        Some(Shipment {
            order_id: self.order_id,
            shipment_id: ShipmentId::new(Uuid::now_v7()),
            status,
            booking: None,
            detail: None,
            attempts: 0,
            created_at: now,
            updated_at: now,
        })
    }
}

/// The shipments of a batch.
struct Book<'a> {
    /// Orders that were opened, and whose opening request is still to come.
    opened: BTreeSet<OrderId>,
    shipments: BTreeMap<OrderId, Shipment>,
    /// Of the shipments that were opened or changed: the event that makes it necessary to do something.
    causes: BTreeMap<OrderId, &'a Envelope>,
    changed: BTreeSet<OrderId>,
}

impl<'a> Book<'a> {
    /// Inserts shipments for orders that are new, and locks those on record that more is asked of.
    async fn open(fx: &mut Effects<'_>, requests: &[Request<'a>], plan: Plan) -> Result<Self, HandleError> {
        let mut drafts: BTreeMap<OrderId, (Shipment, &'a Envelope)> = BTreeMap::new();
        for request in requests {
            if let Some(opening) = request.opening(fx.now()) {
                drafts.entry(request.order_id).or_insert((opening, &request.delivery.envelope));
            }
        }
        let opened = if drafts.is_empty() {
            BTreeSet::new()
        } else {
            let changes: Vec<_> = drafts
                .values()
                .map(|(shipment, cause)| Change::of(shipment, Some(cause), plan.ask_at))
                .collect();
            store::open(fx.conn(), &changes).await?
        };
        let asked: BTreeSet<OrderId> = requests.iter().map(|request| request.order_id).collect();
        let known: BTreeSet<OrderId> = asked.difference(&opened).copied().collect();
        let mut shipments =
            if known.is_empty() { BTreeMap::new() } else { store::lock(fx.conn(), &known).await? };
        let mut causes = BTreeMap::new();
        for (order, (shipment, cause)) in drafts.into_iter().filter(|(order, _)| opened.contains(order)) {
            if shipment.status.is_open() {
                causes.insert(order, cause);
            }
            shipments.insert(order, shipment);
        }
        Ok(Self { opened, shipments, causes, changed: BTreeSet::new() })
    }

    /// Enters what a request says, and returns what is to be told about it.
    fn enter(&mut self, request: &Request<'a>, input: ShipmentInput, now: Timestamp) -> Option<ShipmentNews> {
        if react(None, input).is_some() && self.opened.remove(&request.order_id) {
            return None;
        }
        let shipment = self.shipments.get_mut(&request.order_id)?;
        let (status, news) = react(Some(shipment.status), input)?;
        (shipment.status, shipment.attempts, shipment.updated_at) = (status, 0, now);
        self.changed.insert(request.order_id);
        if status.is_open() {
            self.causes.insert(request.order_id, &request.delivery.envelope);
        } else {
            self.causes.remove(&request.order_id);
        }
        news
    }

    fn announcement(&self, order_id: OrderId, news: ShipmentNews, now: Timestamp) -> Event {
        match self.shipments.get(&order_id).filter(|_| news == ShipmentNews::Delivered) {
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

    /// Saves what changed. Returns what the carrier is to be asked.
    async fn close(mut self, fx: &mut Effects<'_>, plan: Plan) -> Result<Vec<Task>, HandleError> {
        let changes: Vec<_> = self
            .changed
            .iter()
            .filter_map(|order| {
                let shipment = self.shipments.get(order)?;
                let cause = self.causes.get(order).copied();
                Some(Change::of(shipment, cause, plan.due_at(shipment.status)))
            })
            .collect();
        store::save(fx.conn(), &changes).await?;
        let tasks = self.causes.into_iter().filter_map(|(order, cause)| {
            let shipment = self.shipments.remove(&order)?;
            let is_asked = shipment.status != ShipmentStatus::Dispatched;
            is_asked.then(|| Task { shipment, cause: cause.clone() })
        });
        Ok(tasks.collect())
    }
}
