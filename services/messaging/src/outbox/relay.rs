//! The relay: reads the oldest rows of its buckets, publishes them, deletes what the broker acknowledged.
//!
//! There is no cursor: every round starts at each bucket's first row. So a row whose transaction committed
//! late, with an id lower than others already published, is never skipped. No transaction is open while
//! records are on their way.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sqlx::{FromRow, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::{Outbox, decode_headers};
use crate::backoff::Backoff;
use crate::consumer::chain;
use crate::metrics::ServiceMetrics;
use crate::record::Outgoing;
use crate::{Producer, SendError};

/// Most rows per round: enough that the three round trips (read, send, delete) are shared by many, few enough
/// that a round stays in the tens of milliseconds.
const ROUND_MAX: i64 = 2_000;
/// Most rows of one bucket per round, so that four busy buckets do not make the others wait for ever.
const BUCKET_MAX: i64 = 500;
/// How soon the outbox is looked at again when it was empty, at first and after a quiet while. Rows that this
/// process wrote are signalled; these bound the delay of rows that another replica wrote into our buckets.
const POLL_FIRST: Duration = Duration::from_millis(20);
const POLL_MOST: Duration = Duration::from_millis(250);
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
}

/// A row of the outbox.
#[derive(FromRow)]
struct Row {
    place: String,
    id: i64,
    topic: String,
    key: String,
    headers: String,
    payload: Vec<u8>,
    created_ms: i64,
}

/// What became of a round.
enum Round {
    Empty,
    Published,
    /// The broker refused some; they are still there.
    Refused,
    /// Shutdown came before the broker's answer.
    Abandoned,
}

impl Relay {
    pub(crate) fn new(pool: PgPool, producer: Producer, outbox: Outbox, metrics: ServiceMetrics) -> Self {
        Self { pool, producer, outbox, metrics }
    }

    /// Publishes until `shutdown`, through every outage of the database and of the broker.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(self.publish_until(&shutdown), self.sample_until(&shutdown));
    }

    async fn publish_until(&self, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !shutdown.is_cancelled() {
            let served = tokio::select! {
                () = shutdown.cancelled() => return,
                lease = bounded(Lease::join(&self.pool)) => lease,
            };
            let error = match served {
                Ok(lease) => match self.serve(lease, &mut backoff, shutdown).await {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.metrics.owned_buckets(0);
            let wait = backoff.next();
            tracing::warn!(%error, ?wait, "the relay lost its database connection and its buckets");
            wait_or_stop(wait, shutdown).await;
        }
    }

    /// Works with one lease until shutdown (`Ok`) or until its connection fails.
    async fn serve(
        &self,
        mut lease: Lease,
        outage: &mut Backoff,
        shutdown: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        let mut idle = Backoff::new(POLL_FIRST, POLL_MOST);
        let mut refused = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut turn = 0;
        while !shutdown.is_cancelled() {
            bounded(lease.rebalance_if_due()).await?;
            self.metrics.owned_buckets(lease.owned().len());
            outage.reset();
            turn += 1;
            match self.round(&mut lease, turn, shutdown).await? {
                Round::Empty => self.wait_for_rows(idle.next(), &mut idle, shutdown).await,
                Round::Published => {
                    idle.reset();
                    refused.reset();
                }
                Round::Refused => wait_or_stop(refused.next(), shutdown).await,
                Round::Abandoned => break,
            }
        }
        self.metrics.owned_buckets(0);
        lease.leave().await;
        Ok(())
    }

    async fn wait_for_rows(&self, poll: Duration, idle: &mut Backoff, shutdown: &CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.outbox.written().notified() => idle.reset(),
            () = tokio::time::sleep(poll) => {}
        }
    }

    async fn round(
        &self,
        lease: &mut Lease,
        turn: usize,
        shutdown: &CancellationToken,
    ) -> Result<Round, sqlx::Error> {
        let mut buckets: Vec<i16> = lease.owned().iter().copied().collect();
        // Start elsewhere each time: the round's limit must not always cut off the same buckets.
        let first = turn % buckets.len().max(1);
        buckets.rotate_left(first);
        let rows = bounded(read(&mut lease.conn, &buckets)).await?;
        if rows.is_empty() {
            return Ok(Round::Empty);
        }
        let records: Vec<Outgoing> = rows.iter().map(|row| self.record_of(row)).collect();
        let failures = tokio::select! {
            failures = self.producer.send(&records) => failures,
            () = late(shutdown) => return Ok(Round::Abandoned),
        };
        let refused = self.report(&rows, &failures);
        let published =
            rows.iter().enumerate().filter(|(index, _)| !refused.contains(index)).map(|(_, row)| row);
        bounded(delete(&mut lease.conn, published)).await?;
        Ok(if refused.is_empty() { Round::Published } else { Round::Refused })
    }

    fn record_of(&self, row: &Row) -> Outgoing {
        let headers = decode_headers(&row.headers).unwrap_or_else(|error| {
            // Only a hand-written row can have such headers; without them the event is still itself.
            tracing::error!(%error, outbox.id = row.id, "an outbox row's headers are unreadable and were left out");
            Vec::new()
        });
        Outgoing {
            topic: self.producer.full_name(&row.topic),
            key: Some(row.key.clone().into_bytes()),
            value: Some(row.payload.clone()),
            headers: headers.into_iter().map(|(name, value)| (name, Some(value.into_bytes()))).collect(),
            timestamp: Some(row.created_ms),
        }
    }

    /// Counts what was published and refused; returns the places of the refused in `rows`.
    fn report(&self, rows: &[Row], failures: &[SendError]) -> HashSet<usize> {
        let refused = failures.iter().map(|failure| failure.index).collect::<HashSet<_>>();
        let mut published: BTreeMap<&str, u64> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            if refused.contains(&index) {
                self.metrics.publish_failed(&row.topic);
            } else {
                *published.entry(&row.topic).or_default() += 1;
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
                "the broker refused events of the outbox; they are sent again"
            );
        }
        refused
    }

    async fn sample_until(&self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            match bounded(sample(&self.pool)).await {
                Ok((pending, age)) => self.metrics.outbox(pending, age),
                // Logged where the relay meets it; the last values stand.
                Err(error) => tracing::debug!(%error, "could not measure the outbox"),
            }
            wait_or_stop(SAMPLE_INTERVAL, shutdown).await;
        }
    }
}

