//! The relay: reads the oldest rows of its buckets, publishes them, deletes what the broker acknowledged and sets aside
//! what it refused.
//!
//! There is no cursor: every round starts at each bucket's first row. So a row whose transaction committed
//! late, with an id lower than others already published, is never skipped. No transaction is open while
//! records are on their way.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::aside::{Aside, FIRST};
use super::bucket::is_aside;
use super::lease::Lease;
use super::load::{Load, ends_of};
use super::rows;
use super::{Outbox, bell};
use crate::backoff::Backoff;
use crate::consumer::chain;
use crate::metrics::ServiceMetrics;
use crate::record::Outgoing;
use crate::{Pace, Producer, SendError};

/// How soon the outbox is looked at again when it was empty, at first and after a quiet while. Rows that this
/// process wrote are signalled, as are those of processes without a relay; these bound the delay of rows that another
/// replica wrote into our buckets.
const POLL_FIRST: Duration = Duration::from_millis(20);
const POLL_MOST: Duration = Duration::from_millis(250);
/// How long the broker may take to acknowledge what was sent until the relay leaves its buckets to others. Longer than
/// the leader of a partition takes to move, or a broker to start again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a shutdown waits for the acknowledgements of the round on its way.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);
/// How long a statement may take. A connection whose other end vanished would otherwise be waited for until
/// the kernel gives it up, and its buckets with it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often backlog and age are measured; on its own, so that they grow visibly while the broker is away.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// Publishes the outbox of one database. Run one per process; all processes share the buckets.
#[derive(Debug)]
pub struct Relay {
    pool: PgPool,
    producer: Producer,
    outbox: Outbox,
    metrics: ServiceMetrics,
    patience: Duration,
}

/// What a round found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Nothing,
    Rows,
    /// As many rows of a bucket as a round takes: there are probably more.
    Backlog,
}

/// Why a relay stops working with its lease.
enum Interrupted {
    /// Shutdown.
    Stopped,
    /// The broker did not answer, and the buckets were left to others until it has.
    CutOff,
    /// The connection failed, and the buckets with it.
    Lost(sqlx::Error),
}

impl From<sqlx::Error> for Interrupted {
    fn from(error: sqlx::Error) -> Self {
        Self::Lost(error)
    }
}

impl Relay {
    pub(crate) fn new(
        pool: PgPool,
        producer: Producer,
        outbox: Outbox,
        metrics: ServiceMetrics,
        patience: Duration,
    ) -> Self {
        Self { pool, producer, outbox, metrics, patience }
    }

