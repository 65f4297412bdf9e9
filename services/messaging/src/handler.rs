//! What a service implements to act on events, and how its errors are understood.

use std::error::Error;

use contract::{Envelope, Topic, headers};

use crate::Effects;

/// An event that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event and what is known about it.
    pub envelope: Envelope,
    /// The record's key: deliveries of one key come in order.
    pub key: String,
    /// The topic it came from.
    pub topic: Topic,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

impl Delivery {
    /// The W3C trace context that the event travelled with.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.envelope.metadata.get(headers::TRACEPARENT).map(String::as_str)
    }
}

/// How an event that arrives again is kept from having its effect twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deduplication {
    /// The runtime keeps a row per event in the inbox, in the transaction of its effect, and hands over only
    /// events without one. Right for every handler.
    Inbox,
    /// The handler recognises each event by the rows that it leads to, which saves the row in the inbox. It
    /// promises, for every event that had its effect, however long ago and whatever came after it:
    /// - it leaves rows from which follows that it came, and these outlive every topic's retention;
    /// - coming again, it changes nothing and emits nothing;
    /// - two transactions that are handed the same event at once wait for each other before they decide (a
    ///   lock on the row that decides, or a unique key): while a partition moves, two replicas may have it.
    ///
    /// Only an event that is twice in one batch is recognised for it.
    OwnRows,
}

/// Acts on events.
pub trait Handler: Send + Sync + 'static {
    /// Who recognises an event that arrives again.
    const DEDUPLICATION: Deduplication = Deduplication::Inbox;

    /// Acts on `batch` inside the transaction of `fx`: reads, decides, writes, and emits further events.
    /// Everything takes effect together, or nothing does.
    ///
    /// `batch` has at least one delivery, each event once, and with [`Deduplication::Inbox`] only such as had
    /// no effect yet; those of one key are in order.
    /// It may be called again with the same deliveries, or with a part of them, after its transaction was
    /// rolled back: what it does outside of `fx` must bear that.
    ///
    /// # Errors
    /// See [`HandleError`] for what each kind leads to. An error need not say which delivery is at fault:
    /// the batch is halved until it is found.
    fn handle(
        &self,
        fx: &mut Effects<'_>,
        batch: &[Delivery],
    ) -> impl Future<Output = Result<(), HandleError>> + Send;
}

/// Whatever caused a failure.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why a batch could not be handled, by what is to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// This event can never be handled. It goes to the dead-letter topic at once.
    #[error("{reason}")]
    Permanent {
        /// What is wrong with it.
        reason: String,
        /// What that was concluded from.
        #[source]
        source: Option<Cause>,
    },
    /// This event could not be handled now. It is parked, the later events of its key behind it, and tried
    /// again a limited number of times.
    #[error("{reason}")]
    Transient {
        /// What went wrong.
        reason: String,
        /// What that was concluded from.
        #[source]
        source: Option<Cause>,
    },
    /// Something that every event needs is missing, such as the database. The consumer waits for it; no
    /// attempt is counted, however long it takes.
    #[error("{reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
        /// What that was concluded from.
        #[source]
        source: Option<Cause>,
    },
}

impl HandleError {
    /// The event can never be handled.
    #[must_use]
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self::Permanent { reason: reason.into(), source: None }
    }

    /// The event can never be handled, because of `source`.
    #[must_use]
    pub fn permanent_because(reason: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Permanent { reason: reason.into(), source: Some(source.into()) }
    }

    /// The event could not be handled now.
    #[must_use]
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::Transient { reason: reason.into(), source: None }
    }

    /// The event could not be handled now, because of `source`.
    #[must_use]
    pub fn transient_because(reason: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Transient { reason: reason.into(), source: Some(source.into()) }
    }

    /// Something that every event needs is missing.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Something that every event needs is missing, because of `source`.
    #[must_use]
    pub fn unavailable_because(reason: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Unavailable { reason: reason.into(), source: Some(source.into()) }
    }
}

impl From<sqlx::Error> for HandleError {
    fn from(error: sqlx::Error) -> Self {
        match crate::database::classify(&error) {
            crate::database::Fault::Event => Self::permanent_because("the database refused the event", error),
            crate::database::Fault::Moment => {
                Self::transient_because("the database could not do it now", error)
            }
            crate::database::Fault::Database => {
                Self::unavailable_because("the database is unavailable", error)
            }
        }
    }
}
