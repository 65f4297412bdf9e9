//! Administration of a Kafka cluster behind one trait, [`Admin`], which is what callers code against.
//! No type of the Kafka client library leaves this crate.

mod acl;
mod admin;
mod batch;
mod check;
mod classify;
mod client;
mod config;
mod connect;
mod error;
mod ffi;
mod group;
mod memory;
mod scram;
mod topic;
mod trouble;

pub use acl::{
    AclBinding, AclFilter, AclOperation, PatternFilter, PatternType, Permission, Principal, ResourceKind,
};
pub use admin::{Admin, Batch, Broker, Cluster, Mode, RequestKind};
pub use client::KafkaAdmin;
pub use config::{ConfigAlteration, ConfigChange, ConfigEntry, ConfigSource, TopicConfig};
pub use connect::{ClientIdentity, ConnectOptions, SaslCredentials, SaslMechanism, Security, TlsOptions};
pub use error::{Error, Retry, UnavailableCause};
pub use group::{
    GroupDescription, GroupListing, GroupMember, GroupOffsets, GroupState, PartitionLag, TopicPartition,
};
pub use memory::MemoryAdmin;
pub use scram::{ScramDeletion, ScramInfo, ScramMechanism, ScramUpsertion};
pub use topic::{
    BrokerId, InvalidTopicName, NewTopic, Partition, PartitionGrowth, TopicDescription, TopicId, TopicName,
};
