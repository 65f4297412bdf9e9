//! The relay: reads the oldest rows of its buckets, publishes them, deletes what the broker acknowledged.
//!
//! There is no cursor: every round starts at each bucket's first row. So a row whose transaction committed
//! late, with an id lower than others already published, is never skipped. No transaction is open while
//! records are on their way.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use sqlx::{FromRow, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::parcel::{self, Parcel};
use super::{Outbox, bell};
use crate::backoff::Backoff;
use crate::consumer::chain;
use crate::metrics::ServiceMetrics;
use crate::record::Outgoing;
use crate::{Pace, Producer, SendError};

/// Most rows of one bucket per round: enough that the three round trips (read, send, delete) are shared by
/// many events, few enough that a round of full parcels stays in the tens of milliseconds and in 16 MiB.
const BUCKET_MAX: i64 = 16;
/// How soon the outbox is looked at again when it was empty, at first and after a quiet while. Rows that this
/// process wrote are signalled, as are those of processes without a relay; these bound the delay of rows that another
/// replica wrote into our buckets.
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
    records: Vec<u8>,
}

/// A round's records, and which of them came from which row.
struct Load {
    rows: Vec<(Row, Range<usize>)>,
    records: Vec<Outgoing>,
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

    /// The same, and hears of what processes without a relay write.
    pub async fn run_for_others(&self, shutdown: CancellationToken) {
        let hearing = bell::hear_until(&self.pool, &self.outbox, &shutdown);
        tokio::join!(self.run(shutdown.clone()), hearing);
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
        let mut pace = Pace::default();
        while !shutdown.is_cancelled() {
            pace.wait().await;
            pace.begin();
            bounded(lease.rebalance_if_due()).await?;
            self.metrics.owned_buckets(lease.owned().len());
            outage.reset();
            match self.round(&mut lease, shutdown).await? {
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

    async fn round(&self, lease: &mut Lease, shutdown: &CancellationToken) -> Result<Round, sqlx::Error> {
        let buckets: Vec<i16> = lease.owned().iter().copied().collect();
        let rows = bounded(read(&mut lease.conn, &buckets)).await?;
        if rows.is_empty() {
            return Ok(Round::Empty);
        }
        let fetched = rows.len();
        let load = self.unpack(rows);
        let failures = tokio::select! {
            failures = self.producer.send(&load.records) => failures,
            () = late(shutdown) => return Ok(Round::Abandoned),
        };
        let refused = self.report(&load.records, &failures);
        let is_done = |records: &Range<usize>| !records.clone().any(|index| refused.contains(&index));
        let (done, kept): (Vec<_>, Vec<_>) = load.rows.iter().partition(|(_, records)| is_done(records));
        bounded(delete(&mut lease.conn, done.into_iter().map(|(row, _)| row))).await?;
        for (row, records) in kept {
            let rest = self.repack(&load.records, records.clone().filter(|index| refused.contains(index)));
            bounded(keep(&mut lease.conn, row, rest)).await?;
        }
        // Rows that could not be opened wait like those that were refused.
        let is_clean = refused.is_empty() && load.rows.len() == fetched;
        Ok(if is_clean { Round::Published } else { Round::Refused })
    }

    /// A parcel of those of `records` that the broker refused, so that the others are not sent again.
    fn repack(&self, records: &[Outgoing], refused: impl Iterator<Item = usize>) -> Parcel {
        let mut parcel = Parcel::new();
        for record in refused.filter_map(|index| records.get(index)) {
            let topic = self.producer.short_name(&record.topic).to_owned();
            parcel.add(&Outgoing { topic, ..record.clone() });
        }
        parcel
    }

    fn unpack(&self, rows: Vec<Row>) -> Load {
        let mut load = Load { rows: Vec::with_capacity(rows.len()), records: Vec::new() };
        for row in rows {
            let first = load.records.len();
            match parcel::open(&row.records) {
                Ok(records) => load.records.extend(records.into_iter().map(|record| self.addressed(record))),
                // Left where it is: a newer build that is being rolled out will open it.
                Err(error) => {
                    tracing::error!(%error, outbox.id = row.id, "a row of the outbox cannot be published");
                    continue;
                }
            }
            let range = first..load.records.len();
            load.rows.push((row, range));
        }
        load
    }

    fn addressed(&self, record: Outgoing) -> Outgoing {
        Outgoing { topic: self.producer.full_name(&record.topic), ..record }
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
             SELECT ctid::text AS place, id, records
             FROM outbox WHERE outbox.bucket = owned.bucket ORDER BY id LIMIT $2
         ) AS head",
    )
    .bind(buckets)
    .bind(BUCKET_MAX)
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

/// Leaves `rest` of a row for the next round.
async fn keep(conn: &mut PgConnection, row: &Row, rest: Parcel) -> Result<(), sqlx::Error> {
    let (events, records) = rest.close();
    sqlx::query("UPDATE outbox SET events = $3, records = $4 WHERE ctid = $1::text::tid AND id = $2")
        .bind(&row.place)
        .bind(row.id)
        .bind(events)
        .bind(records)
        .execute(conn)
        .await?;
    Ok(())
}

async fn sample(pool: &PgPool) -> Result<(i64, Duration), sqlx::Error> {
    let (pending, age): (i64, f64) = sqlx::query_as(
        "SELECT coalesce(sum(events), 0), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM outbox",
    )
    .fetch_one(pool)
    .await?;
    Ok((pending, Duration::try_from_secs_f64(age).unwrap_or_default()))
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
