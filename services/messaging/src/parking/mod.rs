//! Parked events: those that could not be handled yet, and those of the same key that came after them. One bad
//! key waits here, in order, while its partition goes on.
//!
//! # Why no event is overtaken, lost or handled by two at once
//! - Each key has a queue of rows by id, and exactly its first row, the head, has a due date. All that changes
//!   a queue's shape (appending, removing the head) holds the key's advisory lock until it has committed: so
//!   ids follow the order of commits, and an event that is appended while the last one before it is being
//!   removed either becomes the next head or is seen by who removes and made so.
//! - A retry holds the head's row lock from before the handler is called until head, effect and turn of the
//!   next have committed together. Others skip a locked row, so a key is worked at by one at a time, and a
//!   crash gives it free.
//! - A consumer appends what it gets of a key that has a head. Within a partition it cannot miss one: the event
//!   before was parked by itself, or by the partition's former owner before it gave the partition up. (An
//!   owner that lost the partition without knowing may park an event later, but that event was then also
//!   delivered to the new owner, and whichever handles it second finds it done.) Events of one key on different
//!   topics may be with different replicas; those learn of each other's parked keys within
//!   [`SURVEY_INTERVAL`].
//!
//! The lock is never held while a handler runs, so a consumer never waits for one bad key's retry.

mod claim;
mod queue;

use std::collections::HashSet;
use std::time::Duration;

use contract::Topic;
use sqlx::PgPool;
use tokio::sync::watch;

pub(crate) use self::claim::Head;
use crate::Delivery;
use crate::record::Incoming;

/// How often the table is looked over. While it is known to be empty, nothing else ever reads it.
pub(crate) const SURVEY_INTERVAL: Duration = Duration::from_secs(1);

/// Records and what was in them; parallel to each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrivals<'a> {
    pub(crate) records: &'a [Incoming],
    pub(crate) deliveries: &'a [Delivery],
}

/// The parked events of one consumer.
#[derive(Debug)]
pub(crate) struct Parking {
    pool: PgPool,
    consumer: &'static str,
    topics: Vec<&'static str>,
    known: watch::Sender<Known>,
}

/// What this process knows without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// How often there was reason to look again.
    doubts: u64,
    /// Whether there was nothing, when last looked and since.
    pub(crate) empty: bool,
}

/// What is parked, of all replicas together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Survey {
    pub(crate) events: i64,
    pub(crate) oldest_age: Duration,
}

impl Parking {
    /// The events of `topics` that `consumer` parked.
    pub(crate) fn new(pool: PgPool, consumer: &'static str, topics: &[Topic]) -> Self {
        let topics = topics.iter().map(|topic| topic.name()).collect();
        Self { pool, consumer, topics, known: watch::Sender::new(Known { doubts: 0, empty: false }) }
    }

    /// Whether events of `topic` are handled here.
    pub(crate) fn consumes(&self, topic: Topic) -> bool {
        self.topics.contains(&topic.name())
    }

    /// Follows what is known.
    pub(crate) fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Notes that something may be parked: a partition came whose former owner may have parked some of it, or
    /// something was parked here. To be called after it was committed: what is read from now on shows it.
    pub(crate) fn doubt(&self) {
        self.known.send_modify(|known| *known = Known { doubts: known.doubts + 1, empty: false });
    }

    /// Looks the table over, and remembers if it is empty.
    pub(crate) async fn survey(&self) -> Result<Survey, sqlx::Error> {
        let doubts = self.known.borrow().doubts;
        let (events, age): (i64, f64) = sqlx::query_as(
            "SELECT count(*), coalesce(extract(epoch FROM now() - min(parked_at)), 0)::float8
             FROM parked_events WHERE consumer = $1",
        )
        .bind(self.consumer)
        .fetch_one(&self.pool)
        .await?;
        if events > 0 {
            self.known.send_if_modified(|known| std::mem::take(&mut known.empty));
        } else {
            self.found_nothing(doubts);
        }
        Ok(Survey { events, oldest_age: Duration::try_from_secs_f64(age).unwrap_or_default() })
    }

    /// Remembers that there was nothing when there had been so many `doubts`. Whatever gave rise to another
    /// since may have come after the look.
    fn found_nothing(&self, doubts: u64) {
        self.known.send_if_modified(|known| {
            let news = !known.empty && known.doubts == doubts;
            known.empty |= news;
            news
        });
    }

    /// Parks `record`, whose event `delivery` could not be handled because of `error`: it is tried again after
    /// `wait`, or when those of its key before it are done.
    pub(crate) async fn park(
        &self,
        record: &Incoming,
        delivery: &Delivery,
        error: &str,
        wait: Duration,
    ) -> Result<(), sqlx::Error> {
        let (records, deliveries) = (std::slice::from_ref(record), std::slice::from_ref(delivery));
        let rows = queue::rows_of(Arrivals { records, deliveries }, |_| true);
        self.append(&rows, Some(error), wait).await
    }

    /// Appends those of `arrivals` whose key is parked to its queue. Returns these keys: their events are the
    /// retrier's from now on. Costs nothing while nothing is parked.
    pub(crate) async fn queue_behind(&self, arrivals: Arrivals<'_>) -> Result<HashSet<Vec<u8>>, sqlx::Error> {
        if self.known.borrow().empty {
            return Ok(HashSet::new());
        }
        let keys: HashSet<&[u8]> =
            arrivals.deliveries.iter().map(|delivery| delivery.key.as_bytes()).collect();
        let parked: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT key FROM parked_events WHERE consumer = $1 AND key = ANY ($2) AND due_at IS NOT NULL",
        )
        .bind(self.consumer)
        .bind(keys.into_iter().collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await?;
        let parked: HashSet<Vec<u8>> = parked.into_iter().collect();
        if !parked.is_empty() {
            // Should a queue have been worked off meanwhile, the first of these becomes its head: a detour, but
            // never out of order.
            let rows = queue::rows_of(arrivals, |key| parked.contains(key));
            self.append(&rows, None, Duration::ZERO).await?;
        }
        Ok(parked)
    }

    async fn append(
        &self,
        rows: &[queue::Row<'_>],
        error: Option<&str>,
        wait: Duration,
    ) -> Result<(), sqlx::Error> {
        let keys: Vec<&[u8]> = rows.iter().map(|row| row.key).collect();
        let appended = async {
            let mut tx = self.pool.begin().await?;
            queue::lock(&mut tx, self.consumer, &keys).await?;
            queue::insert(&mut tx, self.consumer, rows, error).await?;
            queue::promote(&mut tx, self.consumer, &keys, wait).await?;
            tx.commit().await
        };
        let result = appended.await;
        // Also after an error: a commit whose answer was lost may have been one.
        self.doubt();
        result
    }
}

#[cfg(test)]
mod tests;
