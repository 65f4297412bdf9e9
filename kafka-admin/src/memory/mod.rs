//! A cluster in memory, for unit tests: the answers, errors, defaults and ids that a broker gives, at once and
//! without one. What it does not have: messages, time, authorization of the caller, and brokers that fail singly.
//! The contract suite runs against it and against a real broker.

mod security;
mod settings;
mod topics;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::security::{Acls, Credentials};
use self::topics::Topics;
use crate::acl::{AclBinding, AclFilter};
use crate::admin::{Admin, Batch, Mode, RequestKind};
use crate::batch::{Duplicate, Sifted, all_failed};
use crate::check;
use crate::config::{ConfigAlteration, TopicConfig};
use crate::error::{Error, UnavailableCause};
use crate::group::{GroupDescription, GroupListing, GroupOffsets, TopicPartition};
use crate::scram::{ScramDeletion, ScramInfo, ScramMechanism, ScramUpsertion};
use crate::topic::{NewTopic, PartitionGrowth, TopicDescription, TopicName};

/// A cluster in memory.
#[derive(Debug)]
pub struct MemoryAdmin {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    topics: Topics,
    acls: Acls,
    credentials: Credentials,
    groups: BTreeMap<String, (GroupDescription, GroupOffsets)>,
    requests: BTreeMap<RequestKind, u64>,
    failures: BTreeMap<RequestKind, Error>,
    down: bool,
}

impl Default for MemoryAdmin {
    fn default() -> Self {
        Self::with_brokers(3)
    }
}

impl MemoryAdmin {
    /// An empty cluster of three brokers with an authorizer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty cluster of this many brokers, with ids from 1.
    pub fn with_brokers(brokers: u16) -> Self {
        let state = State {
            topics: Topics::on(brokers),
            acls: Acls::default(),
            credentials: Credentials::default(),
            groups: BTreeMap::new(),
            requests: BTreeMap::new(),
            failures: BTreeMap::new(),
            down: false,
        };
        Self { state: Mutex::new(state) }
    }

    /// The cluster has no authorizer from now on.
    pub fn disable_authorizer(&self) {
        self.lock().acls.disable();
    }

    /// The brokers' own configuration gives this setting to topics that do not have it.
    pub fn set_broker_default(&self, key: impl Into<String>, value: impl Into<String>) {
        self.lock().topics.set_broker_default(key.into(), value.into());
    }

    /// No broker can be reached until [`Self::come_up`].
    pub fn go_down(&self) {
        self.lock().down = true;
    }

    /// The brokers can be reached again.
    pub fn come_up(&self) {
        self.lock().down = false;
    }

    /// Every request of this kind fails so, until [`Self::heal`].
    pub fn fail(&self, kind: RequestKind, error: Error) {
        self.lock().failures.insert(kind, error);
    }

    /// Requests of this kind no longer fail.
    pub fn heal(&self, kind: RequestKind) {
        self.lock().failures.remove(&kind);
    }

    /// Begins to count requests anew.
    pub fn reset_request_counts(&self) {
        self.lock().requests.clear();
    }

    /// Puts a consumer group there, in place of one with its id.
    pub fn put_group(&self, group: GroupDescription, committed: GroupOffsets) {
        self.lock().groups.insert(group.id.clone(), (group, committed));
    }

    /// Moves the end of a partition by this many messages.
    /// # Errors: `NotFound` without such a partition.
    pub fn append(&self, partition: &TopicPartition, messages: i64) -> Result<(), Error> {
        self.lock().topics.append(partition, messages)
    }

    /// Whether `user` could log in so.
    pub fn accepts(&self, user: &str, mechanism: ScramMechanism, password: &str) -> bool {
        self.lock().credentials.accept(user, mechanism, password)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked half-way has failed already; its clean-up may still want to look.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one request, and fails it if it shall.
    fn request(&self, kind: RequestKind) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.lock();
        *state.requests.entry(kind).or_default() += 1;
        if state.down {
            let message = "1/1 brokers are down".to_owned();
            return Err(Error::Unavailable { cause: UnavailableCause::Transport, message });
        }
        match state.failures.get(&kind) {
            Some(error) => Err(error.clone()),
            None => Ok(state),
        }
    }

    /// One request for all items that are left after sifting.
    fn once<I, T: Clone>(
        &self,
        kind: RequestKind,
        items: Sifted<'_, I>,
        mut answer: impl FnMut(&mut State, &I) -> Result<T, Error>,
    ) -> Batch<T> {
        let sent = items.sent();
        if sent.is_empty() {
            return items.answers(Vec::new());
        }
        let answers = match self.request(kind) {
            Ok(mut state) => sent.iter().map(|item| answer(&mut state, item)).collect(),
            Err(error) => all_failed(sent.len(), &error),
        };
        items.answers(answers)
    }
}

