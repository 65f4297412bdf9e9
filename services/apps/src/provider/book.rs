//! Puts on record what a batch of events asks of a service, and hands over what its provider is to be asked for.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Envelope, OrderDetails, OrderId};
use domain::after;
use jiff::Timestamp;
use messaging::{Delivery, Effects, HandleError};

use super::record::{Change, Progress, Record, Task};
use super::worker::{Handover, LEASE, Place};

/// What an event asks of a service.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a, I> {
    /// The order.
    pub order_id: OrderId,
    /// What its record is told.
    pub input: I,
    /// The event.
    pub delivery: &'a Delivery,
    details: &'a OrderDetails,
}

impl<'a, I> Request<'a, I> {
    /// What `delivery` asks for, which means `input` to the record of its order.
    ///
    /// # Errors
    /// It is no event about an order with its details.
    pub fn of(delivery: &'a Delivery, input: I) -> Result<Self, HandleError> {
        let event = &delivery.envelope.event;
        match (event.order_id(), event.details()) {
            (Some(order_id), Some(details)) => Ok(Self { order_id, input, delivery, details }),
            _ => Err(HandleError::permanent(format!("{} asks nothing of this service", event.event_type()))),
        }
    }
}

/// The records of a batch.
pub struct Book<'a, R: Record> {
    /// Orders that were opened, and whose opening request is still to come.
    opened: BTreeSet<OrderId>,
    records: BTreeMap<OrderId, R>,
    /// Of the records that were opened or changed: the event that makes it necessary to do something.
    causes: BTreeMap<OrderId, &'a Envelope>,
    changed: BTreeSet<OrderId>,
    /// Where the worker is handed its tasks, if it is not behind.
    place: Option<Place<Task<R>>>,
    /// When the provider is to be asked.
    ask_at: Timestamp,
}

impl<'a, R: Record> Book<'a, R> {
    /// Inserts records for orders that are new, and locks those on record that more is asked of.
    ///
    /// # Errors
    /// The database did not do it.
    pub async fn open(
        fx: &mut Effects<'_>,
        requests: &[Request<'a, R::Input>],
        handover: &Handover<Task<R>>,
    ) -> Result<Self, HandleError> {
        let place = handover.reserve();
        // Leased, if this process works it off at once; else due for whoever comes.
        let ask_at = if place.is_some() { after(fx.now(), LEASE) } else { fx.now() };
        let drafts = drafts(requests, fx.now());
        let changes: Vec<_> =
            drafts.values().map(|(record, cause)| Change::of(record, Some(cause), ask_at)).collect();
        let opened =
            if changes.is_empty() { BTreeSet::new() } else { R::insert(fx.conn(), &changes).await? };
        let asked: BTreeSet<OrderId> = requests.iter().map(|request| request.order_id).collect();
        let known: BTreeSet<OrderId> = asked.difference(&opened).copied().collect();
        let mut records = if known.is_empty() { BTreeMap::new() } else { R::lock(fx.conn(), &known).await? };
        let mut causes = BTreeMap::new();
        for (order, (record, cause)) in drafts.into_iter().filter(|(order, _)| opened.contains(order)) {
            if R::is_open(record.status()) {
                causes.insert(order, cause);
            }
            records.insert(order, record);
        }
        Ok(Self { opened, records, causes, changed: BTreeSet::new(), place, ask_at })
    }

    /// Enters what a request says, and returns what is to be told about it.
    pub fn enter(
        &mut self,
        request: &Request<'a, R::Input>,
        input: R::Input,
        now: Timestamp,
    ) -> Option<R::News> {
        if R::react(None, input).is_some() && self.opened.remove(&request.order_id) {
            return None;
        }
        let progress = self.records.get_mut(&request.order_id)?.progress_mut();
        let (status, news) = R::react(Some(progress.status), input)?;
        progress.move_to(status, now);
        self.changed.insert(request.order_id);
        if R::is_open(status) {
            self.causes.insert(request.order_id, &request.delivery.envelope);
        } else {
            self.causes.remove(&request.order_id);
        }
        news
    }

    /// The record of an order.
    #[must_use]
    pub fn record(&self, order_id: OrderId) -> Option<&R> {
        self.records.get(&order_id)
    }

    /// Saves what changed, and hands over what the provider is to be asked for once that is committed. `later`
    /// says when something is to be done that the provider is not asked for.
    ///
    /// # Errors
    /// The database did not do it.
    pub async fn close(
        mut self,
        fx: &mut Effects<'_>,
        later: impl Fn(R::Status) -> Option<Timestamp> + Send,
    ) -> Result<(), HandleError> {
        let changes: Vec<_> = self
            .changed
            .iter()
            .filter_map(|order| {
                let record = self.records.get(order)?;
                let due_at = later(record.status()).unwrap_or(self.ask_at);
                Some(Change::of(record, self.causes.get(order).copied(), due_at))
            })
            .collect();
        R::save(fx.conn(), &changes).await?;
        let tasks = self.causes.into_iter().filter_map(|(order, cause)| {
            let record = self.records.remove(&order).filter(|record| later(record.status()).is_none())?;
            Some(Task { record, cause: cause.clone() })
        });
        let tasks: Vec<Task<R>> = tasks.collect();
        if let Some(place) = self.place.filter(|_| !tasks.is_empty()) {
            fx.after_commit(move || drop(place.send(tasks)));
        }
        Ok(())
    }
}

/// The records that `requests` open, where their orders were never heard of.
fn drafts<'a, R: Record>(
    requests: &[Request<'a, R::Input>],
    now: Timestamp,
) -> BTreeMap<OrderId, (R, &'a Envelope)> {
    let mut drafts = BTreeMap::new();
    for request in requests {
        let Some((status, _)) = R::react(None, request.input) else { continue };
        drafts.entry(request.order_id).or_insert_with(|| {
            let progress = Progress::begin(request.order_id, status, now);
            (R::opening(progress, request.details), &request.delivery.envelope)
        });
    }
    drafts
}
