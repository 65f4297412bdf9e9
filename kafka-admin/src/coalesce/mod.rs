//! Many small calls, few requests: calls for single objects that arrive within some milliseconds of each other become
//! one request. Answers and errors stay per item; each caller sees what it would see alone.

mod lane;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::lane::CoalesceOptions;
use self::lane::{Lane, boxed};
use crate::acl::{AclBinding, AclFilter};
use crate::admin::{Admin, Batch, Mode, RequestKind};
use crate::batch::{Duplicate, Sifted, all_failed};
use crate::check;
use crate::config::{ConfigAlteration, TopicConfig};
use crate::error::Error;
use crate::group::{GroupDescription, GroupListing, GroupOffsets, TopicPartition};
use crate::scram::{ScramDeletion, ScramInfo, ScramUpsertion};
use crate::topic::{NewTopic, PartitionGrowth, TopicDescription, TopicName};

/// An [`Admin`] that makes few requests of many calls. Needs a tokio runtime with its timer.
///
/// Descriptions of ACLs by different filters become one request for what they have in common, at the most all ACLs
/// of the cluster, which is then told apart here. Offsets of groups, the list of groups and the cluster are asked for
/// as they come: there is nothing in them to put together.
pub struct Coalescing {
    inner: Arc<dyn Admin>,
    describe_topics: Lane<TopicName, TopicDescription>,
    describe_configs: Lane<TopicName, TopicConfig>,
    create_topics: ByMode<NewTopic>,
    create_partitions: ByMode<PartitionGrowth>,
    alter_configs: ByMode<ConfigAlteration>,
    delete_topics: Lane<TopicName, ()>,
    describe_acls: Lane<AclFilter, Vec<AclBinding>>,
    create_acls: Lane<AclBinding, ()>,
    delete_acls: Lane<AclFilter, Vec<AclBinding>>,
    describe_scram: Lane<String, Vec<ScramInfo>>,
    upsert_scram: Lane<ScramUpsertion, ()>,
    delete_scram: Lane<ScramDeletion, ()>,
    describe_groups: Lane<String, GroupDescription>,
    end_offsets: Lane<TopicPartition, i64>,
}

/// Changes that are made and changes that are only checked cannot share a request.
struct ByMode<I> {
    applied: Lane<I, ()>,
    validated: Lane<I, ()>,
}

impl<I: Send + 'static> ByMode<I> {
    fn new(lane: impl Fn(Mode) -> Lane<I, ()>) -> Self {
        Self { applied: lane(Mode::Apply), validated: lane(Mode::ValidateOnly) }
    }

    fn of(&self, mode: Mode) -> &Lane<I, ()> {
        match mode {
            Mode::Apply => &self.applied,
            Mode::ValidateOnly => &self.validated,
        }
    }
}

impl fmt::Debug for Coalescing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalescing").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A closure that calls a method of `inner` with the items of one request.
macro_rules! call {
    ($inner:expr, $method:ident $(, $mode:expr)?) => {{
        let inner = Arc::clone(&$inner);
        move |items: Vec<_>| {
            let inner = Arc::clone(&inner);
            boxed(async move { inner.$method(&items $(, $mode)?).await })
        }
    }};
}

impl Coalescing {
    /// Puts a layer over `inner`.
    pub fn new(inner: Arc<dyn Admin>, options: CoalesceOptions) -> Self {
        let create = |mode| {
            Lane::of_changes(
                options,
                |one: &NewTopic, other| one.name == other.name,
                call!(inner, create_topics, mode),
            )
        };
        let grow = |mode| {
            let same = |one: &PartitionGrowth, other: &PartitionGrowth| one.topic == other.topic;
            Lane::of_changes(options, same, call!(inner, create_partitions, mode))
        };
        let alter = |mode| {
            let same = |one: &ConfigAlteration, other: &ConfigAlteration| one.topic == other.topic;
            Lane::of_changes(options, same, call!(inner, alter_configs, mode))
        };
        let same_upsertion = |one: &ScramUpsertion, other: &ScramUpsertion| one.user == other.user;
        let same_deletion = |one: &ScramDeletion, other: &ScramDeletion| one.user == other.user;
        let all_acls = Arc::clone(&inner);
        let describe_acls = move |filters| boxed(describe_together(Arc::clone(&all_acls), filters));
        Self {
            describe_topics: Lane::of_reads(options, call!(inner, describe_topics)),
            describe_configs: Lane::of_reads(options, call!(inner, describe_configs)),
            create_topics: ByMode::new(create),
            create_partitions: ByMode::new(grow),
            alter_configs: ByMode::new(alter),
            delete_topics: Lane::of_changes(options, |one, other| one == other, call!(inner, delete_topics)),
            describe_acls: Lane::of_reads(options, describe_acls),
            create_acls: Lane::of_reads(options, call!(inner, create_acls)),
            // Two callers that delete the same: only one of them may be told that it did.
            delete_acls: Lane::of_changes(options, |one, other| one == other, call!(inner, delete_acls)),
            describe_scram: Lane::of_reads(options, call!(inner, describe_scram)),
            upsert_scram: Lane::of_changes(options, same_upsertion, call!(inner, upsert_scram)),
            delete_scram: Lane::of_changes(options, same_deletion, call!(inner, delete_scram)),
            describe_groups: Lane::of_reads(options, call!(inner, describe_groups)),
            end_offsets: Lane::of_reads(options, call!(inner, end_offsets)),
            inner,
        }
    }
}

