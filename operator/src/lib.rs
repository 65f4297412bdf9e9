//! The operator: turns `OrderPipeline` and `KafkaTopic` objects into topics and running services.
//!
//! ```text
//! object ──► fetch ──► validate ──► plan ──► apply ──► status
//!            reads,    newtypes     pure,    ordered,  pure,
//!            cached                 golden   pruned    written once
//! ```
//!
//! [`crd`] is the API, [`controller`] has a folder per kind, [`build`] makes one Kubernetes object per file.

pub mod admin;
pub mod args;
pub mod build;
pub mod client;
pub mod controller;
pub mod crd;
pub mod leader;
pub mod metrics;
pub mod telemetry;
