//! Lets requests wait for the end of an order. One query looks for all of them together, so that a thousand
//! waiting requests cost as much as one. What the database says is the truth, hence it does not matter which
//! replica ends an order; a signal from this process's handler only makes the next look come sooner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::OrderId;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::store;

/// How soon after a signal the first look comes: the signal precedes the commit by about this.
const SOONEST: Duration = Duration::from_millis(5);

/// How far apart looks are without a signal: half of this is the delay that a waiting request sees when
/// another replica ended its order.
const LATEST: Duration = Duration::from_millis(200);

/// Where requests wait. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Watch {
    inner: Arc<Inner>,
    closing: CancellationToken,
}

#[derive(Default)]
struct Inner {
    waiting: Mutex<HashMap<OrderId, watch::Sender<bool>>>,
    someone_waits: Notify,
    touched: Notify,
}

impl Watch {
    /// A place to wait until `closing`, which sends everyone away.
    pub fn new(closing: CancellationToken) -> Self {
        Self { inner: Arc::default(), closing }
    }

    /// Says that some order has ended or is about to.
    pub fn touch(&self) {
        self.inner.touched.notify_one();
    }

    /// Waits until order `id` has been seen ended, for at most `limit`. Which of the two it was, the caller
    /// learns by reading the order.
    pub async fn until_ended(&self, id: OrderId, limit: Duration) {
        let mut place = Place::take(self.inner.clone(), id);
        self.inner.someone_waits.notify_one();
        tokio::select! {
            _ = place.ended.wait_for(|ended| *ended) => {}
            () = tokio::time::sleep(limit) => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// Looks for orders that have ended, until `shutdown`.
    pub async fn run(self, pool: PgPool, shutdown: CancellationToken) {
        let mut pause = LATEST;
        while !shutdown.is_cancelled() {
            let ids = self.ids();
            if ids.is_empty() {
                tokio::select! {
                    () = self.inner.someone_waits.notified() => {}
                    () = shutdown.cancelled() => {}
                }
                continue;
            }
            match look(&pool, &ids).await {
                Ok(ended) => self.release(&ended),
                Err(error) => tracing::warn!(error = %error, "could not look for orders that have ended"),
            }
            pause = tokio::select! {
                () = self.inner.touched.notified() => SOONEST,
                () = tokio::time::sleep(pause) => (pause * 2).min(LATEST),
                () = shutdown.cancelled() => pause,
            };
            if pause == SOONEST {
                tokio::time::sleep(pause).await;
            }
        }
    }

    fn ids(&self) -> Vec<OrderId> {
        self.lock().keys().copied().collect()
    }

    fn release(&self, ids: &[OrderId]) {
        let waiting = self.lock();
        for sender in ids.iter().filter_map(|id| waiting.get(id)) {
            sender.send_replace(true);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OrderId, watch::Sender<bool>>> {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look(pool: &PgPool, ids: &[OrderId]) -> Result<Vec<OrderId>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    store::ended_among(&mut conn, ids).await
}

/// One request's place; leaving it is dropping it, which also happens when the client goes away.
struct Place {
    inner: Arc<Inner>,
    id: OrderId,
    ended: watch::Receiver<bool>,
}

impl Place {
    fn take(inner: Arc<Inner>, id: OrderId) -> Self {
        let ended = inner
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id)
            .or_insert_with(|| watch::Sender::new(false))
            .subscribe();
        Self { inner, id, ended }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Our own receiver is still counted.
        if waiting.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.remove(&self.id);
        }
    }
}