/// One request for all filters: what they have in common is asked for, and each gets what it matches.
async fn describe_together(inner: Arc<dyn Admin>, filters: Vec<AclFilter>) -> Batch<Vec<AclBinding>> {
    let cover = AclFilter::covering(&filters);
    match inner.describe_acls(&[cover]).await.pop() {
        Some(Ok(found)) => {
            let matching = |filter: &AclFilter| {
                Ok(found.iter().filter(|binding| filter.matches(binding)).cloned().collect())
            };
            filters.iter().map(matching).collect()
        }
        Some(Err(error)) => all_failed(filters.len(), &error),
        None => Vec::new(),
    }
}

/// Sifts before items of different callers meet: an item that is there twice in one call is that caller's mistake, the
/// same item in two calls is nobody's.
async fn sifted<I: Clone + Send + Sync + 'static, T: Clone + Send + 'static>(
    lane: &Lane<I, T>,
    items: Sifted<'_, I>,
) -> Batch<T> {
    let sent = items.sent().iter().copied().cloned().collect();
    let answers = lane.ask(sent).await;
    items.answers(answers)
}

#[async_trait]
impl Admin for Coalescing {
    async fn cluster_id(&self) -> Result<String, Error> {
        self.inner.cluster_id().await
    }

    async fn describe_topics(&self, topics: &[TopicName]) -> Batch<TopicDescription> {
        sifted(&self.describe_topics, check::names(topics, Duplicate::SharesAnswer)).await
    }

    async fn describe_configs(&self, topics: &[TopicName]) -> Batch<TopicConfig> {
        sifted(&self.describe_configs, check::names(topics, Duplicate::SharesAnswer)).await
    }

    async fn create_topics(&self, topics: &[NewTopic], mode: Mode) -> Batch<()> {
        sifted(self.create_topics.of(mode), check::new_topics(topics)).await
    }

    async fn create_partitions(&self, growths: &[PartitionGrowth], mode: Mode) -> Batch<()> {
        sifted(self.create_partitions.of(mode), check::growths(growths)).await
    }

    async fn alter_configs(&self, alterations: &[ConfigAlteration], mode: Mode) -> Batch<()> {
        sifted(self.alter_configs.of(mode), check::alterations(alterations)).await
    }

    async fn delete_topics(&self, topics: &[TopicName]) -> Batch<()> {
        sifted(&self.delete_topics, check::names(topics, Duplicate::IsRefused)).await
    }

    async fn describe_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>> {
        sifted(&self.describe_acls, check::filters(filters)).await
    }

    async fn create_acls(&self, bindings: &[AclBinding]) -> Batch<()> {
        sifted(&self.create_acls, check::bindings(bindings)).await
    }

    async fn delete_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>> {
        sifted(&self.delete_acls, check::filters(filters)).await
    }

    async fn describe_scram(&self, users: &[String]) -> Batch<Vec<ScramInfo>> {
        sifted(&self.describe_scram, check::users(users)).await
    }

    async fn upsert_scram(&self, upsertions: &[ScramUpsertion]) -> Batch<()> {
        sifted(&self.upsert_scram, check::upsertions(upsertions)).await
    }

    async fn delete_scram(&self, deletions: &[ScramDeletion]) -> Batch<()> {
        sifted(&self.delete_scram, check::deletions(deletions)).await
    }

    async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        self.inner.list_groups().await
    }

    async fn describe_groups(&self, groups: &[String]) -> Batch<GroupDescription> {
        sifted(&self.describe_groups, check::groups(groups)).await
    }

    async fn group_offsets(&self, groups: &[String]) -> Batch<GroupOffsets> {
        self.inner.group_offsets(groups).await
    }

    async fn end_offsets(&self, partitions: &[TopicPartition]) -> Batch<i64> {
        sifted(&self.end_offsets, check::partitions(partitions)).await
    }

    fn request_counts(&self) -> BTreeMap<RequestKind, u64> {
        self.inner.request_counts()
    }
}
