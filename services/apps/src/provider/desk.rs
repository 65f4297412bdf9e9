//! Asks a provider for what is on record, and puts its answers there.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::{Envelope, Event};
use domain::after;
use jiff::Timestamp;
use messaging::Outbox;
use prometheus::{IntCounterVec, Opts, Registry};
use sqlx::PgPool;

use super::gate::Gate;
use super::record::{Cause, Change, Record, Task};
use super::{NoAnswer, ask_again_at};

/// What a provider's answer means to a record, and why, for people.
pub type Answer<R> = (<R as Record>::Input, Option<String>);

/// Speaks with one provider for one kind of record.
pub trait Clerk: Send + Sync + 'static {
    /// What is on record.
    type Record: Record;

    /// Asks for what the record is open for, through the gate. May note in the record what was agreed.
    ///
    /// # Errors
    /// There is no answer; it may have been done.
    fn ask(
        &self,
        gate: &Gate,
        task: &mut Task<Self::Record>,
    ) -> impl Future<Output = Result<Answer<Self::Record>, NoAnswer>> + Send;

    /// The event that tells `news` about a record.
    fn announcement(
        record: &Self::Record,
        cause: &Envelope,
        news: <Self::Record as Record>::News,
        now: Timestamp,
    ) -> Option<Event>;
}

/// Why answers could not be saved. The provider is asked again when the lease is over, under the same key.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The database did not do it.
    #[error("could not read or save requests to the provider")]
    Database(#[from] sqlx::Error),
    /// The news could not be appended to the outbox.
    #[error("could not announce the provider's answers")]
    Announce(#[from] messaging::AppendError),
}

/// Works off what is on record.
pub struct Desk<C> {
    /// The service's database.
    pub pool: PgPool,
    /// Where results are announced.
    pub outbox: Outbox,
    /// Who asks.
    pub clerk: C,
    /// The way to the provider.
    pub gate: Gate,
    /// How long an order is asked for before it is given up: less than the saga's time limit.
    pub budget: Duration,
    /// What is counted.
    pub news: NewsCounter,
}

/// What became of a task.
pub struct Report<R: Record> {
    task: Task<R>,
    /// What the record is told; nothing, if the provider is to be asked again.
    answer: Option<Answer<R>>,
}

impl<C: Clerk> Desk<C> {
    /// Takes at most `limit` tasks that are due at `now`, for this worker alone until `until`.
    ///
    /// # Errors
    /// The database did not do it.
    pub async fn take(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: i64,
    ) -> Result<Vec<Task<C::Record>>, DeskError> {
        let mut conn = self.pool.acquire().await?;
        Ok(C::Record::take(&mut conn, now, until, limit).await?)
    }

    /// Asks the provider.
    pub async fn attempt(&self, mut task: Task<C::Record>) -> Report<C::Record> {
        let answer = match self.clerk.ask(&self.gate, &mut task).await {
            Ok(answer) => Some(answer),
            Err(no_answer) => {
                let progress = task.record.progress_mut();
                if no_answer != NoAnswer::NotAsked {
                    progress.attempts = progress.attempts.saturating_add(1);
                    tracing::debug!(
                        order.id = %progress.order_id, status = %progress.status, attempts = progress.attempts,
                        correlation_id = task.cause.correlation_id.as_str(), reason = %no_answer,
                        "a provider has not answered yet"
                    );
                }
                let detail = Some(no_answer.to_string());
                self.is_given_up(&task.record).then_some((C::Record::GIVEN_UP, detail))
            }
        };
        Report { task, answer }
    }

    /// Saves what became of tasks and tells everybody, in one transaction.
    ///
    /// # Errors
    /// Nothing was saved.
    pub async fn finish(&self, reports: Vec<Report<C::Record>>) -> Result<(), DeskError> {
        let now = Timestamp::now();
        let mut orders = BTreeSet::new();
        let steps = reports.into_iter().map(|report| Step::after(report, now));
        // An order that two workers asked for can be here twice: one answer counts, and is told.
        let steps: Vec<Step<_>> = steps.filter(|step| orders.insert(step.next.order_id())).collect();
        let changes: Vec<_> = steps.iter().map(Step::as_change).collect();
        let mut tx = self.pool.begin().await?;
        let saved = C::Record::save(&mut tx, &changes).await?;
        // Those that were not saved were decided otherwise meanwhile; their answer is not needed any more.
        let told = || steps.iter().filter(|step| saved.contains(&step.next.order_id()));
        let announce = |step: &Step<C::Record>| {
            let event = C::announcement(&step.next, &step.cause, step.news?, now)?;
            Some(Envelope::caused_by(&step.cause, event, now))
        };
        let news: Vec<Envelope> = told().filter_map(announce).collect();
        self.outbox.append(&mut tx, &news).await?;
        tx.commit().await?;
        self.outbox.notify();
        told().filter_map(|step| step.news).for_each(|news| self.news.count(news));
        Ok(())
    }

    /// Whether an order that waits for this answer cannot wait any longer.
    fn is_given_up(&self, record: &C::Record) -> bool {
        let may_be = C::Record::react(Some(record.status()), C::Record::GIVEN_UP).is_some();
        may_be && after(record.progress().created_at, self.budget) <= Timestamp::now()
    }
}

/// What follows from a report.
struct Step<R: Record> {
    from: R::Status,
    next: R,
    cause: Envelope,
    news: Option<R::News>,
    due_at: Option<Timestamp>,
}

impl<R: Record> Step<R> {
    fn after(report: Report<R>, now: Timestamp) -> Self {
        let Report { task: Task { record: mut next, cause }, answer } = report;
        let from = next.status();
        let reaction = answer.and_then(|(input, detail)| Some((R::react(Some(from), input)?, detail)));
        let mut news = None;
        if let Some(((status, told), detail)) = reaction {
            let progress = next.progress_mut();
            progress.move_to(status, now);
            progress.detail = detail.or(progress.detail.take());
            news = told;
        }
        let progress = next.progress();
        // At once where it is to be asked for something else now, else after a wait.
        let again = || if progress.status == from { ask_again_at(progress.attempts, now) } else { now };
        let due_at = R::is_open(progress.status).then(again);
        Self { from, next, cause, news, due_at }
    }

    fn as_change(&self) -> Change<'_, R> {
        let cause = if self.due_at.is_some() { Cause::Stays } else { Cause::None };
        Change { from: Some(self.from), record: &self.next, cause, due_at: self.due_at }
    }
}

/// Counts what was announced, by its name. Clones are one.
#[derive(Debug, Clone)]
pub struct NewsCounter(IntCounterVec);

impl NewsCounter {
    /// Registers the counter `name`.
    ///
    /// # Errors
    /// The registry has it already.
    pub fn register(name: &str, help: &str, registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = IntCounterVec::new(Opts::new(name, help), &["outcome"])?;
        registry.register(Box::new(counter.clone()))?;
        Ok(Self(counter))
    }

    /// Counts what was announced.
    pub fn count(&self, news: impl Into<&'static str>) {
        self.0.with_label_values(&[news.into()]).inc();
    }
}
