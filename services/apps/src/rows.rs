//! What the services' stores share.

use std::time::Duration;

use contract::OrderId;
use domain::after;
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

/// How long a row that cannot be read is left alone: those beside it must not wait for it, and somebody is told
/// often enough.
const SET_ASIDE: Duration = Duration::from_secs(60 * 60);

/// A column has a value that cannot be what was written there.
pub(crate) fn decode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

/// Rows, of which some may be unreadable.
#[derive(Debug)]
pub(crate) struct Sorted<T> {
    /// What was read.
    pub readable: Vec<T>,
    /// The orders whose rows were not, and why.
    pub unreadable: Vec<(OrderId, sqlx::Error)>,
}

impl<T> Sorted<T> {
    /// Reads each row by itself: one that somebody spoilt must not stand in the way of others. They need a column
    /// `order_id`.
    ///
    /// # Errors
    /// They have none.
    pub(crate) fn of(
        rows: &[PgRow],
        read: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Self, sqlx::Error> {
        let (mut readable, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            match read(row) {
                Ok(value) => readable.push(value),
                Err(error) => unreadable.push((OrderId::new(row.try_get("order_id")?), error)),
            }
        }
        Ok(Self { readable, unreadable })
    }

    /// What was read, if all was.
    ///
    /// # Errors
    /// Why the first of the others was not.
    pub(crate) fn all(self) -> Result<Vec<T>, sqlx::Error> {
        match self.unreadable.into_iter().next() {
            None => Ok(self.readable),
            Some((_, error)) => Err(error),
        }
    }

    /// What was read. The others are logged, and left alone for a while by `statement`, which gets their orders and
    /// the time until then, in microseconds.
    ///
    /// # Errors
    /// The database did not do it.
    pub(crate) async fn setting_aside(
        self,
        conn: &mut PgConnection,
        statement: &'static str,
        now: Timestamp,
    ) -> Result<Vec<T>, sqlx::Error> {
        for (order, error) in &self.unreadable {
            tracing::error!(order.id = %order, error = error as &dyn std::error::Error, "a row cannot be read");
        }
        let orders: Vec<OrderId> = self.unreadable.iter().map(|(order, _)| *order).collect();
        set_aside(conn, statement, &orders, now).await?;
        Ok(self.readable)
    }
}

/// Leaves `orders` alone for a while by `statement`, which gets them and the time until then, in microseconds.
pub(crate) async fn set_aside(
    conn: &mut PgConnection,
    statement: &'static str,
    orders: &[OrderId],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    if orders.is_empty() {
        return Ok(());
    }
    sqlx::query(statement)
        .bind(orders.iter().map(OrderId::as_uuid).collect::<Vec<_>>())
        .bind(after(now, SET_ASIDE).as_microsecond())
        .execute(conn)
        .await?;
    Ok(())
}
