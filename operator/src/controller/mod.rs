//! The controllers, and what they share.
//!
//! One folder per kind with the same files in each: `fetch` (all reads) → `validate` → `plan` (pure) →
//! `apply` → `status` (pure; written once).

pub mod apply;
pub mod changes;
pub mod clusters;
pub mod connection;
pub mod context;
pub mod endpoint;
pub mod error;
pub mod events;
pub mod finalizer;
pub mod outcome;
pub mod owned;
pub mod pipeline;
pub mod runner;
pub mod secrets;
pub mod status;
pub mod strimzi;
pub mod superseded;
pub mod topic;
pub mod watches;

use std::sync::Arc;

use self::context::Context;

/// Runs every controller until shutdown, one line per kind, and what they both watch.
pub async fn run(ctx: &Arc<Context>) {
    tokio::join!(
        topic::run(Arc::clone(ctx)),
        pipeline::run(Arc::clone(ctx)),
        strimzi::watch(ctx), // after both have said that they want to know
    );
}
