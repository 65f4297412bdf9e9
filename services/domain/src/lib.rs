//! The rules of the order system: what happens to an order, to stock and to money.
//!
//! Pure: no clock (every function is told the time), no I/O, no async. Services load state, ask these functions
//! what follows, and save it; the property tests ask the very same functions.

pub mod backorder;
pub mod catalogue;
pub mod hold;
pub mod payment;
pub mod pricing;
pub mod saga;
pub mod sales;
pub mod shipment;
pub mod stock;
pub mod warehouse;
pub mod windows;

use std::time::Duration;

use jiff::Timestamp;

/// The time that is `wait` after `now`. One beyond the end of time is one that never comes.
#[must_use]
pub fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
