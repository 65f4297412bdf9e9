//! Messaging against a real broker and a real PostgreSQL. One binary, so that all tests share both.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers end the test as the test itself would"
)]

mod avro;
mod consume;
mod handlers;
mod harness;
mod inbox;
mod outage;
mod parking;
mod poison;
mod relay;
mod replay;
mod streams;
mod tls;
