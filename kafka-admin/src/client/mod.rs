//! [`Admin`] on a real cluster.

mod chunks;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::future::join_all;

use self::chunks::chunks;
use crate::acl::{AclBinding, AclFilter};
use crate::admin::{Admin, Batch, Mode, RequestKind};
use crate::batch::{Duplicate, Sifted, all_failed};
use crate::check;
use crate::config::{ConfigAlteration, TopicConfig};
use crate::connect::ConnectOptions;
use crate::error::Error;
use crate::ffi::{Answer, Client, ClientType};
use crate::group::{GroupDescription, GroupListing, GroupOffsets, TopicPartition};
use crate::scram::{ScramDeletion, ScramInfo, ScramUpsertion};
use crate::topic::{NewTopic, PartitionGrowth, TopicDescription, TopicName};

/// Administration of a real cluster, over one client that may be shared by everyone.
pub struct KafkaAdmin {
    client: Arc<Client>,
    /// Made when offsets of groups are first asked for, which an operator never does.
    offsets_client: OnceLock<Result<Arc<Client>, Error>>,
    options: ConnectOptions,
}

impl fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaAdmin")
            .field("bootstrap_servers", &self.options.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

impl KafkaAdmin {
    /// Makes a client. It connects when it is first used, reconnects by itself, and closes when it is dropped.
    /// # Errors: `InvalidRequest` when an option cannot be used (an address or a certificate that cannot be parsed).
    pub fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let client = Client::start(&options.client_config(), ClientType::Producer, options.request_timeout)?;
        Ok(Self { client, offsets_client: OnceLock::new(), options: options.clone() })
    }

    fn offsets_client(&self) -> Result<&Client, Error> {
        let start = || {
            let config = self.options.offsets_client_config();
            Client::start(&config, ClientType::Consumer, self.options.request_timeout)
        };
        self.offsets_client.get_or_init(start).as_deref().map_err(Clone::clone)
    }

    /// Sends the items of a batch in as few requests as a cluster takes, and answers by name.
    async fn by_key<I, K, Q, T>(
        &self,
        items: Sifted<'_, I>,
        weight: impl Fn(&I) -> usize,
        key: impl Fn(&I) -> &Q,
        send: impl Fn(&Client, &[&I]) -> Answer<BTreeMap<K, Result<T, Error>>>,
    ) -> Batch<T>
    where
        I: Sync,
        K: Ord + Borrow<Q>,
        Q: Ord + ?Sized,
        T: Clone,
    {
        let chunks = chunks(items.sent(), weight);
        // Everything is sent before the first answer is awaited.
        let answers: Vec<_> = chunks.iter().map(|chunk| send(&self.client, chunk)).collect();
        let mut all = Vec::with_capacity(items.sent().len());
        for (chunk, answer) in chunks.iter().zip(answers) {
            match answer.wait().await {
                Ok(named) => all.extend(chunk.iter().map(|item| pick(&named, key(item)))),
                Err(error) => all.extend(all_failed(chunk.len(), &error)),
            }
        }
        items.answers(all)
    }

    /// librdkafka 2.12 drops the broker's refusal to describe ACLs and says that there are none. Taking "you may not
    /// know" for "there are none" would be fatal to who compares, so that such an answer is believed only to those
    /// who may describe the cluster.
    async fn doubt_empty(&self, answers: Batch<Vec<AclBinding>>) -> Batch<Vec<AclBinding>> {
        let is_empty = |answer: &Result<Vec<AclBinding>, Error>| answer.as_ref().is_ok_and(Vec::is_empty);
        if !answers.iter().any(is_empty) {
            return answers;
        }
        let refusal = match self.client.may_describe_acls().await {
            Ok(true) => return answers,
            Ok(false) => Error::NotAuthorized {
                message: "ACLs can be described with Describe on the cluster".to_owned(),
            },
            Err(error) => error,
        };
        let doubted = answers.into_iter();
        doubted.map(|answer| if is_empty(&answer) { Err(refusal.clone()) } else { answer }).collect()
    }

    /// The same for calls that answer in the order of their items.
    async fn in_order<I: Sync, T: Clone>(
        &self,
        items: Sifted<'_, I>,
        send: impl Fn(&Client, &[&I]) -> Answer<Batch<T>>,
    ) -> Batch<T> {
        let chunks = chunks(items.sent(), |_| 1);
        let answers: Vec<_> = chunks.iter().map(|chunk| send(&self.client, chunk)).collect();
        let mut all = Vec::with_capacity(items.sent().len());
        for (chunk, answer) in chunks.iter().zip(answers) {
            all.extend(answer.wait().await.unwrap_or_else(|error| all_failed(chunk.len(), &error)));
        }
        items.answers(all)
    }
}

fn pick<K: Ord + Borrow<Q>, Q: Ord + ?Sized, T: Clone>(
    named: &BTreeMap<K, Result<T, Error>>,
    key: &Q,
) -> Result<T, Error> {
    let missing = || Error::Other {
        code: "MISSING_ANSWER".to_owned(),
        message: "the broker's response leaves this item out".to_owned(),
    };
    named.get(key).cloned().unwrap_or_else(|| Err(missing()))
}

/// What a topic costs the controller: a record for itself, for each partition, and for each setting.
fn records(topic: &NewTopic) -> usize {
    1 + topic.partitions.unwrap_or(1) as usize + topic.config.len()
}

