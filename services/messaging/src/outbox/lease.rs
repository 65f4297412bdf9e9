//! Which relay publishes which bucket: session advisory locks on a connection of the relay's own.
//!
//! A relay reads and deletes over the same connection that holds its locks. So a statement that succeeds proves that
//! the locks were still held, and a relay that lost its connection has lost its buckets and notices at its next
//! statement. What it had already handed to the broker may be sent again by the next owner, and may arrive before,
//! between or after what that sends. Both began with what was the first row then, and send a key's rows in order:
//! whichever copy of a record is its first, one of the record before it came earlier.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::seq::SliceRandom;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::time::Instant;

use super::bucket::{BUCKETS, fair_share};

/// Class of all locks of the outbox; the object is the bucket, or [`MEMBER`].
const CLASS: i32 = 0x4f55_5442;
/// Held shared by every relay, so that each can count how many there are.
const MEMBER: i32 = i32::MAX;
/// How often buckets are given up and taken: how long a dead relay's buckets stand still once PostgreSQL has
/// noticed its death.
const REBALANCE_INTERVAL: Duration = Duration::from_secs(1);

/// A relay's connection, with the buckets it owns.
pub(super) struct Lease {
    pub(super) conn: PgConnection,
    owned: BTreeSet<i16>,
    rebalance_at: Instant,
}

/// A node that vanished closes no connection. Without keepalives what it holds, locks above all, would be held for the
/// two hours that the kernel waits by default; with these for about 25 s.
pub(super) fn keepalive(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ])
}

impl Lease {
    /// Connects and takes part, without owning a bucket yet.
    pub(super) async fn join(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let options = pool.connect_options().as_ref().clone().application_name("outbox-relay");
        // The relay only deletes what the broker has. A delete that a crash undoes is a duplicate, which consumers
        // recognise; so there is no need to wait for the disk on every batch.
        let options = keepalive(options).options([("synchronous_commit", "off")]);
        let mut conn = options.connect().await?;
        sqlx::query("SELECT pg_advisory_lock_shared($1, $2)")
            .bind(CLASS)
            .bind(MEMBER)
            .execute(&mut conn)
            .await?;
        Ok(Self { conn, owned: BTreeSet::new(), rebalance_at: Instant::now() })
    }

    /// The buckets that are this relay's.
    pub(super) fn owned(&self) -> &BTreeSet<i16> {
        &self.owned
    }

    /// Takes free buckets up to the fair share, gives up those beyond it. Must not be called while a batch
    /// of an owned bucket is on its way.
    pub(super) async fn rebalance_if_due(&mut self) -> Result<(), sqlx::Error> {
        if Instant::now() < self.rebalance_at {
            return Ok(());
        }
        let share = fair_share(self.members().await?);
        if self.owned.len() > share {
            self.release(self.owned.len() - share).await?;
        } else if self.owned.len() < share {
            self.acquire(share - self.owned.len()).await?;
        }
        self.rebalance_at = Instant::now() + REBALANCE_INTERVAL;
        Ok(())
    }

    /// Gives up every bucket, if there is another relay to take it, and takes no further part. May be called while a
    /// batch is on its way: what the others send of it are copies.
    pub(super) async fn leave_to_others(&mut self) -> Result<bool, sqlx::Error> {
        if self.members().await? < 2 {
            return Ok(false);
        }
        sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.conn).await?;
        self.owned.clear();
        Ok(true)
    }

    /// Leaves at once, so that others need not wait for the connection to be found dead.
    pub(super) async fn leave(self) {
        if let Err(error) = self.conn.close().await {
            tracing::debug!(%error, "could not close the relay's connection");
        }
    }

    async fn members(&mut self) -> Result<usize, sqlx::Error> {
        let members: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks
             WHERE locktype = 'advisory' AND classid = $1::int4::oid AND objid = $2::int4::oid AND objsubid = 2
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND mode = 'ShareLock' AND granted",
        )
        .bind(CLASS)
        .bind(MEMBER)
        .fetch_one(&mut self.conn)
        .await?;
        Ok(usize::try_from(members).unwrap_or_default())
    }

    async fn acquire(&mut self, wanted: usize) -> Result<(), sqlx::Error> {
        let mut free: Vec<i16> = (0..BUCKETS).filter(|bucket| !self.owned.contains(bucket)).collect();
        // Relays that look at the same moment should not all try the same buckets.
        free.shuffle(&mut rand::rng());
        // The lock is tried row by row until the limit is met: nothing stands between filter and limit that
        // would have to see all rows first, so no bucket is locked that is not returned.
        let taken: Vec<i16> = sqlx::query_scalar(
            "SELECT bucket FROM unnest($1::smallint[]) AS bucket
             WHERE pg_try_advisory_lock($2, bucket) LIMIT $3",
        )
        .bind(free)
        .bind(CLASS)
        .bind(i64::try_from(wanted).unwrap_or(i64::MAX))
        .fetch_all(&mut self.conn)
        .await?;
        if !taken.is_empty() {
            tracing::info!(buckets = ?taken, "took over buckets of the outbox");
        }
        self.owned.extend(taken);
        Ok(())
    }

    async fn release(&mut self, surplus: usize) -> Result<(), sqlx::Error> {
        let given: Vec<i16> = self.owned.iter().rev().take(surplus).copied().collect();
        sqlx::query("SELECT pg_advisory_unlock($1, bucket) FROM unnest($2::smallint[]) AS bucket")
            .bind(CLASS)
            .bind(&given)
            .execute(&mut self.conn)
            .await?;
        self.owned.retain(|bucket| !given.contains(bucket));
        tracing::info!(buckets = ?given, "gave up buckets of the outbox to another relay");
        Ok(())
    }
}
