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
mod another_cluster;
mod autoscaling;
mod changes;
mod corpus;
mod crashes;
#[path = "../support/fuse.rs"]
mod fuse;
mod gateway;
mod golden;
mod held;
mod histories;
#[path = "../support/installed.rs"]
mod installed;
mod kstatus;
#[path = "../support/kstatus_library.rs"]
mod kstatus_library;
mod lifecycle;
mod peers;
mod planned;
mod played;
mod reads;
mod refused;
#[path = "../support/rights.rs"]
mod rights;
mod running;
mod strimzi;
#[path = "../support/strimzi_kinds.rs"]
mod strimzi_kinds;
mod tls;
mod trouble;
mod user_operator;
mod workloads;
mod world;
