//! The order services against a real broker and a real database server: in this process, or as the binary.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails, and clippy knows tests by their functions only"
)]

mod apart;
mod avro;
mod backorders;
mod cancellations;
mod database_tls;
mod end_to_end;
mod faults;
mod full_saga;
mod jwt;
mod lifecycle;
mod order_api;
mod order_saga;
mod outages;
mod participants;
mod pending;
mod prepare_database;
mod sales;
#[path = "../../src/auth/tests/signer.rs"]
mod signer;
mod support;
