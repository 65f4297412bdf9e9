//! A layer that stands before every change, and lets every question through.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::acl::{AclBinding, AclFilter};
use crate::admin::{Admin, Batch, Mode, RequestKind};
use crate::config::{ConfigAlteration, TopicConfig};
use crate::error::Error;
use crate::group::{GroupDescription, GroupListing, GroupOffsets, TopicPartition};
use crate::scram::{ScramDeletion, ScramInfo, ScramUpsertion};
use crate::topic::{NewTopic, PartitionGrowth, TopicDescription, TopicName};

/// Decides about changes.
pub trait Guard: fmt::Debug + Send + Sync + 'static {
    /// Makes `change`, which is about so many `items` and sends nothing before it is polled; or answers in its place,
    /// for each item.
    fn change<T: Send>(
        &self,
        items: usize,
        change: impl Future<Output = Batch<T>> + Send,
    ) -> impl Future<Output = Batch<T>> + Send;
}

/// An [`Admin`] behind a [`Guard`].
#[derive(Debug)]
pub struct Guarded<G> {
    inner: Arc<dyn Admin>,
    guard: G,
}

impl<G> Guarded<G> {
    /// Puts `guard` before `inner`.
    pub fn new(inner: Arc<dyn Admin>, guard: G) -> Self {
        Self { inner, guard }
    }
}

#[async_trait]
impl<G: Guard> Admin for Guarded<G> {
    async fn create_topics(&self, topics: &[NewTopic], mode: Mode) -> Batch<()> {
        self.guard.change(topics.len(), self.inner.create_topics(topics, mode)).await
    }

    async fn create_partitions(&self, growths: &[PartitionGrowth], mode: Mode) -> Batch<()> {
        self.guard.change(growths.len(), self.inner.create_partitions(growths, mode)).await
    }

    async fn alter_configs(&self, alterations: &[ConfigAlteration], mode: Mode) -> Batch<()> {
        self.guard.change(alterations.len(), self.inner.alter_configs(alterations, mode)).await
    }

    async fn delete_topics(&self, topics: &[TopicName]) -> Batch<()> {
        self.guard.change(topics.len(), self.inner.delete_topics(topics)).await
    }

    async fn create_acls(&self, bindings: &[AclBinding]) -> Batch<()> {
        self.guard.change(bindings.len(), self.inner.create_acls(bindings)).await
    }

    async fn delete_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>> {
        self.guard.change(filters.len(), self.inner.delete_acls(filters)).await
    }

    async fn upsert_scram(&self, upsertions: &[ScramUpsertion]) -> Batch<()> {
        self.guard.change(upsertions.len(), self.inner.upsert_scram(upsertions)).await
    }

    async fn delete_scram(&self, deletions: &[ScramDeletion]) -> Batch<()> {
        self.guard.change(deletions.len(), self.inner.delete_scram(deletions)).await
    }

    async fn cluster_id(&self) -> Result<String, Error> {
        self.inner.cluster_id().await
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
