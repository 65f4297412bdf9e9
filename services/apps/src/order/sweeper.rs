//! Ends what nobody answered: deadlines are rows, and this looks for those that have passed, unless answers may
//! have gone unheard. Runs in every replica; rows that another one has locked are skipped, so they share the work.
//! Also forgets idempotency keys that are too old to be used again.

use std::time::Duration;

use contract::{Envelope, OrderId};
use domain::saga::Input;
use jiff::Timestamp;
use messaging::{AppendError, HandleError, Outbox};
use sqlx::PgPool;
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use super::handler::save_all;
use super::metrics::Metrics;
use super::progress::{Loaded, News};
use super::store::Ending;
use super::watch::Watch;
use super::{keys, store};
use crate::health::Pulse;
use crate::hold::Holder;
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
    /// Says whether deadlines may cancel.
    pub(crate) holder: Holder,
}

/// An order that is due, and what is to be told of it.
type Due = (Loaded, Vec<News>);

impl Sweeper {
    /// Sweeps until `shutdown`.
    pub async fn run(self, pulse: Pulse, shutdown: CancellationToken) {
        let turn = || self.take_turn(Timestamp::now());
        let pause = || tokio::time::sleep(INTERVAL);
        turns::take(&pulse, &shutdown, turn, pause, "the sweep failed and will be repeated").await;
    }

    /// Sweeps once and forgets some keys. Says whether there may be more to do.
    pub(super) async fn take_turn(&self, now: Timestamp) -> Result<bool, SweepError> {
        let forgotten = self.forget_keys(now).await?;
        let ending = if self.holder.allows(now).await? { Ending::All } else { Ending::Confirmed };
        Ok(self.sweep(now, ending).await? == BATCH || forgotten == BATCH)
    }

    /// Looks at at most [`BATCH`] orders that are due as of `now`, ends those whose deadline is over, and returns
    /// how many it looked at. Those that cannot be read are set aside.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub async fn sweep(&self, now: Timestamp, ending: Ending) -> Result<i64, SweepError> {
        let mut tx = self.pool.begin().await?;
        let due = store::lock_due(&mut tx, now, ending, BATCH).await?;
        let looked_at = i64::try_from(due.len()).unwrap_or(BATCH);
        let advance = |stored| {
            let mut loaded = Loaded::new(stored);
            let news = loaded.advance(Input::DeadlinePassed, now, &self.metrics);
            (loaded, news)
        };
        let (over, moved): (Vec<Due>, Vec<Due>) =
            due.into_iter().map(advance).partition(|(loaded, _)| loaded.is_changed());
        if !moved.is_empty() {
            store::sweep_at_deadline(&mut tx, &ids(&moved)).await?;
        }
        let is_news = !over.is_empty();
        if is_news {
            self.end(&mut tx, over, now).await?;
        }
        tx.commit().await?;
        if is_news {
            self.outbox.notify();
            self.watch.touch();
        }
        Ok(looked_at)
    }

    /// Saves and tells that the deadlines of `over` have ended them.
    async fn end(&self, conn: &mut PgConnection, over: Vec<Due>, now: Timestamp) -> Result<(), SweepError> {
        let origins = store::origins(conn, &ids(&over)).await?;
        let (ended, lost): (Vec<Due>, Vec<Due>) =
            over.into_iter().partition(|(loaded, _)| origins.contains_key(&loaded.stored.order_id));
        for (loaded, _) in &lost {
            let order_id = loaded.stored.order_id;
            tracing::error!(order.id = %order_id, "order {order_id} is late, and what was ordered cannot be told");
        }
        store::set_aside(conn, &ids(&lost), now).await?;
        save_all(conn, &ended.iter().map(|(loaded, _)| loaded).collect::<Vec<_>>(), now).await?;
        let mut events = Vec::new();
        for (loaded, news) in ended {
            let Some(origin) = origins.get(&loaded.stored.order_id) else { continue };
            for item in news {
                let event = loaded.tell(item, &origins)?;
                events.push(Envelope::new(event, origin.correlation_id.clone(), now));
            }
        }
        Ok(self.outbox.append(conn, &events).await?)
    }

    async fn forget_keys(&self, now: Timestamp) -> Result<i64, SweepError> {
        let Ok(before) = now.checked_sub(KEY_LIFETIME) else { return Ok(0) };
        let mut conn = self.pool.acquire().await?;
        let forgotten = keys::forget(&mut conn, before, BATCH).await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "old idempotency keys were forgotten");
        }
        Ok(i64::try_from(forgotten).unwrap_or(BATCH))
    }
}

fn ids(orders: &[Due]) -> Vec<OrderId> {
    orders.iter().map(|(loaded, _)| loaded.stored.order_id).collect()
}
