//! What a handler may do: one database transaction, and the events that leave with it.

use contract::{Envelope, Event};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::Delivery;

/// One PostgreSQL transaction, and the events to publish if it commits.
pub struct Effects<'t> {
    conn: &'t mut PgConnection,
    outgoing: Vec<Envelope>,
    after_commit: AfterCommit,
    now: Timestamp,
}

/// What is called when a transaction has committed.
pub(crate) type AfterCommit = Vec<Box<dyn FnOnce() + Send>>;

impl std::fmt::Debug for Effects<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Effects").field("outgoing", &self.outgoing).finish_non_exhaustive()
    }
}

impl<'t> Effects<'t> {
    /// Effects inside the transaction that is open on `conn`, at the time `now`. The runtime makes these for
    /// handlers; others use it to act as a handler would, and append [`Effects::into_outgoing`] themselves.
    pub fn new(conn: &'t mut PgConnection, now: Timestamp) -> Self {
        Self { conn, outgoing: Vec::new(), after_commit: Vec::new(), now }
    }

    /// The connection, inside the open transaction. Committing and rolling back are not the handler's.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.conn
    }

    /// The time of the transaction: one and the same for everything that happens in it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Publishes `event`, caused by `cause`, whose correlation id, metadata and trace context it takes over.
    /// Events of one key are published in the order in which they were emitted; call it after the row that
    /// the key stands for was locked, so that this is also the order of commits.
    pub fn emit(&mut self, event: impl Into<Event>, cause: &Delivery) {
        self.outgoing.push(Envelope::caused_by(&cause.envelope, event.into(), self.now));
    }

    /// Publishes an envelope that was made elsewhere. Order as with [`Effects::emit`].
    pub fn emit_envelope(&mut self, envelope: Envelope) {
        self.outgoing.push(envelope);
    }

    /// Calls `notice` when the transaction has committed, if it does and if the process lives on: for work
    /// that can begin at once, and that a look into the database finds otherwise. It must not block.
    pub fn after_commit(&mut self, notice: impl FnOnce() + Send + 'static) {
        self.after_commit.push(Box::new(notice));
    }

    /// What was emitted, in order, and what to call after the commit.
    pub(crate) fn into_parts(self) -> (Vec<Envelope>, AfterCommit) {
        (self.outgoing, self.after_commit)
    }

    /// What was emitted, in order.
    #[must_use]
    pub fn into_outgoing(self) -> Vec<Envelope> {
        self.outgoing
    }
}
