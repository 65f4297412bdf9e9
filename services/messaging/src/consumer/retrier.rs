//! The retrier: tries parked events again, the first of each key, until it is handled or given up; then the
//! next of its key gets its turn. Every replica runs one; they share the work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::CorrelationId;
use futures::future::join_all;
use sqlx::PgTransaction;

use super::attempt::Attempt;
use super::dead_letters::DeadLetters;
use super::decode::{delivery_of, missing_of};
use super::verdict::{Verdict, judge, kind};
use super::waits::{Abandoned, Waits};
use super::{ConsumerOptions, chain};
use crate::backoff::Backoff;
use crate::codec::Codec;
use crate::dead_letter::Grounds;
use crate::metrics::{Outcome, Retry, ServiceMetrics};
use crate::parking::{Head, SURVEY_INTERVAL};
use crate::{Delivery, HandleError, Handler, Producer};

/// How many keys are tried at once: so many may hang until their time is over before other keys' retries wait.
/// Each takes a database connection while it is at it.
const WORKERS: usize = 2;
/// How long a dead letter may take until its event is tried once more, perhaps by another replica.
const LETTER_TIME: Duration = Duration::from_secs(60);
/// How often a worker looks for what is due while something is parked.
const POLL: Duration = Duration::from_millis(100);

/// Works parked events off.
pub(super) struct Retrier<H> {
    pub(super) attempt: Arc<Attempt<H>>,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) waits: Waits,
    pub(super) codec: Arc<dyn Codec>,
    pub(super) producer: Producer,
    pub(super) metrics: ServiceMetrics,
    pub(super) options: ConsumerOptions,
}

/// Why a worker did not finish.
enum Interrupted {
    /// Something that every event needs is missing.
    Outage(HandleError),
    Stopped,
}

impl From<sqlx::Error> for Interrupted {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(error.into())
    }
}

impl From<Abandoned> for Interrupted {
    fn from(_: Abandoned) -> Self {
        Self::Stopped
    }
}

impl<H: Handler> Retrier<H> {
    /// Works until shutdown; finishes what is in hand, as long as a shutdown waits.
    pub(super) async fn run(&self) {
        let workers = join_all((0..WORKERS).map(|_| self.work()));
        tokio::select! {
            _ = async { tokio::join!(workers, self.survey()) } => {}
            () = self.waits.drained(self.options.drain_timeout) => {}
        }
    }

    /// Keeps the metrics, and the knowledge whether anything is parked, up to date.
    async fn survey(&self) {
        loop {
            match self.attempt.parking.survey().await {
                Ok(survey) => self.metrics.parked(survey.events, survey.oldest_age),
                // Reported where an event meets it; the last values stand.
                Err(error) => tracing::debug!(%error, "could not look over the parked events"),
            }
            if self.waits.pause(SURVEY_INTERVAL).await.is_err() {
                return;
            }
        }
    }

    async fn work(&self) {
        let mut outage = Backoff::new(self.options.retry_first, self.options.retry_most);
        let mut known = self.attempt.parking.known();
        while !self.waits.is_stopping() {
            // The sender is ours and lives as long as we do.
            let something = async { drop(known.wait_for(|known| !known.empty).await) };
            if self.waits.unless_stopped(something).await.is_err() {
                return;
            }
            let wait = match self.work_at_one().await {
                Ok(true) => {
                    outage.reset();
                    continue;
                }
                Ok(false) => POLL,
                Err(Interrupted::Outage(error)) => {
                    let wait = outage.next();
                    tracing::warn!(error = %chain(&error), ?wait, "parked events wait; no attempt is spent");
                    wait
                }
                Err(Interrupted::Stopped) => return,
            };
            if self.waits.pause(wait).await.is_err() {
                return;
            }
        }
    }

