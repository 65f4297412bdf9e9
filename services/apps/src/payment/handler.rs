//! Puts on record what orders ask of the payment service. The provider is asked when that is committed.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Envelope, Event, Money, OrderId, PaymentFailed, PaymentFailure, PaymentId, Topic};
use domain::after;
use domain::payment::{PaymentInput, PaymentNews, react};
use jiff::Timestamp;
use messaging::{Deduplication, Delivery, Effects, HandleError, Handler};
use uuid::Uuid;

use super::metrics::Metrics;
use super::store::{self, Change, Payment, Task};
use crate::provider::worker::{Handover, LEASE};

/// Records payments to be asked for, and payments to be taken back.
#[derive(Debug, Clone)]
pub struct PaymentHandler {
    handover: Handover<Task>,
    metrics: Metrics,
}

impl PaymentHandler {
    /// A handler that hands over what it has recorded.
    pub(super) fn new(handover: Handover<Task>, metrics: Metrics) -> Self {
        Self { handover, metrics }
    }
}

impl Handler for PaymentHandler {
    // The row of an order tells what came: each status that an event leads to is left by others only.
    const DEDUPLICATION: Deduplication = Deduplication::OwnRows;

    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let requests = batch.iter().map(Request::of).collect::<Result<Vec<_>, _>>()?;
        let place = self.handover.reserve();
        // Leased, if this process works it off at once; else due for whoever comes.
        let due_at = if place.is_some() { after(fx.now(), LEASE) } else { fx.now() };
        let mut book = Book::open(fx, &requests, due_at).await?;
        for request in &requests {
            if let Some(news) = book.enter(request, fx.now()) {
                self.metrics.count(news);
                fx.emit(too_late(request.order_id), request.delivery);
            }
        }
        let tasks = book.close(fx, due_at).await?;
        if let Some(place) = place.filter(|_| !tasks.is_empty()) {
            fx.after_commit(move || drop(place.send(tasks)));
        }
        Ok(())
    }
}

/// What an event asks of the payment service.
struct Request<'a> {
    order_id: OrderId,
    input: PaymentInput,
    amount: Money,
    delivery: &'a Delivery,
}

impl<'a> Request<'a> {
    fn of(delivery: &'a Delivery) -> Result<Self, HandleError> {
        let event = &delivery.envelope.event;
        let input = match delivery.topic {
            Topic::OrdersCancelled => PaymentInput::OrderCancelled,
            _ => PaymentInput::Asked,
        };
        match (event.order_id(), event.details()) {
            (Some(order_id), Some(details)) => Ok(Self { order_id, input, amount: details.total, delivery }),
            _ => {
                let reason = format!("{} asks nothing of the payment service", event.event_type());
                Err(HandleError::permanent(reason))
            }
        }
    }

    /// The payment of an order that was never heard of, if this request opens one.
    fn opening(&self, now: Timestamp) -> Option<Payment> {
        let (status, _) = react(None, self.input)?;
        Some(Payment {
            order_id: self.order_id,
            payment_id: PaymentId::new(Uuid::now_v7()),
            status,
            amount: self.amount,
            detail: None,
            attempts: 0,
            created_at: now,
            updated_at: now,
        })
    }
}

/// The payments of a batch.
struct Book<'a> {
    /// Orders that were opened, and whose opening request is still to come.
    opened: BTreeSet<OrderId>,
    payments: BTreeMap<OrderId, Payment>,
    /// Of the payments that were opened or changed: the event that makes it necessary to ask the provider.
    causes: BTreeMap<OrderId, &'a Envelope>,
    changed: BTreeSet<OrderId>,
}

impl<'a> Book<'a> {
    /// Inserts payments for orders that are new, and locks those on record that more is asked of.
    async fn open(
        fx: &mut Effects<'_>,
        requests: &[Request<'a>],
        due_at: Timestamp,
    ) -> Result<Self, HandleError> {
        let mut drafts: BTreeMap<OrderId, (Payment, &'a Envelope)> = BTreeMap::new();
        for request in requests {
            if let Some(opening) = request.opening(fx.now()) {
                drafts.entry(request.order_id).or_insert((opening, &request.delivery.envelope));
            }
        }
        let changes: Vec<_> =
            drafts.values().map(|(payment, cause)| Change::of(payment, Some(cause), due_at)).collect();
        let opened = store::open(fx.conn(), &changes).await?;
        let known: BTreeSet<OrderId> =
            drafts.keys().copied().filter(|order| !opened.contains(order)).collect();
        let mut payments =
            if known.is_empty() { BTreeMap::new() } else { store::lock(fx.conn(), &known).await? };
        let mut causes = BTreeMap::new();
        for (order, (payment, cause)) in drafts.into_iter().filter(|(order, _)| opened.contains(order)) {
            if payment.status.is_open() {
                causes.insert(order, cause);
            }
            payments.insert(order, payment);
        }
        Ok(Self { opened, payments, causes, changed: BTreeSet::new() })
    }

    /// Enters a request, and returns what is to be told about it.
    fn enter(&mut self, request: &Request<'a>, now: Timestamp) -> Option<PaymentNews> {
        if self.opened.remove(&request.order_id) {
            return None;
        }
        let payment = self.payments.get_mut(&request.order_id)?;
        let (status, news) = react(Some(payment.status), request.input)?;
        (payment.status, payment.attempts, payment.updated_at) = (status, 0, now);
        self.changed.insert(request.order_id);
        if status.is_open() {
            self.causes.insert(request.order_id, &request.delivery.envelope);
        } else {
            self.causes.remove(&request.order_id);
        }
        news
    }

    /// Saves what changed. Returns what the provider is to be asked.
    async fn close(mut self, fx: &mut Effects<'_>, due_at: Timestamp) -> Result<Vec<Task>, HandleError> {
        let changes: Vec<_> = self
            .changed
            .iter()
            .filter_map(|order| {
                let payment = self.payments.get(order)?;
                Some(Change::of(payment, self.causes.get(order).copied(), due_at))
            })
            .collect();
        store::save(fx.conn(), &changes).await?;
        let tasks = self.causes.into_iter().filter_map(|(order, cause)| {
            Some(Task { payment: self.payments.remove(&order)?, cause: cause.clone() })
        });
        Ok(tasks.collect())
    }
}

fn too_late(order_id: OrderId) -> Event {
    let (reason, detail) = (PaymentFailure::OrderCancelled, "the order had been cancelled".to_owned());
    PaymentFailed { order_id, reason, detail }.into()
}
