//! What the sales analytics tell: rows of hourly sales.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Currency, ProductId};

/// A row of the hourly sales, as far as one partition of `orders.confirmed` tells; it replaces the row's last
/// version. The sales of an hour are the sum of its rows over the partitions: each partition is counted on its
/// own, by whoever has it, so that no order of events between partitions can change a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalesUpdated {
    /// Which row.
    pub row: SalesRow,
    /// Whether the numbers may still grow.
    pub status: WindowStatus,
    /// Confirmed orders; in the row of a product, those that had it.
    pub orders: u64,
    /// Pieces sold.
    pub units: u64,
    /// What they cost, in minor units of the currency.
    pub revenue_minor: i64,
}

/// Names a row. Shown, it is the record's key: `<window start>/<currency>/<partition>`, and `/<product>` where
/// the row is about one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SalesRow {
    /// The first moment of the hour.
    pub window_start: Timestamp,
    /// The first moment after it.
    pub window_end: Timestamp,
    /// The currency of the orders; amounts of different ones are never added up.
    pub currency: Currency,
    /// The product; absent: all products together.
    pub product_id: Option<ProductId>,
    /// The partition of `orders.confirmed` whose orders these are.
    pub partition: u32,
}

impl fmt::Display for SalesRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.window_start, self.currency, self.partition)?;
        // Last, because a product may be called anything, slashes included.
        self.product_id.iter().try_for_each(|product| write!(f, "/{product}"))
    }
}

/// Whether the numbers of a window may still grow.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum WindowStatus {
    /// They may.
    Open,
    /// By the clock on the wall the window and its grace are over and nothing comes. Should something of that
    /// time come after all, it counts.
    Idle,
    /// By the time of the events the window and its grace are over: never again.
    Closed,
}
