//! What a service has on record about each order that it asks somebody outside for. A service says what its record
//! is, what follows from what, and how it is stored; the [`book`](super::book) and the [`desk`](super::desk) do
//! the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::str::FromStr;

use contract::{Envelope, OrderDetails, OrderId, codec};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::rows::decode;

/// A record, one per order. Loading and saving is SQL only and decides nothing.
pub trait Record: Debug + Clone + Send + Sync + 'static {
    /// How far an order is.
    type Status: Copy + Eq + Debug + Display + Send + Sync + 'static;
    /// What it is told.
    type Input: Copy + Eq + Debug + Send + Sync + 'static;
    /// What everybody is told; its name is the label by which it is counted.
    type News: Copy + Eq + Debug + Send + Sync + Into<&'static str> + 'static;

    /// Tells a record that the provider could not be reached for as long as the order can wait.
    const GIVEN_UP: Self::Input;

    /// What follows from an input: the next status and what is told; nothing, where nothing changes. `None` is an
    /// order that was never heard of.
    fn react(status: Option<Self::Status>, input: Self::Input) -> Option<(Self::Status, Option<Self::News>)>;

    /// Whether something has to be done about an order with this status.
    fn is_open(status: Self::Status) -> bool;

    /// The record of an order that was never heard of.
    fn opening(progress: Progress<Self::Status>, details: &OrderDetails) -> Self;

    /// How far the order is.
    fn progress(&self) -> &Progress<Self::Status>;

    /// How far the order is, to be changed.
    fn progress_mut(&mut self) -> &mut Progress<Self::Status>;

    /// Inserts those of `drafts` whose order is not on record. Returns their orders.
    /// A concurrent transaction with the same order is waited for: only one of the two inserts it.
    fn insert(
        conn: &mut PgConnection,
        drafts: &[Change<'_, Self>],
    ) -> impl Future<Output = Result<BTreeSet<OrderId>, sqlx::Error>> + Send;

    /// Loads and locks the records of `orders`.
    fn lock(
        conn: &mut PgConnection,
        orders: &BTreeSet<OrderId>,
    ) -> impl Future<Output = Result<BTreeMap<OrderId, Self>, sqlx::Error>> + Send;

    /// Saves the `changes` of records that still have the status from which they change. Returns their orders.
    fn save(
        conn: &mut PgConnection,
        changes: &[Change<'_, Self>],
    ) -> impl Future<Output = Result<BTreeSet<OrderId>, sqlx::Error>> + Send;

    /// Takes at most `limit` records that are due, for this worker alone until `until`. Those that cannot be read
    /// are set aside.
    fn take(
        conn: &mut PgConnection,
        now: Timestamp,
        until: Timestamp,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Task<Self>>, sqlx::Error>> + Send;

    /// How many records are open, by the name of their status. Reads the index of what is due, which is small.
    fn count_open(
        conn: &mut PgConnection,
    ) -> impl Future<Output = Result<BTreeMap<String, i64>, sqlx::Error>> + Send;

    /// The order.
    fn order_id(&self) -> OrderId {
        self.progress().order_id
    }

    /// How far it is.
    fn status(&self) -> Self::Status {
        self.progress().status
    }
}

/// What every record says about its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<S> {
    /// The order.
    pub order_id: OrderId,
    /// How far it is.
    pub status: S,
    /// Why it failed, for people.
    pub detail: Option<String>,
    /// How often the provider was asked for what it is asked for now.
    pub attempts: i32,
    /// When the order was first heard of.
    pub created_at: Timestamp,
    /// When the status last changed.
    pub updated_at: Timestamp,
}

impl<S> Progress<S> {
    /// Of an order that is heard of for the first time.
    pub fn begin(order_id: OrderId, status: S, now: Timestamp) -> Self {
        Self { order_id, status, detail: None, attempts: 0, created_at: now, updated_at: now }
    }

    /// Moves on to another status, for which nobody was asked yet.
    pub fn move_to(&mut self, status: S, now: Timestamp) {
        (self.status, self.attempts, self.updated_at) = (status, 0, now);
    }
}

impl<S: FromStr<Err: std::error::Error + Send + Sync + 'static>> Progress<S> {
    /// Reads the columns `order_id, status, detail, attempts, created_at_us, updated_at_us`.
    ///
    /// # Errors
    /// They hold something that cannot be.
    pub fn of_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let time = |column| Timestamp::from_microsecond(row.try_get(column)?).map_err(decode);
        Ok(Self {
            order_id: OrderId::new(row.try_get("order_id")?),
            status: row.try_get::<&str, _>("status")?.parse().map_err(decode)?,
            detail: row.try_get("detail")?,
            attempts: row.try_get("attempts")?,
            created_at: time("created_at_us")?,
            updated_at: time("updated_at_us")?,
        })
    }
}

/// A record about which something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task<R> {
    /// The record.
    pub record: R,
    /// The event that made it necessary.
    pub cause: Envelope,
}

impl<R> Task<R> {
    /// A record that was taken, with its cause from the column `cause`.
    ///
    /// # Errors
    /// The column holds no event.
    pub fn of_row(record: R, row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { record, cause: codec::decode_json(row.try_get("cause")?).map_err(decode)? })
    }
}

/// A record that is new or changed.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a, R: Record> {
    /// The status that it must have on record; none, if its row is new or locked.
    pub from: Option<R::Status>,
    /// The record after the change.
    pub record: &'a R,
    /// The event that made it necessary to do something.
    pub cause: Cause<'a>,
    /// When that is to be done, if something is.
    pub due_at: Option<Timestamp>,
}

/// The event that made it necessary to do something about a record.
#[derive(Debug, Clone, Copy)]
pub enum Cause<'a> {
    /// Nothing is to be done.
    None,
    /// This one.
    Is(&'a Envelope),
    /// The one on record.
    Stays,
}

impl<'a, R: Record> Change<'a, R> {
    /// A record whose row is new or locked; `due_at` counts where something is to be done because of `cause`.
    pub fn of(record: &'a R, cause: Option<&'a Envelope>, due_at: Timestamp) -> Self {
        let cause = cause.filter(|_| R::is_open(record.status()));
        let due_at = cause.map(|_| due_at);
        Self { from: None, record, cause: cause.map_or(Cause::None, Cause::Is), due_at }
    }

    /// The cause as it is stored, where it is a new one.
    #[must_use]
    pub fn encoded_cause(&self) -> Option<Vec<u8>> {
        match self.cause {
            Cause::Is(cause) => Some(codec::encode_json(cause)),
            Cause::None | Cause::Stays => None,
        }
    }

    /// Whether the cause is the one on record.
    #[must_use]
    pub fn keeps_cause(&self) -> bool {
        matches!(self.cause, Cause::Stays)
    }

    /// When something is to be done, as it is stored.
    #[must_use]
    pub fn due_at_us(&self) -> Option<i64> {
        self.due_at.map(Timestamp::as_microsecond)
    }
}
