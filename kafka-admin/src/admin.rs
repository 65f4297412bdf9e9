//! The trait, and the few types that belong to no single kind of object.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use crate::acl::{AclBinding, AclFilter};
use crate::config::{ConfigAlteration, TopicConfig};
use crate::error::Error;
use crate::group::{GroupDescription, GroupListing, GroupOffsets, PartitionLag, TopicPartition};
use crate::scram::{ScramDeletion, ScramInfo, ScramUpsertion};
use crate::topic::{NewTopic, PartitionGrowth, TopicDescription, TopicName};

/// One answer per item, in the order of the items. A failure of the whole request (no connection, for one) is the
/// answer to every item, so that a caller has one place to look.
pub type Batch<T> = Vec<Result<T, Error>>;

/// Whether a change is made or only checked by the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Mode {
    /// Make the change.
    #[default]
    Apply,
    /// Let the broker check the change, with the same errors, and make none.
    ValidateOnly,
}

/// What a request to the cluster is for: the label of request counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "each is the method of `Admin` of the same name")]
pub enum RequestKind {
    ClusterId,
    DescribeTopics,
    DescribeConfigs,
    CreateTopics,
    CreatePartitions,
    AlterConfigs,
    DeleteTopics,
    DescribeAcls,
    CreateAcls,
    DeleteAcls,
    DescribeScram,
    AlterScram,
    ListGroups,
    DescribeGroups,
    GroupOffsets,
    EndOffsets,
}

/// Administration of one Kafka cluster.
///
/// Every method takes a batch, answers per item in the order given ([`Batch`]), makes no request for an empty batch,
/// and is safe to repeat. In a batch of changes, an object that is there a second time gets
/// [`Error::InvalidRequest`]; in a batch of questions, the first one's answer. Metadata is
/// eventually consistent: what was just created or changed may not be visible to the next describe for some
/// milliseconds, seconds after mass deletions.
#[async_trait]
pub trait Admin: fmt::Debug + Send + Sync + 'static {
    /// The id that the cluster got when it was formatted: tells two clusters behind one address apart.
    async fn cluster_id(&self) -> Result<String, Error>;

    /// Identity, partitions, replicas and health of topics; [`Error::NotFound`] for a topic that does not exist.
    /// Never creates a topic, whatever the broker's `auto.create.topics.enable` says.
    async fn describe_topics(&self, topics: &[TopicName]) -> Batch<TopicDescription>;

    /// Every setting of topics, with where its value comes from.
    async fn describe_configs(&self, topics: &[TopicName]) -> Batch<TopicConfig>;

    /// Creates topics; [`Error::AlreadyExists`] for one that exists.
    async fn create_topics(&self, topics: &[NewTopic], mode: Mode) -> Batch<()>;

    /// Raises the number of partitions; [`Error::InvalidPartitions`] unless the total grows.
    async fn create_partitions(&self, growths: &[PartitionGrowth], mode: Mode) -> Batch<()>;

    /// Changes the named settings of topics and leaves all others alone.
    async fn alter_configs(&self, alterations: &[ConfigAlteration], mode: Mode) -> Batch<()>;

    /// Deletes topics and their data; [`Error::NotFound`] for a topic that does not exist.
    async fn delete_topics(&self, topics: &[TopicName]) -> Batch<()>;

    /// The ACLs that each filter matches; none where the cluster has no authorizer.
    async fn describe_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>>;

    /// Creates ACLs; creating one that exists changes nothing. [`Error::SecurityDisabled`] where the cluster has no
    /// authorizer.
    async fn create_acls(&self, bindings: &[AclBinding]) -> Batch<()>;

    /// Deletes the ACLs that each filter matches, and says which they were.
    async fn delete_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>>;

    /// The SCRAM credentials that users have, never their secrets; [`Error::NotFound`] for a user without any.
    async fn describe_scram(&self, users: &[String]) -> Batch<Vec<ScramInfo>>;

    /// Creates or replaces SCRAM credentials, at most one of each user in a batch. The broker keeps salted hashes
    /// only.
    async fn upsert_scram(&self, upsertions: &[ScramUpsertion]) -> Batch<()>;

    /// Deletes SCRAM credentials, at most one of each user in a batch; [`Error::NotFound`] for one that does not
    /// exist.
    async fn delete_scram(&self, deletions: &[ScramDeletion]) -> Batch<()>;

    /// The consumer groups that the brokers know.
    async fn list_groups(&self) -> Result<Vec<GroupListing>, Error>;

    /// State and members of groups; [`Error::NotFound`] for a group that does not exist.
    async fn describe_groups(&self, groups: &[String]) -> Batch<GroupDescription>;

    /// Committed offsets of groups; empty for a group that has committed none or does not exist.
    async fn group_offsets(&self, groups: &[String]) -> Batch<GroupOffsets>;

    /// The offset that the next message of each partition will get.
    async fn end_offsets(&self, partitions: &[TopicPartition]) -> Batch<i64>;

    /// Requests sent to the cluster so far, by kind; kinds never used are absent. Retries inside the client library
    /// and its own metadata and connection requests are not counted.
    fn request_counts(&self) -> BTreeMap<RequestKind, u64>;

    /// How far groups are behind the end of each partition they have committed for.
    /// A partition whose topic is gone is left out.
    async fn group_lag(&self, groups: &[String]) -> Batch<Vec<PartitionLag>> {
        let offsets = self.group_offsets(groups).await;
        let mut wanted: Vec<TopicPartition> =
            offsets.iter().flatten().flat_map(|committed| committed.keys().cloned()).collect();
        wanted.sort();
        wanted.dedup();
        let ends = self.end_offsets(&wanted).await;
        let ends: BTreeMap<&TopicPartition, Result<i64, Error>> = wanted.iter().zip(ends).collect();
        offsets.into_iter().map(|committed| crate::group::lag_of(&committed?, &ends)).collect()
    }
}