#[async_trait]
impl Admin for KafkaAdmin {
    async fn cluster_id(&self) -> Result<String, Error> {
        self.client.cluster_id().await
    }

    async fn describe_topics(&self, topics: &[TopicName]) -> Batch<TopicDescription> {
        let topics = check::names(topics, Duplicate::SharesAnswer);
        self.by_key(topics, |_| 1, TopicName::as_str, Client::describe_topics).await
    }

    async fn describe_configs(&self, topics: &[TopicName]) -> Batch<TopicConfig> {
        let topics = check::names(topics, Duplicate::SharesAnswer);
        self.by_key(topics, |_| 1, TopicName::as_str, Client::describe_configs).await
    }

    async fn create_topics(&self, topics: &[NewTopic], mode: Mode) -> Batch<()> {
        let send = |client: &Client, topics: &[&NewTopic]| client.create_topics(topics, mode);
        let sifted = check::new_topics(topics);
        let outcomes = self.by_key(sifted, records, |topic| topic.name.as_str(), send).await;
        let name_key = |(outcome, topic): (Result<(), Error>, &NewTopic)| {
            outcome.map_err(|error| error.naming_key(topic.config.keys()))
        };
        outcomes.into_iter().zip(topics).map(name_key).collect()
    }

    async fn create_partitions(&self, growths: &[PartitionGrowth], mode: Mode) -> Batch<()> {
        let send = |client: &Client, growths: &[&PartitionGrowth]| client.create_partitions(growths, mode);
        let weight = |growth: &PartitionGrowth| growth.total as usize;
        self.by_key(check::growths(growths), weight, |growth| growth.topic.as_str(), send).await
    }

    async fn alter_configs(&self, alterations: &[ConfigAlteration], mode: Mode) -> Batch<()> {
        let send = |client: &Client, all: &[&ConfigAlteration]| client.alter_configs(all, mode);
        let weight = |alteration: &ConfigAlteration| alteration.changes.len();
        let sifted = check::alterations(alterations);
        let outcomes = self.by_key(sifted, weight, |alteration| alteration.topic.as_str(), send).await;
        let name_key = |(outcome, alteration): (Result<(), Error>, &ConfigAlteration)| {
            outcome.map_err(|error| error.naming_key(alteration.changes.keys()))
        };
        outcomes.into_iter().zip(alterations).map(name_key).collect()
    }

    async fn delete_topics(&self, topics: &[TopicName]) -> Batch<()> {
        let topics = check::names(topics, Duplicate::IsRefused);
        self.by_key(topics, |_| 1, TopicName::as_str, Client::delete_topics).await
    }

    async fn describe_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>> {
        let filters = check::filters(filters);
        // The protocol takes one filter per request.
        let answers = filters.sent().iter().map(|filter| self.client.describe_acls(filter).wait());
        let answers = join_all(answers).await;
        let answers = self.doubt_empty(answers).await;
        filters.answers(answers)
    }

    async fn create_acls(&self, bindings: &[AclBinding]) -> Batch<()> {
        self.in_order(check::bindings(bindings), Client::create_acls).await
    }

    async fn delete_acls(&self, filters: &[AclFilter]) -> Batch<Vec<AclBinding>> {
        self.in_order(check::filters(filters), Client::delete_acls).await
    }

    async fn describe_scram(&self, users: &[String]) -> Batch<Vec<ScramInfo>> {
        self.by_key(check::users(users), |_| 1, String::as_str, Client::describe_scram).await
    }

    async fn upsert_scram(&self, upsertions: &[ScramUpsertion]) -> Batch<()> {
        let upsertions = check::upsertions(upsertions);
        self.by_key(upsertions, |_| 1, |upsertion| upsertion.user.as_str(), Client::upsert_scram).await
    }

    async fn delete_scram(&self, deletions: &[ScramDeletion]) -> Batch<()> {
        let deletions = check::deletions(deletions);
        self.by_key(deletions, |_| 1, |deletion| deletion.user.as_str(), Client::delete_scram).await
    }

    async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        self.client.list_groups().wait().await
    }

    async fn describe_groups(&self, groups: &[String]) -> Batch<GroupDescription> {
        self.by_key(check::groups(groups), |_| 1, String::as_str, Client::describe_groups).await
    }

    async fn group_offsets(&self, groups: &[String]) -> Batch<GroupOffsets> {
        let groups = check::groups(groups);
        if groups.sent().is_empty() {
            return groups.answers(Vec::new());
        }
        let client = match self.offsets_client() {
            Ok(client) => client,
            Err(error) => {
                let failed = all_failed(groups.sent().len(), &error);
                return groups.answers(failed);
            }
        };
        // The client library takes one group per request.
        let answers = groups.sent().iter().map(|group| client.group_offsets(group).wait());
        let answers = join_all(answers).await;
        groups.answers(answers)
    }

    async fn end_offsets(&self, partitions: &[TopicPartition]) -> Batch<i64> {
        let partitions = check::partitions(partitions);
        self.by_key(partitions, |_| 1, |partition| partition, Client::end_offsets).await
    }

    fn request_counts(&self) -> BTreeMap<RequestKind, u64> {
        let mut counts = self.client.request_counts();
        if let Some(Ok(offsets_client)) = self.offsets_client.get() {
            counts.extend(offsets_client.request_counts());
        }
        counts
    }
}