    /// Tries the head that is due longest; false if none is due.
    async fn work_at_one(&self) -> Result<bool, Interrupted> {
        let Attempt { pool, parking, timeout, .. } = &*self.attempt;
        let mut tx = pool.begin().await?;
        let full_name = |topic: &str| self.producer.full_name(topic);
        let Some(head) = parking.claim(&mut tx, *timeout, full_name).await? else { return Ok(false) };
        if !parking.consumes(head.record.source.topic) {
            // Or it would block its key for ever, and with it events that are consumed.
            self.give_up(tx, head, Grounds::unconsumed()).await?;
            return Ok(true);
        }
        let missing = missing_of([&head.record], &*self.codec);
        let fetched = if missing.is_empty() { Ok(()) } else { self.codec.fetch(&missing).await };
        fetched.map_err(|error| {
            Interrupted::Outage(HandleError::unavailable_because("its schema cannot be fetched", error))
        })?;
        match delivery_of(&head.record, &*self.codec) {
            Ok(delivery) => self.retry(tx, head, delivery).await?,
            // It was one when it was parked, by another build.
            Err(grounds) => self.give_up(tx, head, grounds).await?,
        }
        Ok(true)
    }

    async fn retry(&self, tx: PgTransaction<'_>, head: Head, delivery: Delivery) -> Result<(), Interrupted> {
        let (topic, started) = (delivery.topic, Instant::now());
        let result = self.attempt.at_parked(tx, &head, delivery).await;
        self.metrics.attempted(started.elapsed());
        let error = match result {
            Ok(new) => {
                self.metrics.retried(Retry::Handled);
                self.metrics.ended(topic, if new { Outcome::Handled } else { Outcome::Duplicate }, 1);
                return Ok(());
            }
            Err(error) => error,
        };
        self.metrics.failed(kind(&error));
        match judge(&error, 1, head.attempts + 1, self.options.transient_attempts) {
            Verdict::Wait { .. } => {
                self.metrics.retried(Retry::Unavailable);
                Err(Interrupted::Outage(error))
            }
            // A single event has no halves.
            Verdict::Halve | Verdict::Park => self.put_back(&head, &error).await,
            Verdict::GiveUp(grounds) => {
                let mut tx = self.attempt.pool.begin().await?;
                // The failure took the claim with it.
                if self.attempt.parking.reclaim(&mut tx, &head).await? {
                    self.give_up(tx, head, grounds).await?;
                }
                Ok(())
            }
        }
    }

    async fn put_back(&self, head: &Head, error: &HandleError) -> Result<(), Interrupted> {
        self.metrics.retried(Retry::Failed);
        let wait = self.options.parked_wait(head.attempts + 1);
        let (error, correlation_id) = (chain(error), head.record.correlation_id());
        tracing::warn!(
            error,
            correlation_id = correlation_id.as_ref().map(CorrelationId::as_str),
            attempt = head.attempts + 1,
            ?wait,
            kafka.topic = %head.record.source.name,
            kafka.partition = head.record.source.partition,
            kafka.offset = head.record.offset,
            "a parked event could not be handled; it is tried again"
        );
        Ok(self.attempt.parking.failed(head, &error, wait).await?)
    }

    /// Dead-letters `head`, which `tx` holds, and then removes it. Neither a connection nor the row is held while the
    /// broker is waited for. Should it take so long that the head is tried once more, or should this process end in
    /// between, the letter is written twice; until one was written, the head stays.
    async fn give_up(
        &self,
        mut tx: PgTransaction<'_>,
        mut head: Head,
        grounds: Grounds,
    ) -> Result<(), Interrupted> {
        let Attempt { pool, parking, .. } = &*self.attempt;
        parking.postpone(&mut tx, &mut head, LETTER_TIME).await?;
        tx.commit().await?;
        self.dead_letters.write(&[(head.record.clone(), grounds)], &self.waits).await?;
        let mut tx = pool.begin().await?;
        if parking.reclaim(&mut tx, &head).await? {
            parking.remove(&mut tx, &head).await?;
            tx.commit().await?;
        }
        self.metrics.retried(Retry::DeadLettered);
        Ok(())
    }
}
