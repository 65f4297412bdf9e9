//! `KafkaTopic`: what is planned for a spec (golden files), the rules of the CRDs on a real apiserver, and the
//! controller against a real apiserver and a real broker.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends there, with the cause"
)]

mod access;
mod claims;
mod corpus;
mod crashes;
mod crds_fresh;
#[path = "../support/fuse.rs"]
mod fuse;
mod grants;
mod histories;
#[path = "../support/installed.rs"]
mod installed;
mod interrupted;
mod kstatus;
#[path = "../support/kstatus_library.rs"]
mod kstatus_library;
mod leader;
mod life;
mod link;
mod namespaced;
mod outage;
mod ownership;
mod plan_golden;
mod policy;
mod process;
mod reasons_documented;
#[path = "../support/rights.rs"]
mod rights;
mod rules;
mod scale;
mod secrets;
mod strimzi;
#[path = "../support/strimzi_kinds.rs"]
mod strimzi_kinds;
mod trouble;
mod world;
