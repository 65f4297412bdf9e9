//! Handlers to test the consumer with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use contract::{Currency, Money, OrderCompleted};
use messaging::{Deduplication, Delivery, Effects, HandleError, Handler};

use crate::harness::number_of;

type Fault = Arc<dyn Fn(&Delivery) -> Result<(), HandleError> + Send + Sync>;

/// Writes down each delivery, or fails as it is told.
#[derive(Clone)]
pub(crate) struct Recorder {
    fault: Fault,
    emits: bool,
    calls: Arc<AtomicU32>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { fault: Arc::new(|_| Ok(())), emits: false, calls: Arc::default() }
    }

    /// Asks `fault` for every delivery whether to fail.
    pub(crate) fn failing(
        fault: impl Fn(&Delivery) -> Result<(), HandleError> + Send + Sync + 'static,
    ) -> Self {
        Self { fault: Arc::new(fault), ..Self::new() }
    }

    /// Also emits an event per delivery.
    pub(crate) fn emitting() -> Self {
        Self { emits: true, ..Self::new() }
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Handler for Recorder {
    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        for delivery in batch {
            (self.fault)(delivery)?;
            sqlx::query("INSERT INTO effects (event_id, key, number) VALUES ($1, $2, $3)")
                .bind(delivery.envelope.event_id)
                .bind(&delivery.key)
                .bind(number_of(delivery))
                .execute(fx.conn())
                .await?;
            if self.emits {
                let order_id = delivery.envelope.event_id.to_string().parse().unwrap();
                let total = Money::new(number_of(delivery), Currency::USD);
                fx.emit(OrderCompleted { order_id, total }, delivery);
            }
        }
        Ok(())
    }
}

/// Does what a [`Recorder`] does, but knows by its effects what it did: it needs no inbox.
#[derive(Clone)]
pub(crate) struct Ledger(pub(crate) Recorder);

impl Handler for Ledger {
    const DEDUPLICATION: Deduplication = Deduplication::OwnRows;

    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        // Whoever else has one of these events waits here until we are done.
        sqlx::query("LOCK TABLE effects IN EXCLUSIVE MODE").execute(&mut *fx.conn()).await?;
        let done: Vec<uuid::Uuid> =
            sqlx::query_scalar("SELECT event_id FROM effects").fetch_all(&mut *fx.conn()).await?;
        let new: Vec<Delivery> =
            batch.iter().filter(|delivery| !done.contains(&delivery.envelope.event_id)).cloned().collect();
        self.0.handle(fx, &new).await
    }
}
