//! The invariants of the order system, checked: whether every accepted order ended exactly once, and whether stock,
//! money and parcels agree with how the orders ended.
//!
//! Two halves, kept apart: [`gather`] reads what topics and databases say ([`Facts`]), with all the I/O there is;
//! [`check`] compares it, purely, and names every contradiction ([`Violation`]). In between stands [`wait_for_rest`]:
//! the invariants hold once nothing is under way any more. It knows the databases' tables, as an auditor does, and
//! changes nothing.

mod check;
mod databases;
mod facts;
mod report;
mod rest;
mod source;
mod topics;
mod violation;

pub use check::check;
pub use facts::{About, Expected, Facts, Order, Payment, Reservation, Said, Shipment, Stock, Waiting};
pub use messaging::{RegistryConfig, RegistryCredentials};
pub use report::Report;
pub use rest::{Unrest, wait_for_rest};
pub use source::{GatherError, Source, gather, verify};
pub use violation::Violation;