    /// Publishes until `shutdown`, through every outage of the database and of the broker.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(self.publish_until(&shutdown), self.sample_until(&shutdown));
    }

    /// The same, and hears of what processes without a relay write.
    pub async fn run_for_others(&self, shutdown: CancellationToken) {
        let hearing = bell::hear_until(&self.pool, &self.outbox, &shutdown);
        tokio::join!(self.run(shutdown.clone()), hearing);
    }

    async fn publish_until(&self, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !shutdown.is_cancelled() {
            let joined = tokio::select! {
                () = shutdown.cancelled() => return,
                lease = bounded(Lease::join(&self.pool)) => lease,
            };
            let interrupted = match joined {
                Ok(lease) => self.serve(lease, &mut backoff, shutdown).await,
                Err(error) => Interrupted::Lost(error),
            };
            self.metrics.owned_buckets(0);
            let error = match interrupted {
                Interrupted::Stopped => return,
                Interrupted::CutOff => continue,
                Interrupted::Lost(error) => error,
            };
            let wait = backoff.next();
            tracing::warn!(%error, ?wait, "the relay lost its database connection and its buckets");
            wait_or_stop(wait, shutdown).await;
        }
    }

    /// Works with one lease, for as long as that can be.
    async fn serve(
        &self,
        mut lease: Lease,
        outage: &mut Backoff,
        shutdown: &CancellationToken,
    ) -> Interrupted {
        let Err(interrupted) = self.rounds(&mut lease, outage, shutdown).await;
        if matches!(interrupted, Interrupted::Stopped) {
            lease.leave().await;
        }
        interrupted
    }

    async fn rounds(
        &self,
        lease: &mut Lease,
        outage: &mut Backoff,
        shutdown: &CancellationToken,
    ) -> Result<Infallible, Interrupted> {
        let mut idle = Backoff::new(POLL_FIRST, POLL_MOST);
        let mut pace = Pace::default();
        let mut aside = Aside::new(Instant::now());
        let mut found = Found::Nothing;
        while !shutdown.is_cancelled() {
            // Rounds are kept apart so that what is shared by a round's events is shared by many. Of a backlog each has
            // as many as it takes.
            if found != Found::Backlog {
                pace.wait().await;
            }
            pace.begin();
            bounded(lease.rebalance_if_due()).await?;
            aside.begin(lease.owned(), Instant::now());
            self.metrics.owned_buckets(lease.owned().len());
            outage.reset();
            found = self.round(lease, &mut aside, shutdown).await?;
            match found {
                Found::Nothing => self.wait_for_rows(idle.next(), &mut idle, shutdown).await,
                Found::Rows | Found::Backlog => idle.reset(),
            }
        }
        Err(Interrupted::Stopped)
    }

    async fn wait_for_rows(&self, poll: Duration, idle: &mut Backoff, shutdown: &CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.outbox.written().notified() => idle.reset(),
            () = sleep(poll) => {}
        }
    }

    async fn round(
        &self,
        lease: &mut Lease,
        aside: &mut Aside,
        shutdown: &CancellationToken,
    ) -> Result<Found, Interrupted> {
        // What is aside first: what a pass gets rid of needs not be waited for by what follows.
        let due = aside.due();
        let retried = self.publish(lease, aside, &due, shutdown).await?;
        let fresh: Vec<(i16, i64)> = aside.known().map(|bucket| (bucket, FIRST)).collect();
        Ok(retried.max(self.publish(lease, aside, &fresh, shutdown).await?))
    }

    /// Publishes some rows `from` each of the given buckets on.
    async fn publish(
        &self,
        lease: &mut Lease,
        aside: &mut Aside,
        from: &[(i16, i64)],
        shutdown: &CancellationToken,
    ) -> Result<Found, Interrupted> {
        if from.is_empty() {
            return Ok(Found::Nothing);
        }
        let rows = bounded(rows::read(&mut lease.conn, from)).await?;
        let ends = ends_of(&rows);
        let load = Load::of(rows, aside, &self.producer);
        let failures = self.send(lease, &load.records, shutdown).await?;
        let failures = self.send_apart(lease, &load.records, failures, shutdown).await?;
        let refused = self.report(&load.records, &failures);
        let (done, kept) = load.settle(&refused, aside, &self.producer);
        bounded(rows::delete(&mut lease.conn, &done)).await?;
        bounded(rows::keep(&mut lease.conn, &kept)).await?;
        for (bucket, _) in from.iter().filter(|(bucket, _)| is_aside(*bucket)) {
            aside.passed(*bucket, ends.get(bucket).copied().flatten());
        }
        Ok(match ends.values().any(Option::is_some) {
            // Of a pass that changes nothing there is no need to hurry.
            true if !(done.is_empty() && kept.is_empty()) => Found::Backlog,
            _ if ends.is_empty() => Found::Nothing,
            _ => Found::Rows,
        })
    }

    /// Sends `records` and waits for the broker's answers. While they do not come, others may be able to reach it: the
    /// buckets are left to them.
    async fn send(
        &self,
        lease: &mut Lease,
        records: &[Outgoing],
        shutdown: &CancellationToken,
    ) -> Result<Vec<SendError>, Interrupted> {
        let (sending, late) = (self.producer.send(records), late(shutdown));
        tokio::pin!(sending, late);
        let interrupted = loop {
            tokio::select! {
                failures = &mut sending => return Ok(failures),
                () = &mut late => return Err(Interrupted::Stopped),
                () = sleep(self.patience) => {}
            }
            match bounded(lease.leave_to_others()).await {
                Ok(false) => {}
                Ok(true) => break Interrupted::CutOff,
                Err(error) => break Interrupted::Lost(error),
            }
        };
        tracing::warn!("the broker does not answer; the relay has left its buckets to others until it does");
        self.metrics.owned_buckets(0);
        // What is on its way cannot be called back. Whoever came back before its end would only send it once more.
        tokio::select! {
            _ = sending => Err(interrupted),
            () = late => Err(Interrupted::Stopped),
        }
    }

    /// Sends those of `records` once more, one by one, that the broker refused as too large: it refuses whole batches,
    /// and mostly because of one record. Returns the failures that remain.
    async fn send_apart(
        &self,
        lease: &mut Lease,
        records: &[Outgoing],
        failures: Vec<SendError>,
        shutdown: &CancellationToken,
    ) -> Result<Vec<SendError>, Interrupted> {
        let mut left: Vec<SendError> = Vec::new();
        let mut refused = HashSet::new();
        for failure in failures {
            let Some(record) = records.get(failure.index) else { continue };
            let queue = (&record.topic, &record.key);
            if !failure.is_too_large() || refused.contains(&queue) {
                refused.insert(queue);
                left.push(failure);
                continue;
            }
            let alone = self.send(lease, std::slice::from_ref(record), shutdown).await?.pop();
            if let Some(error) = alone {
                refused.insert(queue);
                left.push(error.at(failure.index));
            }
        }
        Ok(left)
    }

    /// Counts what was published and refused; returns the places of the refused in `records`.
    fn report(&self, records: &[Outgoing], failures: &[SendError]) -> HashSet<usize> {
        let refused = failures.iter().map(|failure| failure.index).collect::<HashSet<_>>();
        let mut published: BTreeMap<&str, u64> = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            let topic = self.producer.short_name(&record.topic);
            if refused.contains(&index) {
                self.metrics.publish_failed(topic);
            } else {
                *published.entry(topic).or_default() += 1;
            }
        }
        for (topic, count) in published {
            self.metrics.published(topic, count);
        }
        if let Some(first) = failures.first() {
            let count = failures.len();
            tracing::error!(
                error = %chain(first),
                kafka.topic = first.topic,
                count,
                "the broker refused events of the outbox; they are set aside and sent again"
            );
        }
        refused
    }

    async fn sample_until(&self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            match bounded(rows::sample(&self.pool)).await {
                Ok((pending, age)) => self.metrics.outbox(pending, age),
                // Logged where the relay meets it; the last values stand.
                Err(error) => tracing::debug!(%error, "could not measure the outbox"),
            }
            wait_or_stop(SAMPLE_INTERVAL, shutdown).await;
        }
    }
}

pub(super) async fn bounded<T>(
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(STATEMENT_TIMEOUT, statement).await.map_err(late)?
}

pub(super) async fn wait_or_stop(wait: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

async fn late(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_WAIT).await;
}
