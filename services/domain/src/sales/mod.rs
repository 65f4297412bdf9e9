//! What was sold in each hour, counted from `orders.confirmed`.
//!
//! A sale is a *confirmed* order: every step succeeded and it can never be cancelled again. Its hour is the one
//! in which it was confirmed, by the event's own time. (`orders.completed` comes minutes or days later, when the
//! customer was told or the parcel arrived: that is not when something was sold, and it has no items.)
//!
//! Per hour and currency there is one row for everything, and one for each product. Amounts of different
//! currencies are never added up. *Orders* is how many orders there were (in a product's row: how many had it),
//! *units* how many pieces, *revenue* what they cost. Products' units and revenues add up to those of the whole;
//! their orders do not, because one order can have many products. Hence the row for everything.
//!
//! [`Sales`] counts for one partition of the input, and what it has counted follows from the order of that
//! partition's records alone. [`Table`] adds the partitions up.

mod partition;
mod table;

pub use partition::{Changes, Fate, Sales, StateKey, StateValue};
pub use table::{HourlySales, Numbers, Table};
