//! Ends what nobody answered: deadlines are rows, and this looks for those that have passed. Runs in every
//! replica; rows that another one has locked are skipped, so they share the work. Also forgets idempotency
//! keys that are too old to be used again.

use std::time::Duration;

use contract::{Envelope, OrderId};
use domain::saga::Input;
use futures::TryFutureExt;
use jiff::Timestamp;
use messaging::{AppendError, HandleError, Outbox};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::handler::save_all;
use super::metrics::Metrics;
use super::progress::{Loaded, News};
use super::watch::Watch;
use super::{keys, store};
use crate::health::Pulse;
use crate::turns;

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
        let turn = || self.sweep(Timestamp::now()).map_ok(|swept| swept == BATCH);
        let pause = || tokio::time::sleep(INTERVAL);
        turns::take(&pulse, &shutdown, turn, pause, "the sweep failed and will be repeated").await;
    }

    /// Looks at at most [`BATCH`] orders that are due as of `now`, ends those whose deadline is over, and returns
    /// how many it looked at.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub async fn sweep(&self, now: Timestamp) -> Result<i64, SweepError> {
        let mut tx = self.pool.begin().await?;
        let due = store::lock_due(&mut tx, now, BATCH).await?;
        let mut sagas: Vec<Loaded> = due.into_iter().map(Loaded::new).collect();
        let news: Vec<Vec<News>> = sagas
            .iter_mut()
            .map(|loaded| loaded.advance(Input::DeadlinePassed, now, &self.metrics))
            .collect();
        let (ended, moved): (Vec<&Loaded>, Vec<&Loaded>) =
            sagas.iter().partition(|loaded| loaded.is_changed());
        if !moved.is_empty() {
            store::sweep_at_deadline(&mut tx, &ids(&moved)).await?;
        }
        if !ended.is_empty() {
            save_all(&mut tx, &ended, now).await?;
            let origins = store::origins(&mut tx, &ids(&ended)).await?;
            let mut events = Vec::new();
            for (loaded, news) in sagas.iter().zip(news) {
                let Some(origin) = origins.get(&loaded.stored.order_id) else { continue };
                for item in news {
                    let event = loaded.tell(item, &origins)?;
                    events.push(Envelope::new(event, origin.correlation_id.clone(), now));
                }
            }
            self.outbox.append(&mut tx, &events).await?;
        }
        let is_news = !ended.is_empty();
        self.forget_keys(&mut tx, now).await?;
        tx.commit().await?;
        if is_news {
            self.outbox.notify();
            self.watch.touch();
        }
        Ok(i64::try_from(sagas.len()).unwrap_or(BATCH))
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

fn ids(sagas: &[&Loaded]) -> Vec<OrderId> {
    sagas.iter().map(|loaded| loaded.stored.order_id).collect()
}
