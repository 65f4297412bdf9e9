//! Serves the orders that wait for stock, when there is some.
//!
//! Whoever makes stock free says so after its commit; what it made free stands in the database, and is looked for
//! there as well, because the next process may be another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{Envelope, OrderId};
use domain::after;
use domain::backorder::{Found, Look};
use domain::warehouse::Warehouse;
use futures::FutureExt;
use jiff::Timestamp;
use messaging::Outbox;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::handler::answer;
use super::metrics::Metrics;
use super::sweeper::{Outcomes, SweepError, levels_of, wrong_books};
use super::{queue, store};
use crate::health::Pulse;
use crate::rows::Sorted;
use crate::turns;

/// How often to look unasked. The query reads one row per product.
const INTERVAL: Duration = Duration::from_secs(1);

/// Most orders served in one transaction: few enough that the stock rows are locked for milliseconds. Serving one
/// takes nothing from another, so that it does not matter which come first.
const BATCH: usize = 200;

/// Most places of a line that are read in one transaction, for the same reason: however long a line is, and however
/// many in front of it wait for something else.
pub(super) const PAGE: usize = 200;

/// Says that there is stock for orders that wait. Clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Waker(Arc<Notify>);

impl Waker {
    /// Has the lines looked at, soon.
    pub(super) fn wake(&self) {
        self.0.notify_one();
    }
}

/// What a turn came to.
#[derive(Debug)]
pub(super) struct Served {
    /// How many orders were served.
    pub orders: usize,
    /// Where to look on, if there may be more.
    pub next: Option<Look>,
}

/// Serves orders that wait.
#[derive(Debug)]
pub(super) struct Server {
    /// The inventory's database.
    pub pool: PgPool,
    /// Where the events go.
    pub outbox: Outbox,
    /// Says when to look.
    pub waker: Waker,
    /// How long stock is held for an order that is not decided.
    pub reservation_ttl: Duration,
    /// What is counted.
    pub metrics: Metrics,
    /// Whom it could not serve.
    pub skipped: Skipped,
}

/// Most orders that are remembered as skipped; beyond them nobody needs to be told.
const MOST_SKIPPED: usize = 1000;

/// Orders that cannot be served, so that each is told of once. They are looked at every second.
#[derive(Debug, Default)]
pub(super) struct Skipped(Mutex<BTreeSet<OrderId>>);

impl Skipped {
    fn is_new(&self, order: OrderId) -> bool {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.len() < MOST_SKIPPED && orders.insert(order)
    }
}

impl Server {
    /// Serves until `shutdown`.
    pub(super) async fn run(self, pulse: Pulse, shutdown: CancellationToken) {
        // Where the next turn looks on. One that fails begins in front again.
        let look = Mutex::new(None);
        let take = || look.lock().unwrap_or_else(PoisonError::into_inner).take();
        let keep = |next| *look.lock().unwrap_or_else(PoisonError::into_inner) = next;
        let turn = || async {
            let Served { orders, next } = self.serve(Timestamp::now(), take()).await?;
            let goes_on = orders > 0 || next.is_some();
            keep(next);
            Ok::<_, SweepError>(goes_on)
        };
        // Until somebody says that there is stock, or for as long as that may be missed.
        let pause = || tokio::time::timeout(INTERVAL, self.waker.0.notified()).map(drop);
        turns::take(
            &pulse,
            &shutdown,
            turn,
            pause,
            "orders that wait for stock could not be served; it will be tried again",
        )
        .await;
    }

    /// Looks at a page of each line, from where `look` has come or else from the front, and serves at most [`BATCH`]
    /// orders whose turn it is.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub(super) async fn serve(&self, now: Timestamp, look: Option<Look>) -> Result<Served, SweepError> {
        let mut tx = self.pool.begin().await?;
        let look = match look {
            Some(look) => look,
            None => Look::along(queue::products(&mut tx).await?),
        };
        let products = look.products();
        if products.is_empty() {
            return Ok(Served { orders: 0, next: None });
        }
        let levels = store::lock_levels(&mut tx, &products).await?;
        // Under the locks: nobody comes, goes or is served meanwhile.
        let pages = queue::pages(&mut tx, &look, &levels, PAGE).await?;
        let Found { orders, next } = look.at(&pages, BATCH);
        let orders: Vec<OrderId> = orders.into_iter().collect();
        if orders.is_empty() {
            return Ok(Served { orders: 0, next });
        }
        let mut causes = self.known(queue::causes(&mut tx, &orders).await?);
        let on_record = self.known(store::sorted_reservations(&mut tx, &orders).await?);
        causes.retain(|order, _| on_record.contains_key(order));
        let mut warehouse = Warehouse::new(levels, on_record);
        let (outcomes, mut news) = self.let_have(&mut warehouse, &causes, now);
        let stories = causes.iter().map(|(order, cause)| (*order, cause.correlation_id.clone())).collect();
        store::save(&mut tx, &warehouse, &stories, now).await?;
        queue::save(&mut tx, &warehouse, &[]).await?;
        news.extend(levels_of(&warehouse, &stories, now));
        self.outbox.append(&mut tx, &news).await?;
        tx.commit().await?;
        self.outbox.notify();
        outcomes.iter().for_each(|(order, outcome)| self.metrics.count(*order, &stories, outcome));
        Ok(Served { orders: outcomes.len(), next })
    }

    fn let_have(
        &self,
        warehouse: &mut Warehouse,
        causes: &BTreeMap<OrderId, Envelope>,
        now: Timestamp,
    ) -> (Outcomes, Vec<Envelope>) {
        let (mut outcomes, mut news) = (Outcomes::new(), Vec::new());
        for (order, cause) in causes {
            let outcome = match warehouse.on_turn(*order, after(now, self.reservation_ttl)) {
                Ok(outcome) => outcome,
                Err(error) => {
                    if self.skipped.is_new(*order) {
                        wrong_books(*order, &cause.correlation_id, &error);
                    }
                    continue;
                }
            };
            let event = cause.event.details().and_then(|details| answer(*order, details, &outcome));
            news.extend(event.map(|event| Envelope::caused_by(cause, event, now)));
            outcomes.push((*order, outcome));
        }
        (outcomes, news)
    }

    /// What could be read. The others keep their places, and are passed by where there is stock for those behind as
    /// well.
    fn known<T>(&self, sorted: Sorted<(OrderId, T)>) -> BTreeMap<OrderId, T> {
        for (order, error) in &sorted.unreadable {
            if self.skipped.is_new(*order) {
                let error = error as &dyn std::error::Error;
                tracing::error!(order.id = %order, error, "an order that waits cannot be read");
            }
        }
        sorted.readable.into_iter().collect()
    }
}
