//! Takes back what is held for orders that nobody decided, and ends the waiting of those that waited long enough.
//! The former is the second line of defence behind the saga's own deadlines, which are much shorter. It rests while
//! decisions may have gone unheard: what is paid for must not be given to others. Rows, not timers: a restart forgets
//! nothing.

use std::time::Duration;

use contract::{CorrelationId, Envelope, Event, InventoryFailed, InventoryReleased, OrderId, ProductId};
use domain::stock::{StockError, StockLevel};
use domain::warehouse::{Outcome, Warehouse};
use jiff::Timestamp;
use messaging::{AppendError, Outbox};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::handler::{is_awaited, updated};
use super::metrics::Metrics;
use super::queue;
use super::store::{self, Ending, SaveError, Stories};
use super::waker::Waker;
use crate::health::Pulse;
use crate::hold::Holder;
use crate::turns;

/// How often expired reservations are looked for; an index finds them, so an idle look costs next to nothing.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// How long the sweeper may be silent: a turn waits for locks and for a connection, but not for ever.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// Most reservations per transaction: few enough that the stock rows are locked for milliseconds.
const BATCH: i64 = 200;

/// Why expired reservations could not be released. They are looked for again at the next turn.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    /// The database did not do it.
    #[error("could not release expired reservations")]
    Database(#[from] sqlx::Error),
    /// The news could not be appended to the outbox.
    #[error("could not announce expired reservations")]
    Announce(#[from] AppendError),
    /// An event decided about an order meanwhile.
    #[error("could not save expired reservations")]
    Save(#[from] SaveError),
}

/// Looks for reservations that have expired.
#[derive(Debug)]
pub(super) struct Sweeper {
    /// The inventory's database.
    pub pool: PgPool,
    /// Where the events go.
    pub outbox: Outbox,
    /// Told when there is stock for those who wait.
    pub waker: Waker,
    /// What is counted.
    pub metrics: Metrics,
    /// Says whether reservations may expire.
    pub holder: Holder,
}

impl Sweeper {
    /// Sweeps until `shutdown`.
    pub(super) async fn run(self, pulse: Pulse, shutdown: CancellationToken) {
        let turn = || self.take_turn(Timestamp::now());
        let pause = || tokio::time::sleep(INTERVAL);
        turns::take(&pulse, &shutdown, turn, pause, "the sweep failed and will be repeated").await;
    }

    /// Sweeps once; says whether there may be more to do.
    pub(super) async fn take_turn(&self, now: Timestamp) -> Result<bool, SweepError> {
        let ending = if self.holder.allows(now).await? { Ending::WaitsAndHolds } else { Ending::Waits };
        Ok(self.sweep(now, ending).await? > 0)
    }

    /// Releases at most [`BATCH`] reservations that have expired at `now`; returns how many it found. Those that
    /// cannot be read or released are set aside.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub(super) async fn sweep(&self, now: Timestamp, ending: Ending) -> Result<usize, SweepError> {
        let mut tx = self.pool.begin().await?;
        let expired = store::expired(&mut tx, now, ending, BATCH).await?;
        let orders: Vec<OrderId> = expired.keys().copied().collect();
        let products =
            expired.values().flat_map(|held| &held.items).map(|item| item.product_id.clone()).collect();
        let stories: Stories = expired.into_iter().map(|(order, held)| (order, held.story)).collect();
        // Looked at again under the locks: an event or another replica may have been quicker.
        let mut warehouse = store::load(&mut tx, &orders, &products).await?;
        let Expiry { outcomes, mut news, stuck } = expire(&mut warehouse, &stories, now);
        store::save(&mut tx, &warehouse, &stories, now).await?;
        store::set_aside(&mut tx, &stuck, now).await?;
        queue::save(&mut tx, &warehouse, &[]).await?;
        news.extend(levels_of(&warehouse, &stories, now));
        self.outbox.append(&mut tx, &news).await?;
        tx.commit().await?;
        if !news.is_empty() {
            self.outbox.notify();
        }
        if warehouse.changed_levels().any(|(_, level)| is_awaited(*level)) {
            self.waker.wake();
        }
        outcomes.iter().for_each(|(order, outcome)| self.metrics.count(*order, &stories, outcome));
        Ok(orders.len())
    }
}

/// What became of each reservation.
pub(super) type Outcomes = Vec<(OrderId, Outcome)>;

/// What became of reservations whose time is over.
struct Expiry {
    outcomes: Outcomes,
    news: Vec<Envelope>,
    /// Those that cannot be released.
    stuck: Vec<OrderId>,
}

fn expire(warehouse: &mut Warehouse, stories: &Stories, now: Timestamp) -> Expiry {
    let mut expiry = Expiry { outcomes: Outcomes::new(), news: Vec::new(), stuck: Vec::new() };
    for (order, story) in stories {
        let outcome = match warehouse.expire(*order, now) {
            Ok(outcome) => outcome,
            Err(error) => {
                wrong_books(*order, story, &error);
                expiry.stuck.push(*order);
                continue;
            }
        };
        let order_id = *order;
        let event: Option<Event> = match outcome.clone() {
            Outcome::Released { items, reason } => Some(InventoryReleased { order_id, items, reason }.into()),
            Outcome::Refused { reason, shortages } => {
                Some(InventoryFailed { order_id, reason, shortages, waits_until: None }.into())
            }
            _ => None,
        };
        expiry.news.extend(event.map(|event| Envelope::new(event, story.clone(), now)));
        expiry.outcomes.push((*order, outcome));
    }
    expiry
}

/// Calls for help: the stock of an order cannot be moved until somebody has mended the books.
pub(super) fn wrong_books(order: OrderId, story: &CorrelationId, error: &StockError) {
    tracing::error!(
        order.id = %order, correlation_id = story.as_str(), error = error as &dyn std::error::Error,
        "the books are wrong: the stock of order {order} cannot be moved"
    );
}

/// The new levels. Several orders may have led to one; it is told as a part of the first one's story.
pub(super) fn levels_of(warehouse: &Warehouse, stories: &Stories, now: Timestamp) -> Vec<Envelope> {
    let Some(story) = stories.values().next() else { return Vec::new() };
    let announce = |(product, level): (&ProductId, &StockLevel)| {
        Envelope::new(updated(product, *level).into(), story.clone(), now)
    };
    warehouse.changed_levels().map(announce).collect()
}
