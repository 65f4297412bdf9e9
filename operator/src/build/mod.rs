//! The Kubernetes objects of a pipeline: pure functions, one kind per file.
//!
//! Each takes an [`PipelineId`](labels::PipelineId) and what was validated, and cannot fail. What differs between the
//! services is data in a [`Workload`](workload::Workload), never a branch here. Which objects there are, and
//! in which order they are applied, is `controller/pipeline/plan.rs`'s business.

pub mod autoscaler;
pub mod config_map;
pub mod database_job;
pub mod deployment;
pub mod disruption_budget;
pub mod http_route;
pub mod ingress;
pub mod kafka_user;
pub mod labels;
pub mod network_policy;
pub mod process;
pub mod rights;
pub mod route;
pub mod scaled_object;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod topic;
pub mod trigger_authentication;
pub mod workload;

/// Whether kinds that are not served everywhere, KEDA's and the Gateway API's, can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// They are served.
    Served,
    /// They are not, or not to us.
    Absent,
}
