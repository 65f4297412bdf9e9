//! Administration of a Kafka cluster behind one trait.
//!
//! [`Admin`] is what callers code against. It has one implementation on a real cluster ([`KafkaAdmin`], on
//! librdkafka), one in memory for unit tests ([`MemoryAdmin`]), and two layers over either: [`Coalescing`] makes few
//! requests of many small calls, [`Guarded`] asks before each change. One contract suite holds them to the same
//! behaviour. Beside it, [`read_topics`] and [`append_records`] are for tools that look at the records themselves. No
//! type of the Kafka client library leaves this crate.

mod acl;
mod admin;
mod batch;
mod check;
mod classify;
mod client;
mod coalesce;
mod config;
mod connect;
mod error;
mod ffi;
mod group;
mod guard;
mod memory;
mod records;
mod scram;
mod topic;
mod trouble;

pub use acl::{
    AclBinding, AclFilter, AclOperation, PatternFilter, PatternType, Permission, Principal, ResourceKind,
};
pub use admin::{Admin, Batch, Mode, RequestKind};
pub use client::KafkaAdmin;
pub use coalesce::{CoalesceOptions, Coalescing};
pub use config::{ConfigAlteration, ConfigChange, ConfigEntry, ConfigSource, TopicConfig};
pub use connect::{ClientIdentity, ConnectOptions, SaslCredentials, SaslMechanism, Security, TlsOptions};
pub use error::{Error, Retry, UnavailableCause};
pub use group::{
    GroupDescription, GroupListing, GroupMember, GroupOffsets, GroupState, PartitionLag, TopicPartition,
};
pub use guard::{Guard, Guarded};
pub use memory::MemoryAdmin;
pub use records::{NewRecord, Record, RecordHeader, append_records, read_topics};
pub use scram::{ScramDeletion, ScramInfo, ScramMechanism, ScramUpsertion};
pub use topic::{
    BrokerId, InvalidTopicName, NewTopic, Partition, PartitionGrowth, TopicDescription, TopicId, TopicName,
};
