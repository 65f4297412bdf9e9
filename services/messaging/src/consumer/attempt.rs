//! One attempt at some events: one transaction with inbox, handler and outbox, or nothing.

use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::effects::AfterCommit;
use crate::outbox::AppendError;
use crate::parking::{Arrivals, Head, Parking};
use crate::{Deduplication, Delivery, Effects, HandleError, Handler, Outbox, inbox};

/// How long the database may take to answer a ping before it counts as gone.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer than a statement a whole attempt at a parked event may take, so that it is the database
/// that ends a statement that hangs, and with it the locks.
const GRACE: Duration = Duration::from_secs(1);

/// What an attempt needs.
pub(super) struct Attempt<H> {
    pub(super) handler: H,
    pub(super) pool: PgPool,
    pub(super) outbox: Outbox,
    pub(super) parking: Arc<Parking>,
    /// Whose inbox it is.
    pub(super) consumer: &'static str,
    pub(super) timeout: Duration,
}

/// What became of events in an attempt that succeeded.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The ids of those that were handled.
    pub(super) handled: HashSet<Uuid>,
    /// The keys whose events were queued behind a parked one.
    pub(super) parked_keys: HashSet<Vec<u8>>,
}

/// What follows a commit.
#[derive(Default)]
struct Sequel {
    /// Whether something is to be published.
    emitted: bool,
    /// What the handler asked to be told.
    after_commit: AfterCommit,
}

impl<H: Handler> Attempt<H> {
    /// Handles those of `arrivals` that are new and not behind a parked event, all or none. Of those that the
    /// handler recognises by its own rows it cannot tell whether they are new.
    pub(super) async fn at(&self, arrivals: Arrivals<'_>) -> Result<Taken, HandleError> {
        self.bounded(self.timeout, async {
            let parked_keys = self.parking.queue_behind(arrivals).await?;
            let free = without(&parked_keys, arrivals.deliveries);
            let handled = if free.is_empty() { HashSet::new() } else { self.transact(&free).await? };
            Ok(Taken { handled, parked_keys })
        })
        .await
    }

    async fn transact(&self, deliveries: &[Delivery]) -> Result<HashSet<Uuid>, HandleError> {
        let mut tx = self.pool.begin().await?;
        let (new, sequel) = self.take_effect(&mut tx, deliveries).await?;
        // Without new events there is nothing to commit.
        if !new.is_empty() {
            tx.commit().await?;
            self.follow_up(sequel);
        }
        Ok(new)
    }

    /// Handles the parked event at `head`, which `tx` holds, removes it, and commits. Returns whether it was
    /// new.
    pub(super) async fn at_parked(
        &self,
        mut tx: sqlx::PgTransaction<'_>,
        head: &Head,
        delivery: Delivery,
    ) -> Result<bool, HandleError> {
        self.bounded(self.timeout + GRACE, async {
            let (new, sequel) = self.take_effect(&mut tx, &[delivery]).await?;
            self.parking.remove(&mut tx, head).await?;
            tx.commit().await?;
            self.follow_up(sequel);
            Ok(!new.is_empty())
        })
        .await
    }

    async fn bounded<T>(
        &self,
        timeout: Duration,
        attempt: impl Future<Output = Result<T, HandleError>>,
    ) -> Result<T, HandleError> {
        match tokio::time::timeout(timeout, attempt).await {
            Ok(result) => result,
            // Either the handler is stuck on something of its own, or a connection hangs.
            Err(_) if self.database_answers().await => {
                Err(HandleError::transient(format!("not done within {timeout:?}")))
            }
            Err(_) => Err(HandleError::unavailable("the database does not answer")),
        }
    }

    /// Lets the new ones of `deliveries` have their effect. Returns their ids, and what is to follow the commit.
    async fn take_effect(
        &self,
        conn: &mut PgConnection,
        deliveries: &[Delivery],
    ) -> Result<(HashSet<Uuid>, Sequel), HandleError> {
        let new = self.claim(conn, deliveries).await?;
        if new.is_empty() {
            return Ok((new, Sequel::default()));
        }
        let sequel = self.act(conn, &only(&new, deliveries)).await?;
        Ok((new, sequel))
    }

    /// The ids of those of `deliveries` that are the handler's to look at.
    async fn claim(
        &self,
        conn: &mut PgConnection,
        deliveries: &[Delivery],
    ) -> Result<HashSet<Uuid>, sqlx::Error> {
        let ids = deliveries.iter().map(|delivery| delivery.envelope.event_id);
        match H::DEDUPLICATION {
            Deduplication::Inbox => inbox::claim(conn, self.consumer, &ids.collect::<Vec<_>>()).await,
            Deduplication::OwnRows => Ok(ids.collect()),
        }
    }

    /// Lets the handler act and appends what it emitted.
    async fn act(&self, conn: &mut PgConnection, deliveries: &[Delivery]) -> Result<Sequel, HandleError> {
        let mut fx = Effects::new(conn, Timestamp::now());
        // A panic is an event's doing like any other error, and must not take the whole consumer down.
        AssertUnwindSafe(self.handler.handle(&mut fx, deliveries))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(panicked(&*panic)))?;
        let (emitted, after_commit) = fx.into_parts();
        match self.outbox.append(conn, &emitted).await {
            Ok(()) => Ok(Sequel { emitted: !emitted.is_empty(), after_commit }),
            Err(AppendError::Insert(error)) => Err(error.into()),
            Err(error @ (AppendError::TooLarge { .. } | AppendError::Encode(_))) => {
                Err(HandleError::permanent_because("what follows from the event cannot be published", error))
            }
        }
    }

    fn follow_up(&self, sequel: Sequel) {
        if sequel.emitted {
            self.outbox.notify();
        }
        sequel.after_commit.into_iter().for_each(|notice| notice());
    }

    async fn database_answers(&self) -> bool {
        let ping = sqlx::query("SELECT 1").execute(&self.pool);
        matches!(tokio::time::timeout(PING_TIMEOUT, ping).await, Ok(Ok(_)))
    }
}

/// Those of `deliveries` whose key is not in `keys`.
fn without<'d>(keys: &HashSet<Vec<u8>>, deliveries: &'d [Delivery]) -> Cow<'d, [Delivery]> {
    if keys.is_empty() {
        return Cow::Borrowed(deliveries);
    }
    deliveries.iter().filter(|delivery| !keys.contains(delivery.key.as_bytes())).cloned().collect()
}

/// Those of `deliveries` whose ids are in `new`; of several copies the first.
fn only<'d>(new: &HashSet<Uuid>, deliveries: &'d [Delivery]) -> Cow<'d, [Delivery]> {
    if new.len() == deliveries.len() {
        return Cow::Borrowed(deliveries);
    }
    let mut left = new.clone();
    deliveries.iter().filter(|delivery| left.remove(&delivery.envelope.event_id)).cloned().collect()
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> HandleError {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    HandleError::transient(format!("the handler panicked: {message}"))
}
