//! `OrderPipeline`: the objects that are made of a spec (golden files), and the controller against a real
//! apiserver and a real broker. No Kubernetes controllers run there: the tests say when a Job is done and
//! when pods are ready, and collect what a deleted pipeline owned.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends there, with the cause"
)]

mod access;
mod admission;
mod autoscaling;
mod changes;
mod golden;
mod lifecycle;
mod peers;
mod trouble;
mod workloads;
mod world;
