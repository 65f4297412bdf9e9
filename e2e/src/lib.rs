//! What the demo and the cluster suites share: a running cluster, the platform installed on it the way
//! a platform team would, and a client of the order API. Everything goes through the wire: `kubectl`,
//! HTTP and Kafka; nothing here reaches into the operator or the services.

pub mod cluster;
pub mod console;
pub mod orders;
pub mod platform;
