//! The suites that need a whole cluster.
