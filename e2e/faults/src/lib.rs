//! The fault suite: the services as processes of their own over a real broker and a real database, under a load
//! whose accepted orders are known exactly, while a [`Fault`] happens. Afterwards the invariants of [`verify`] hold,
//! or the suite fails with the seed and the logs.
//!
//! [`scenario`] is one fault with a system of its own, as `make test` has it; [`soak`] is one system under one fault
//! after the other for as long as wanted, as `make e2e-faults` has it.

mod fault;
mod link;
mod load;
mod machine;
mod system;
mod world;

use contract::Step;

pub use fault::Fault;
pub use load::Load;
pub use machine::Machine;
pub use world::{Soak, scenario, soak};

/// The saga that orders go through here.
pub const STEPS: &[Step] = Step::ALL;

/// How the services write their events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// In JSON.
    Json,
    /// In Avro.
    Avro {
        /// The URL of the registry that keeps the schemas.
        registry: String,
    },
}