#[async_trait]
impl Admin for MemoryAdmin {
    async fn cluster_id(&self) -> Result<String, Error> {
        drop(self.request(RequestKind::ClusterId)?);
        Ok("bWVtb3J5LWNsdXN0ZXItMQ".to_owned())
    }

    async fn describe_topics(&self, topics: &[TopicName]) -> Batch<TopicDescription> {
        let topics = check::names(topics, Duplicate::SharesAnswer);
        self.once(RequestKind::DescribeTopics, topics, |state, name| state.topics.describe(name))
    }

    async fn describe_configs(&self, topics: &[TopicName]) -> Batch<TopicConfig> {
        let topics = check::names(topics, Duplicate::SharesAnswer);
        self.once(RequestKind::DescribeConfigs, topics, |state, name| state.topics.config(name))
    }

    async fn create_topics(&self, topics: &[NewTopic], mode: Mode) -> Batch<()> {
        let topics = check::new_topics(topics);
        self.once(RequestKind::CreateTopics, topics, |state, topic| state.topics.create(topic, mode))
    }

    async fn create_partitions(&self, growths: &[PartitionGrowth], mode: Mode) -> Batch<()> {
        let growths = check::growths(growths);
        self.once(RequestKind::CreatePartitions, growths, |state, growth| state.topics.grow(growth, mode))
    }

    async fn alter_configs(&self, alterations: &[ConfigAlteration], mode: Mode) -> Batch<()> {
        let alterations = check::alterations(alterations);
        self.once(RequestKind::AlterConfigs, alterations, |state, alteration| {
            state.topics.alter(alteration, mode)
        })
    }

    async fn delete_topics(&self, topics: &[TopicName]) -> Batch<()> {
        let topics = check::names(topics, Duplicate::IsRefused);
        self.once(RequestKind::DeleteTopics, topics, |state, name| state.topics.delete(name))
    }

    async fn describe_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>> {
        let filters = check::filters(filters);
        let one = |filter: &&AclFilter| Ok(self.request(RequestKind::DescribeAcls)?.acls.matching(filter));
        let answers = filters.sent().iter().map(one).collect();
        filters.answers(answers)
    }

    async fn create_acls(&self, bindings: &[AclBinding]) -> Batch<()> {
        let bindings = check::bindings(bindings);
        self.once(RequestKind::CreateAcls, bindings, |state, binding| state.acls.create(binding))
    }

    async fn delete_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>> {
        let filters = check::filters(filters);
        self.once(RequestKind::DeleteAcls, filters, |state, filter| state.acls.delete(filter))
    }

    async fn describe_scram(&self, users: &[String]) -> Batch<Vec<ScramInfo>> {
        let users = check::users(users);
        self.once(RequestKind::DescribeScram, users, |state, user| state.credentials.of(user))
    }

    async fn upsert_scram(&self, upsertions: &[ScramUpsertion]) -> Batch<()> {
        let upsertions = check::upsertions(upsertions);
        self.once(RequestKind::AlterScram, upsertions, |state, upsertion| state.credentials.upsert(upsertion))
    }

    async fn delete_scram(&self, deletions: &[ScramDeletion]) -> Batch<()> {
        let deletions = check::deletions(deletions);
        self.once(RequestKind::AlterScram, deletions, |state, deletion| state.credentials.delete(deletion))
    }

    async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        let state = self.request(RequestKind::ListGroups)?;
        let listing =
            |(group, _): &(GroupDescription, _)| GroupListing { id: group.id.clone(), state: group.state };
        Ok(state.groups.values().map(listing).collect())
    }

    async fn describe_groups(&self, groups: &[String]) -> Batch<GroupDescription> {
        let groups = check::groups(groups);
        self.once(RequestKind::DescribeGroups, groups, |state, id| match state.groups.get(id) {
            Some((group, _)) => Ok(group.clone()),
            None => Err(Error::not_found(format!("group {id} does not exist"))),
        })
    }

    async fn group_offsets(&self, groups: &[String]) -> Batch<GroupOffsets> {
        let groups = check::groups(groups);
        let one = |id: &&String| {
            let state = self.request(RequestKind::GroupOffsets)?;
            Ok(state.groups.get(*id).map(|(_, offsets)| offsets.clone()).unwrap_or_default())
        };
        let answers = groups.sent().iter().map(one).collect();
        groups.answers(answers)
    }

    async fn end_offsets(&self, partitions: &[TopicPartition]) -> Batch<i64> {
        let partitions = check::partitions(partitions);
        self.once(RequestKind::EndOffsets, partitions, |state, partition| state.topics.end_offset(partition))
    }

    fn request_counts(&self) -> BTreeMap<RequestKind, u64> {
        self.lock().requests.clone()
    }
}
