//! Ends what nobody answered: deadlines are rows, and this looks for those that have passed. Runs in every
//! replica; rows that another one has locked are skipped, so they share the work. Also forgets idempotency
//! keys that are too old to be used again.

use std::time::Duration;

use contract::Envelope;
use domain::saga::Input;
use jiff::Timestamp;
use messaging::{AppendError, HandleError, Outbox};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::handler::save_all;
use super::metrics::Metrics;
use super::progress::Loaded;
use super::watch::Watch;
use super::{keys, store};
use crate::health::Pulse;

/// How often is looked: how late a deadline may be noticed. The query reads an index of orders in flight.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// How long a sweep may take before the process counts as stuck: far beyond what a database that is down
/// takes to say so.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Orders per transaction: small enough that events for them do not wait long for the locks.
const BATCH: i64 = 200;

/// How long a key protects from a second order: longer than any client retries.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a sweep failed. The next one tries again.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The database could not be read or written.
    #[error("could not sweep the orders")]
    Database(#[from] sqlx::Error),
    /// The orders could not be saved.
    #[error("could not save the orders")]
    Save(#[from] HandleError),
    /// The events could not be appended.
    #[error("could not announce the orders")]
    Append(#[from] AppendError),
}

/// Looks for deadlines that have passed.
pub struct Sweeper {
    /// The orders' database.
    pub pool: PgPool,
    /// Where the events go.
    pub outbox: Outbox,
    /// What is counted.
    pub metrics: Metrics,
    /// Who waits for orders to end.
    pub watch: Watch,
}

impl Sweeper {
    /// Sweeps until `shutdown`.
    pub async fn run(self, pulse: Pulse, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            pulse.beat();
            match self.sweep(Timestamp::now()).await {
                Ok(swept) if swept == BATCH => continue,
                Ok(_all) => {}
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the sweep failed and will be repeated"
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Ends at most [`BATCH`] overdue orders as of `now`, and returns how many it found.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub async fn sweep(&self, now: Timestamp) -> Result<i64, SweepError> {
        let mut tx = self.pool.begin().await?;
        let mut orders: Vec<Loaded> =
            store::lock_overdue(&mut tx, now, BATCH).await?.into_iter().map(Loaded::new).collect();
        let mut events = Vec::new();
        for loaded in &mut orders {
            let correlation_id = loaded.order.correlation_id.clone();
            let following = loaded.advance(Input::DeadlinePassed, now, &self.metrics);
            let envelope = |event| Envelope::new(event, correlation_id.clone(), now);
            events.extend(following.into_iter().map(envelope));
        }
        let changed: Vec<&Loaded> = orders.iter().filter(|loaded| loaded.is_changed()).collect();
        if !changed.is_empty() {
            save_all(&mut tx, &changed, now).await?;
            self.outbox.append(&mut tx, &events).await?;
        }
        self.forget_keys(&mut tx, now).await?;
        tx.commit().await?;
        if !changed.is_empty() {
            self.outbox.notify();
            self.watch.touch();
        }
        Ok(i64::try_from(orders.len()).unwrap_or(BATCH))
    }

    async fn forget_keys(&self, conn: &mut sqlx::PgConnection, now: Timestamp) -> Result<(), SweepError> {
        let Ok(before) = now.checked_sub(KEY_LIFETIME) else { return Ok(()) };
        let forgotten = keys::forget(conn, before, BATCH).await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "old idempotency keys were forgotten");
        }
        Ok(())
    }
}
