//! Between processes of one service of which some write to the outbox and others publish it: whoever wrote rings, and
//! the relays hear it. Only to be quick: what is not heard is found by the relays' next poll.
//!
//! It is PostgreSQL's `NOTIFY`, in a statement of its own after the commit: inside of a transaction it would have all
//! that notify commit one after the other.

use std::convert::Infallible;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio_util::sync::CancellationToken;

use super::Outbox;
use super::lease::keepalive;
use super::relay::{bounded, wait_or_stop};
use crate::Pace;
use crate::backoff::Backoff;

/// Channels belong to a database, so that those of other services need other names as little as their tables do.
const CHANNEL: &str = "outbox";

/// Rings, for as long as `shutdown` does not fire, whenever this process has written to `outbox`; once more then.
pub(crate) async fn ring_until(pool: &PgPool, outbox: &Outbox, shutdown: &CancellationToken) {
    let mut pace = Pace::default();
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = outbox.written().notified() => {}
            () = shutdown.cancelled() => {}
        }
        // Rows that are written meanwhile are rung for together.
        pace.wait().await;
        pace.begin();
        let ring = sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(pool);
        if let Err(error) = bounded(ring).await {
            tracing::debug!(%error, "could not tell the relays of new rows; they find them by themselves");
        }
    }
}

/// Wakes the relay of this process, until `shutdown`, whenever another one rings.
pub(super) async fn hear_until(pool: &PgPool, outbox: &Outbox, shutdown: &CancellationToken) {
    let mut outage = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    while !shutdown.is_cancelled() {
        let ended = tokio::select! {
            ended = hear(pool, outbox, &mut outage) => ended,
            () = shutdown.cancelled() => return,
        };
        let (Err(error), wait) = (ended, outage.next());
        tracing::debug!(%error, ?wait, "the relay does not hear of new rows; it finds them by itself");
        wait_or_stop(wait, shutdown).await;
    }
}

async fn hear(pool: &PgPool, outbox: &Outbox, outage: &mut Backoff) -> Result<Infallible, sqlx::Error> {
    // A connection beside those of the service: whoever listens has it for good.
    let options = keepalive(pool.connect_options().as_ref().clone().application_name("outbox-bell"));
    let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&own).await?;
    listener.listen(CHANNEL).await?;
    outage.reset();
    loop {
        // None says that the connection was lost and made anew: somebody may have rung meanwhile.
        listener.try_recv().await?;
        outbox.notify();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use devcluster::testing;

    use super::*;
    use crate::JsonCodec;

    const PATIENCE: Duration = Duration::from_secs(60);
    const LISTENING: &str = "SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'outbox-bell'
           AND query LIKE 'LISTEN%' AND state = 'idle' AND pid <> $1";

    /// One process that rings and one that hears.
    struct Pair {
        pool: PgPool,
        writing: Outbox,
        publishing: Outbox,
        _stop: tokio_util::sync::DropGuard,
    }

    async fn pair() -> Pair {
        let url = tokio::task::block_in_place(|| testing::postgres().create_database("bell"));
        let pool = PgPool::connect(&url).await.unwrap();
        let [writing, publishing] = [(), ()].map(|()| Outbox::new(Arc::new(JsonCodec)));
        let stop = CancellationToken::new();
        for hears in [false, true] {
            let (pool, stop) = (pool.clone(), stop.clone());
            let outbox = if hears { publishing.clone() } else { writing.clone() };
            tokio::spawn(async move {
                if hears {
                    hear_until(&pool, &outbox, &stop).await;
                } else {
                    ring_until(&pool, &outbox, &stop).await;
                }
            });
        }
        let pair = Pair { pool, writing, publishing, _stop: stop.drop_guard() };
        pair.until_it_listens(0).await;
        pair
    }

    impl Pair {
        /// Waits for a listener that is not the process `gone`; answers with its process.
        async fn until_it_listens(&self, gone: i32) -> i32 {
            let search = async {
                loop {
                    let found = sqlx::query_scalar(LISTENING).bind(gone).fetch_optional(&self.pool);
                    if let Some(pid) = found.await.unwrap() {
                        return pid;
                    }
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, search).await.expect("somebody listens")
        }

        async fn heard(&self) {
            let heard = self.publishing.written().notified();
            tokio::time::timeout(PATIENCE, heard).await.expect("it is heard");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_one_process_wrote_another_hears_of() {
        let pair = pair().await;

        for _ in 0..3 {
            pair.writing.notify();
            pair.heard().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_lost_the_connection_looks_and_hears_again() {
        let pair = pair().await;
        let pid = pair.until_it_listens(0).await;

        sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&pair.pool).await.unwrap();

        pair.heard().await;
        pair.until_it_listens(pid).await;
        pair.writing.notify();
        pair.heard().await;
    }
}
