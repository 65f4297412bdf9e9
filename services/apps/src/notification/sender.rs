//! Sends what is on record, channel by channel, and tells everybody when it is done.
//!
//! A notification is taken for a while, sent outside of any transaction, and finished in one that also emits
//! `notifications.sent`. A crash in between repeats the message, under the same Message-ID and idempotency key.
//! A channel that does not work is tried a few times and then recorded as failed: orders do not wait for it.

use std::sync::Arc;
use std::time::Duration;

use contract::{Channel, ChannelOutcome, ChannelResult, Envelope, NotificationSent};
use domain::after;
use futures::StreamExt;
use jiff::Timestamp;
use messaging::{AppendError, Outbox};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::channels::{Attempt, CONNECTIONS, Channels};
use super::message::Notice;
use super::metrics::Metrics;
use super::store::{self, Report, Task};
use crate::health::Pulse;

/// Notifications taken at once.
const BATCH: i64 = 64;
/// How long a notification is a worker's own. More than the worst case of a batch: its messages in rounds of
/// [`CONNECTIONS`], each waiting for both channels' time-outs.
const LEASE: Duration = Duration::from_secs(120);
/// How long the sender may be silent: the worst case of a batch, which its lease allows for.
pub(super) const SILENCE: Duration = LEASE;
/// How long a worker keeps what came of its sending while it cannot write it down: a database restarts, or another takes
/// its place, within. Less than services take to drain (20 s), and so little of the lease that no other sends it meanwhile.
const SAVE_PATIENCE: Duration = Duration::from_secs(15);
/// How often to look when nothing was signalled: for retries, and for what other replicas recorded.
const IDLE_POLL: Duration = Duration::from_millis(500);
/// How often, and for how long, to look after a signal, which comes just before the commit it announces.
const EAGER_POLL: Duration = Duration::from_millis(5);
const EAGER_TIME: Duration = Duration::from_millis(250);

/// How often a channel is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryPolicy {
    /// Most attempts.
    pub attempts: i16,
    /// The wait after the first; it doubles with each further one.
    pub first_wait: Duration,
}

impl Default for RetryPolicy {
    /// 15 seconds in all: well within the time that a saga waits for a notification.
    fn default() -> Self {
        Self { attempts: 5, first_wait: Duration::from_secs(1) }
    }
}

impl RetryPolicy {
    fn next(&self, attempt: i16, now: Timestamp) -> Option<Timestamp> {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(16);
        let wait = self.first_wait.saturating_mul(2_u32.pow(doublings));
        (attempt < self.attempts).then(|| after(now, wait))
    }
}

/// Why notifications could not be worked off. They are tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum SenderError {
    /// The database did not do it.
    #[error("could not read or save notifications")]
    Database(#[from] sqlx::Error),
    /// The news could not be appended to the outbox.
    #[error("could not announce notifications")]
    Announce(#[from] AppendError),
}

impl SenderError {
    /// Whether it may go better a little later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Database(_) | Self::Announce(AppendError::Insert(_)) => true,
            Self::Announce(AppendError::TooLarge { .. } | AppendError::Encode(_)) => false,
        }
    }
}

