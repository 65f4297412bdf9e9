//! The fence before a Kafka cluster: administration that changes nothing unless this operator may write.
//!
//! It stands below the layer that gathers calls, at the point where a request leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use kafka_admin::{
    AclBinding, AclFilter, Admin, Batch, Cluster, ConfigAlteration, Error, GroupDescription, GroupListing,
    GroupOffsets, Mode, NewTopic, PartitionGrowth, RequestKind, ScramDeletion, ScramInfo, ScramUpsertion,
    TopicConfig, TopicDescription, TopicName, TopicPartition, UnavailableCause,
};

use super::fence::Fence;

/// An [`Admin`] behind a fence.
#[derive(Debug)]
pub struct Fenced {
    inner: Arc<dyn Admin>,
    fence: Arc<Fence>,
}

impl Fenced {
    /// Puts `fence` before `inner`.
    pub fn new(inner: Arc<dyn Admin>, fence: Arc<Fence>) -> Self {
        Self { inner, fence }
    }

    /// The refusal of all `items`, when this operator may not write.
    fn refused<T>(&self, items: usize) -> Option<Batch<T>> {
        let refusal = self.fence.check(Instant::now()).err()?;
        // Of one broker, as it were: it says nothing about the cluster.
        let error = Error::Unavailable { cause: UnavailableCause::Broker, message: refusal.to_string() };
        Some((0..items).map(|_| Err(error.clone())).collect())
    }
}

/// A change: made when the fence is open.
macro_rules! change {
    ($self:ident, $method:ident($items:ident $(, $mode:ident)?)) => {
        match $self.refused($items.len()) {
            Some(refused) => refused,
            None => $self.inner.$method($items $(, $mode)?).await,
        }
    };
}

#[async_trait]
impl Admin for Fenced {
    async fn create_topics(&self, topics: &[NewTopic], mode: Mode) -> Batch<()> {
        change!(self, create_topics(topics, mode))
    }

    async fn create_partitions(&self, growths: &[PartitionGrowth], mode: Mode) -> Batch<()> {
        change!(self, create_partitions(growths, mode))
    }

    async fn alter_configs(&self, alterations: &[ConfigAlteration], mode: Mode) -> Batch<()> {
        change!(self, alter_configs(alterations, mode))
    }

    async fn delete_topics(&self, topics: &[TopicName]) -> Batch<()> {
        change!(self, delete_topics(topics))
    }

    async fn create_acls(&self, bindings: &[AclBinding]) -> Batch<()> {
        change!(self, create_acls(bindings))
    }

    async fn delete_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>> {
        change!(self, delete_acls(filters))
    }

    async fn upsert_scram(&self, upsertions: &[ScramUpsertion]) -> Batch<()> {
        change!(self, upsert_scram(upsertions))
    }

    async fn delete_scram(&self, deletions: &[ScramDeletion]) -> Batch<()> {
        change!(self, delete_scram(deletions))
    }

    async fn describe_cluster(&self) -> Result<Cluster, Error> {
        self.inner.describe_cluster().await
    }

    async fn describe_topics(&self, topics: &[TopicName]) -> Batch<TopicDescription> {
        self.inner.describe_topics(topics).await
    }

    async fn describe_configs(&self, topics: &[TopicName]) -> Batch<TopicConfig> {
        self.inner.describe_configs(topics).await
    }

    async fn describe_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>> {
        self.inner.describe_acls(filters).await
    }

    async fn describe_scram(&self, users: &[String]) -> Batch<Vec<ScramInfo>> {
        self.inner.describe_scram(users).await
    }

    async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        self.inner.list_groups().await
    }

    async fn describe_groups(&self, groups: &[String]) -> Batch<GroupDescription> {
        self.inner.describe_groups(groups).await
    }

    async fn group_offsets(&self, groups: &[String]) -> Batch<GroupOffsets> {
        self.inner.group_offsets(groups).await
    }

    async fn end_offsets(&self, partitions: &[TopicPartition]) -> Batch<i64> {
        self.inner.end_offsets(partitions).await
    }

    fn request_counts(&self) -> BTreeMap<RequestKind, u64> {
        self.inner.request_counts()
    }
}

#[cfg(test)]
mod tests {
    use kafka_admin::MemoryAdmin;

    use super::*;

    #[tokio::test]
    async fn behind_a_closed_fence_kafka_is_read_and_not_changed() {
        let (memory, fence) = (Arc::new(MemoryAdmin::new()), Arc::new(Fence::closed()));
        let admin = Fenced::new(Arc::clone(&memory) as Arc<dyn Admin>, Arc::clone(&fence));
        let name = TopicName::new("orders").unwrap();
        let new = [NewTopic::named(name.clone())];

        let refused = admin.create_topics(&new, Mode::Apply).await.remove(0);
        let seen = admin.describe_topics(std::slice::from_ref(&name)).await.remove(0);
        fence.open(Instant::now() + std::time::Duration::from_secs(60));
        let created = admin.create_topics(&new, Mode::Apply).await.remove(0);

        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
        assert!(matches!(seen, Err(Error::NotFound { .. })), "{seen:?}");
        assert_eq!(created, Ok(()));
    }
}