/// The first rows of each bucket, in id order within each.
async fn read(conn: &mut PgConnection, buckets: &[i16]) -> Result<Vec<Row>, sqlx::Error> {
    // A lateral subquery per bucket is a range scan each that stops at its limit, however long the backlog.
    sqlx::query_as(
        "SELECT head.* FROM unnest($1::smallint[]) AS owned (bucket)
         CROSS JOIN LATERAL (
             SELECT ctid::text AS place, id, topic, key, headers, payload,
                    (extract(epoch FROM created_at) * 1000)::bigint AS created_ms
             FROM outbox WHERE outbox.bucket = owned.bucket ORDER BY id LIMIT $2
         ) AS head
         LIMIT $3",
    )
    .bind(buckets)
    .bind(BUCKET_MAX)
    .bind(ROUND_MAX)
    .fetch_all(conn)
    .await
}

/// Deletes rows by their place, the quickest way to them. The id is compared as well: a rewrite of the table
/// in between (`VACUUM FULL`) moves rows, and then the row is left for the next round instead of another's
/// being lost.
async fn delete<'r>(conn: &mut PgConnection, rows: impl Iterator<Item = &'r Row>) -> Result<(), sqlx::Error> {
    let (places, ids): (Vec<&str>, Vec<i64>) = rows.map(|row| (row.place.as_str(), row.id)).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM outbox WHERE ctid = ANY ($1::text[]::tid[]) AND id = ANY ($2)")
        .bind(places)
        .bind(ids)
        .execute(conn)
        .await?;
    Ok(())
}

async fn sample(pool: &PgPool) -> Result<(i64, Duration), sqlx::Error> {
    let (pending, age): (i64, f64) = sqlx::query_as(
        "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM outbox",
    )
    .fetch_one(pool)
    .await?;
    Ok((pending, Duration::try_from_secs_f64(age).unwrap_or_default()))
}

async fn bounded<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(STATEMENT_TIMEOUT, statement).await.map_err(late)?
}

async fn wait_or_stop(wait: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

async fn late(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_WAIT).await;
}
