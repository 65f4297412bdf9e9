//! Asks the provider for what is on record, and puts its answers there.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::{Envelope, Event, PaymentCaptured, PaymentFailed, PaymentFailure, PaymentRefunded};
use domain::payment::{PaymentInput, PaymentNews, PaymentStatus, react};
use jiff::Timestamp;
use messaging::Outbox;
use sqlx::PgPool;

use super::metrics::Metrics;
use super::provider::{Captured, PaymentProvider};
use super::store::{self, Cause, Change, Payment, Task};
use crate::provider::gate::Gate;
use crate::provider::worker::{Desk, WorkError};
use crate::provider::{NoAnswer, after, ask_again_at};

/// Asks a provider for payments.
pub(super) struct PaymentDesk<P> {
    /// The service's database.
    pub pool: PgPool,
    /// Where results are announced.
    pub outbox: Outbox,
    /// Who is asked.
    pub provider: P,
    /// The way there.
    pub gate: Gate,
    /// How long an order's payment is asked for before it is given up: less than the saga's time limit.
    pub budget: Duration,
    /// What is counted.
    pub metrics: Metrics,
}

/// What became of a request.
pub(super) struct Report {
    task: Task,
    /// What the payment is told, and why, for people; nothing, if the provider is to be asked again.
    input: Option<(PaymentInput, Option<String>)>,
}

impl<P: PaymentProvider> Desk for PaymentDesk<P> {
    type Task = Task;
    type Report = Report;

    async fn take(&self, now: Timestamp, until: Timestamp, limit: i64) -> Result<Vec<Task>, WorkError> {
        let mut conn = self.pool.acquire().await?;
        Ok(store::take(&mut conn, now, until, limit).await?)
    }

    async fn attempt(&self, mut task: Task) -> Report {
        let answer = match task.payment.status {
            PaymentStatus::Requested => self.capture(&task).await,
            // A refund cannot be refused, and nobody waits for it: it is tried until it is done.
            _ => self
                .gate
                .call("reverse", self.provider.reverse(task.payment.payment_id))
                .await
                .map(|()| (PaymentInput::Reversed, None)),
        };
        let input = match answer {
            Ok(input) => Some(input),
            Err(no_answer) => {
                if no_answer != NoAnswer::NotAsked {
                    task.payment.attempts = task.payment.attempts.saturating_add(1);
                    tracing::debug!(
                        order.id = %task.payment.order_id, status = %task.payment.status,
                        attempts = task.payment.attempts, reason = %no_answer, "a payment has no answer yet"
                    );
                }
                self.is_given_up(&task.payment).then(|| (PaymentInput::GivenUp, Some(no_answer.to_string())))
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

impl<P: PaymentProvider> PaymentDesk<P> {
    async fn capture(&self, task: &Task) -> Result<(PaymentInput, Option<String>), NoAnswer> {
        let Payment { payment_id, amount, .. } = task.payment;
        let Some(details) = task.cause.event.details() else {
            return Ok((PaymentInput::Declined, Some("the order is not known".to_owned())));
        };
        let call = self.provider.capture(payment_id, amount, &details.customer.customer_id);
        Ok(match self.gate.call("capture", call).await? {
            Captured::Yes => (PaymentInput::Captured, None),
            Captured::No(reason) => (PaymentInput::Declined, Some(reason)),
        })
    }

    fn is_given_up(&self, payment: &Payment) -> bool {
        payment.status == PaymentStatus::Requested
            && after(payment.created_at, self.budget) <= Timestamp::now()
    }
}

/// What follows from a report.
struct Step {
    from: PaymentStatus,
    next: Payment,
    cause: Envelope,
    news: Option<PaymentNews>,
    due_at: Option<Timestamp>,
}

impl Step {
    fn after(report: Report, now: Timestamp) -> Self {
        let Report { task: Task { payment, cause }, input } = report;
        let from = payment.status;
        let reaction = input.and_then(|(input, detail)| Some((react(Some(from), input)?, detail)));
        let (next, news) = match reaction {
            Some(((status, news), detail)) => {
                let detail = detail.or(payment.detail);
                (Payment { status, detail, attempts: 0, updated_at: now, ..payment }, news)
            }
            None => (payment, None),
        };
        // At once where it is to be asked for something else now, else after a wait.
        let again = || if next.status == from { ask_again_at(next.attempts, now) } else { now };
        let due_at = next.status.is_open().then(again);
        Self { from, next, cause, news, due_at }
    }

    fn as_change(&self) -> Change<'_> {
        let cause = if self.due_at.is_some() { Cause::Stays } else { Cause::None };
        Change { from: Some(self.from), payment: &self.next, cause, due_at: self.due_at }
    }

    fn announcement(&self, now: Timestamp) -> Option<Envelope> {
        let Payment { order_id, payment_id, amount, .. } = self.next;
        let detail = || self.next.detail.clone().unwrap_or_default();
        let event: Event = match self.news? {
            PaymentNews::Captured => {
                let details = self.cause.event.details()?.clone();
                PaymentCaptured { order_id, payment_id, amount, details }.into()
            }
            PaymentNews::Declined => {
                PaymentFailed { order_id, reason: PaymentFailure::Declined, detail: detail() }.into()
            }
            PaymentNews::Unavailable => {
                PaymentFailed { order_id, reason: PaymentFailure::ProviderUnavailable, detail: detail() }
                    .into()
            }
            PaymentNews::TooLate => {
                PaymentFailed { order_id, reason: PaymentFailure::OrderCancelled, detail: detail() }.into()
            }
            PaymentNews::Refunded => PaymentRefunded { order_id, payment_id, amount }.into(),
        };
        Some(Envelope::caused_by(&self.cause, event, now))
    }
}