/// Sends what is on record.
pub(super) struct Sender {
    /// The service's database.
    pub pool: PgPool,
    /// Where results are announced.
    pub outbox: Outbox,
    /// The ways to reach customers.
    pub channels: Channels,
    /// How often each is tried.
    pub retry: RetryPolicy,
    /// Signalled when something was recorded.
    pub recorded: Arc<Notify>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Sender {
    /// Sends until `shutdown`, then finishes what it has taken.
    pub(super) async fn run(self, pulse: Pulse, shutdown: CancellationToken) {
        let mut eager_until = Instant::now();
        loop {
            pulse.beat();
            let pause = match self.work_once().await {
                Ok(0) if Instant::now() < eager_until => EAGER_POLL,
                Ok(0) => IDLE_POLL,
                Ok(_some) => Duration::ZERO,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "notifications wait");
                    IDLE_POLL
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.recorded.notified() => eager_until = Instant::now() + EAGER_TIME,
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes what is due, at most a batch, and sends it. Returns how much was taken.
    ///
    /// # Errors
    /// See [`SenderError`]; what was taken is due again when its lease is over.
    pub(super) async fn work_once(&self) -> Result<usize, SenderError> {
        let now = Timestamp::now();
        let until = after(now, LEASE);
        let mut conn = self.pool.acquire().await?;
        let tasks = store::take(&mut conn, now, until, BATCH).await?;
        // Given back, not held while mails are sent.
        drop(conn);
        let taken = tasks.len();
        let sending = futures::stream::iter(tasks.into_iter().map(|task| self.attempt(task)));
        // Saved as they come, together where several have come: a slow one keeps none of the others waiting.
        let mut reports =
            std::pin::pin!(sending.buffer_unordered(CONNECTIONS as usize).ready_chunks(CONNECTIONS as usize));
        while let Some(reports) = reports.next().await {
            self.finish_in_the_end(&reports).await?;
        }
        Ok(taken)
    }

    /// Finishes `reports`, once more where the database does not do it: whoever forgets them sends the messages again,
    /// and that only when the lease is over.
    async fn finish_in_the_end(&self, reports: &[Report]) -> Result<(), SenderError> {
        let started = Instant::now();
        loop {
            match self.finish(reports).await {
                Err(error) if error.may_pass() && started.elapsed() < SAVE_PATIENCE => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "what was sent waits to be saved"
                    );
                    sleep(IDLE_POLL).await;
                }
                finished => return finished,
            }
        }
    }

    async fn attempt(&self, task: Task) -> Report {
        let mut settled = Vec::new();
        let mut unsettled = false;
        if let Some(notice) = Notice::of(&task.cause.event) {
            // One after the other: each has a time-out, and text messages are the exception.
            for channel in [Channel::Email, Channel::Sms] {
                match self.try_channel(channel, &notice, &task).await {
                    Some(result) => settled.push(result),
                    None => unsettled = true,
                }
            }
        }
        let retry_at = if unsettled { self.retry.next(task.attempt, Timestamp::now()) } else { None };
        Report { task, settled, retry_at }
    }

    /// What became of a channel; none if it is to be tried again.
    async fn try_channel(&self, channel: Channel, notice: &Notice<'_>, task: &Task) -> Option<ChannelResult> {
        if let Some(known) = task.settled.iter().find(|result| result.channel == channel) {
            return Some(known.clone());
        }
        let attempt = match channel {
            // Its last attempt ended with the process: it is not to end another.
            Channel::Email | Channel::Sms if task.attempt > self.retry.attempts => {
                Attempt::Retry("it was broken off".to_owned())
            }
            Channel::Email => self.channels.email(notice, &task.cause.correlation_id).await,
            Channel::Sms => self.channels.sms(notice).await,
        };
        let result = match attempt {
            Attempt::Settled(outcome, detail) => ChannelResult { channel, outcome, detail },
            Attempt::Retry(why) if task.attempt < self.retry.attempts => {
                tracing::warn!(
                    order.id = %task.order_id,
                    notification = %task.kind,
                    channel = %channel,
                    correlation_id = task.cause.correlation_id.as_str(),
                    attempt = task.attempt,
                    reason = why,
                    "a customer could not be told yet"
                );
                return None;
            }
            Attempt::Retry(why) => {
                ChannelResult { channel, outcome: ChannelOutcome::Failed, detail: Some(why) }
            }
        };
        self.metrics.count(&result);
        Some(result)
    }

    async fn finish(&self, reports: &[Report]) -> Result<(), SenderError> {
        let now = Timestamp::now();
        let mut tx = self.pool.begin().await?;
        let finished = store::save(&mut tx, reports, now).await?;
        let news: Vec<Envelope> = finished.iter().map(|report| announcement(report, now)).collect();
        self.outbox.append(&mut tx, &news).await?;
        tx.commit().await?;
        self.outbox.notify();
        for report in finished {
            let outcomes =
                report.settled.iter().map(|result| format!("{} {}", result.channel, result.outcome));
            tracing::info!(
                order.id = %report.task.order_id, notification = %report.task.kind,
                correlation_id = report.task.cause.correlation_id.as_str(),
                outcome = outcomes.collect::<Vec<_>>().join(", "), "the customer was told"
            );
        }
        Ok(())
    }
}

fn announcement(report: &Report, now: Timestamp) -> Envelope {
    let Report { task, settled, .. } = report;
    let sent = NotificationSent { order_id: task.order_id, kind: task.kind, channels: settled.clone() };
    Envelope::caused_by(&task.cause, sent.into(), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_bounded_and_their_waits_double() {
        let policy = RetryPolicy::default();
        let now = Timestamp::UNIX_EPOCH;

        let waits: Vec<_> =
            (1..=5).map(|attempt| policy.next(attempt, now).map(Timestamp::as_second)).collect();

        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(8), None]);
    }
}
