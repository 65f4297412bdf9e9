//! Asks the carrier for what is on record, and puts its answers there; notes arrivals.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::{
    Envelope, Event, ShippingCancelled, ShippingDelivered, ShippingFailed, ShippingFailure, ShippingScheduled,
};
use domain::shipment::{ShipmentInput, ShipmentNews, ShipmentStatus, react};
use jiff::Timestamp;
use messaging::Outbox;
use sqlx::PgPool;

use super::carrier::{Booked, Carrier};
use super::metrics::Metrics;
use super::store::{self, Booking, Cause, Change, Shipment, Task};
use crate::provider::gate::Gate;
use crate::provider::worker::{Desk, WorkError};
use crate::provider::{NoAnswer, after, ask_again_at};

/// Asks a carrier for shipments.
pub(super) struct ShippingDesk<C> {
    /// The service's database.
    pub pool: PgPool,
    /// Where results are announced.
    pub outbox: Outbox,
    /// Who is asked.
    pub carrier: C,
    /// The way there.
    pub gate: Gate,
    /// How long an order's shipment is asked for before it is given up: less than the saga's time limit.
    pub budget: Duration,
    /// What is counted.
    pub metrics: Metrics,
}

/// What became of a request.
pub(super) struct Report {
    task: Task,
    /// What the shipment is told, and why, for people; nothing, if the provider is to be asked again.
    input: Option<(ShipmentInput, Option<String>)>,
}

impl<C: Carrier> Desk for ShippingDesk<C> {
    type Task = Task;
    type Report = Report;

    async fn take(&self, now: Timestamp, until: Timestamp, limit: i64) -> Result<Vec<Task>, WorkError> {
        let mut conn = self.pool.acquire().await?;
        Ok(store::take(&mut conn, now, until, limit).await?)
    }

    async fn attempt(&self, mut task: Task) -> Report {
        let answer = match task.shipment.status {
            ShipmentStatus::Requested => self.book(&mut task).await,
            ShipmentStatus::Dispatched => Ok((ShipmentInput::Arrived, None)),
            // Nobody waits for it: it is tried until it is done.
            _ => {
                let call = self.carrier.cancel(task.shipment.shipment_id);
                self.gate.call("cancel", call).await.map(|()| (ShipmentInput::Reversed, None))
            }
        };
        let input = match answer {
            Ok(input) => Some(input),
            Err(no_answer) => {
                if no_answer != NoAnswer::NotAsked {
                    task.shipment.attempts = task.shipment.attempts.saturating_add(1);
                    tracing::debug!(
                        order.id = %task.shipment.order_id, status = %task.shipment.status,
                        attempts = task.shipment.attempts, reason = %no_answer, "a shipment has no answer yet"
                    );
                }
                self.is_given_up(&task.shipment)
                    .then(|| (ShipmentInput::GivenUp, Some(no_answer.to_string())))
            }
        };
        Report { task, input }
    }

    async fn finish(&self, reports: Vec<Report>) -> Result<(), WorkError> {
        let now = Timestamp::now();
        let mut orders = BTreeSet::new();
        let steps = reports.into_iter().map(|report| Step::after(report, now));
        // An order that two workers asked for can be here twice: one answer counts, and is told.
        let steps: Vec<Step> = steps.filter(|step| orders.insert(step.next.order_id)).collect();
        let changes: Vec<_> = steps.iter().map(Step::as_change).collect();
        let mut tx = self.pool.begin().await?;
        let saved = store::save(&mut tx, &changes).await?;
        // Those that were not saved were decided otherwise meanwhile; their answer is not needed any more.
        let told = || steps.iter().filter(|step| saved.contains(&step.next.order_id));
        let news: Vec<Envelope> = told().filter_map(|step| step.announcement(now)).collect();
        self.outbox.append(&mut tx, &news).await?;
        tx.commit().await?;
        self.outbox.notify();
        told().filter_map(|step| step.news).for_each(|news| self.metrics.count(news));
        Ok(())
    }
}

impl<C: Carrier> ShippingDesk<C> {
    async fn book(&self, task: &mut Task) -> Result<(ShipmentInput, Option<String>), NoAnswer> {
        let Some(details) = task.cause.event.details() else {
            return Ok((ShipmentInput::Refused, Some("the order is not known".to_owned())));
        };
        let call = self.carrier.book(task.shipment.shipment_id, &details.customer.customer_id);
        Ok(match self.gate.call("book", call).await? {
            Booked::Yes(booking) => {
                task.shipment.booking = Some(booking);
                (ShipmentInput::Booked, None)
            }
            Booked::No(reason) => (ShipmentInput::Refused, Some(reason)),
        })
    }

    fn is_given_up(&self, shipment: &Shipment) -> bool {
        shipment.status == ShipmentStatus::Requested
            && after(shipment.created_at, self.budget) <= Timestamp::now()
    }
}

/// What follows from a report.
struct Step {
    from: ShipmentStatus,
    next: Shipment,
    cause: Envelope,
    news: Option<ShipmentNews>,
    due_at: Option<Timestamp>,
}

impl Step {
    fn after(report: Report, now: Timestamp) -> Self {
        let Report { task: Task { shipment, cause }, input } = report;
        let from = shipment.status;
        let reaction = input.and_then(|(input, detail)| Some((react(Some(from), input)?, detail)));
        let (next, news) = match reaction {
            Some(((status, news), detail)) => {
                let detail = detail.or(shipment.detail);
                (Shipment { status, detail, attempts: 0, updated_at: now, ..shipment }, news)
            }
            None => (shipment, None),
        };
        // At once where it is to be asked for something else now, else after a wait.
        let again = || if next.status == from { ask_again_at(next.attempts, now) } else { now };
        let due_at = next.status.is_open().then(again);
        Self { from, next, cause, news, due_at }
    }

    fn as_change(&self) -> Change<'_> {
        let cause = if self.due_at.is_some() { Cause::Stays } else { Cause::None };
        Change { from: Some(self.from), shipment: &self.next, cause, due_at: self.due_at }
    }

    fn announcement(&self, now: Timestamp) -> Option<Envelope> {
        let Shipment { order_id, shipment_id, booking, detail, .. } = self.next.clone();
        let failed = |reason| ShippingFailed { order_id, reason, detail: detail.unwrap_or_default() }.into();
        let event: Event = match self.news? {
            ShipmentNews::Scheduled => {
                let Booking { carrier, tracking_number } = booking?;
                ShippingScheduled { order_id, shipment_id, carrier, tracking_number }.into()
            }
            ShipmentNews::Refused => failed(ShippingFailure::Refused),
            ShipmentNews::Unavailable => failed(ShippingFailure::CarrierUnavailable),
            ShipmentNews::TooLate => failed(ShippingFailure::OrderCancelled),
            ShipmentNews::Delivered => ShippingDelivered { order_id, shipment_id, delivered_at: now }.into(),
            ShipmentNews::Cancelled => ShippingCancelled { order_id, shipment_id }.into(),
        };
        Some(Envelope::caused_by(&self.cause, event, now))
    }
}
