//! One attempt at some deliveries: one transaction with inbox, handler and outbox, or nothing.

use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::outbox::AppendError;
use crate::{Deduplication, Delivery, Effects, HandleError, Handler, Outbox, inbox};

/// How long the database may take to answer a ping before it counts as gone.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What an attempt needs.
pub(super) struct Attempt<H> {
    pub(super) handler: H,
    pub(super) pool: PgPool,
    pub(super) outbox: Outbox,
    /// Whose inbox it is.
    pub(super) consumer: &'static str,
    pub(super) timeout: Duration,
}

impl<H: Handler> Attempt<H> {
    /// Handles those of `deliveries` that are new, all or none. Returns the ids of the new ones; of those that
    /// the handler recognises by its own rows it cannot tell.
    pub(super) async fn at(&self, deliveries: &[Delivery]) -> Result<HashSet<Uuid>, HandleError> {
        match tokio::time::timeout(self.timeout, self.transact(deliveries)).await {
            Ok(result) => result,
            // Either the handler is stuck on something of its own, or a connection hangs.
            Err(_) if self.database_answers().await => {
                Err(HandleError::transient(format!("not done within {:?}", self.timeout)))
            }
            Err(_) => Err(HandleError::unavailable("the database does not answer")),
        }
    }

    async fn transact(&self, deliveries: &[Delivery]) -> Result<HashSet<Uuid>, HandleError> {
        let mut tx = self.pool.begin().await?;
        let new = self.claim(&mut tx, deliveries).await?;
        if new.is_empty() {
            return Ok(new);
        }
        let emitted = self.act(&mut tx, &only(&new, deliveries)).await?;
        tx.commit().await?;
        if emitted {
            self.outbox.notify();
        }
        Ok(new)
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

    /// Lets the handler act and appends what it emitted; tells whether there was anything.
    async fn act(&self, conn: &mut PgConnection, deliveries: &[Delivery]) -> Result<bool, HandleError> {
        let mut fx = Effects::new(conn, Timestamp::now());
        // A panic is an event's doing like any other error, and must not take the whole consumer down.
        AssertUnwindSafe(self.handler.handle(&mut fx, deliveries))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(panicked(&*panic)))?;
        let emitted = fx.into_outgoing();
        match self.outbox.append(conn, &emitted).await {
            Ok(()) => Ok(!emitted.is_empty()),
            Err(AppendError::Insert(error)) => Err(error.into()),
            Err(error @ AppendError::TooLarge { .. }) => {
                Err(HandleError::permanent_because("what follows from the event cannot be published", error))
            }
        }
    }

    async fn database_answers(&self) -> bool {
        let ping = sqlx::query("SELECT 1").execute(&self.pool);
        matches!(tokio::time::timeout(PING_TIMEOUT, ping).await, Ok(Ok(_)))
    }
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
