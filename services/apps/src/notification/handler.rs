//! Puts on record what customers are to be told. Nothing is sent here: a mail server takes its time, and a
//! transaction that waits for one holds up every order behind it.

use std::sync::Arc;

use messaging::{Delivery, Effects, HandleError, Handler};
use tokio::sync::Notify;

use super::message::Notice;
use super::store::{self, Draft};

/// Records a notification per event.
#[derive(Debug, Clone)]
pub struct RecordingHandler {
    recorded: Arc<Notify>,
}

impl RecordingHandler {
    /// A handler that signals `recorded` when there is something to send, just before it is committed.
    pub(super) fn new(recorded: Arc<Notify>) -> Self {
        Self { recorded }
    }
}

impl Handler for RecordingHandler {
    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let drafts = batch.iter().map(draft_of).collect::<Result<Vec<_>, _>>()?;
        let now = fx.now();
        store::record(fx.conn(), &drafts, now).await?;
        self.recorded.notify_one();
        Ok(())
    }
}

fn draft_of(delivery: &Delivery) -> Result<Draft<'_>, HandleError> {
    let cause = &delivery.envelope;
    match Notice::of(&cause.event) {
        Some(notice) => Ok(Draft { order_id: notice.order_id, kind: notice.kind, cause }),
        None => {
            let reason = format!("customers are not told about {}", cause.event.event_type());
            Err(HandleError::permanent(reason))
        }
    }
}
