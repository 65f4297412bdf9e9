//! A topic as the cluster has it, reduced to what a spec can speak of.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_admin::{ConfigSource, TopicConfig, TopicDescription, TopicId, TopicName};

use crate::controller::clusters::Cluster;

/// A topic as the cluster has it. Leaders and in-sync replicas are left out: they change without anybody
/// wanting anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedTopic {
    /// Its id.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: u32,
    /// Replicas of the partition that has the fewest.
    pub replicas: u16,
    /// Every setting the broker knows. Most topics have the same, and share them where they are kept.
    pub settings: Arc<Settings>,
}

/// Settings by key.
pub type Settings = BTreeMap<String, Setting>;

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// Its value; the broker withholds sensitive ones.
    pub value: Option<String>,
    /// Whether it was set on the topic itself.
    pub overridden: bool,
}

/// What a look at a topic found: `None` where there is no such topic.
pub type Sighting = Result<Option<ObservedTopic>, kafka_admin::Error>;

impl ObservedTopic {
    /// Keeps of both descriptions what a spec can speak of.
    pub fn new(description: &TopicDescription, config: &TopicConfig) -> Self {
        let settings = config.iter().map(|entry| {
            let overridden = entry.source == ConfigSource::DynamicTopic;
            (entry.name.clone(), Setting { value: entry.value.clone(), overridden })
        });
        Self {
            id: description.id,
            partitions: description.partition_count(),
            replicas: description.replication_factor(),
            settings: Arc::new(settings.collect()),
        }
    }
}

/// Looks at many topics in two requests; answers in the order of `names`.
pub async fn look(cluster: &Cluster, names: &[TopicName]) -> Vec<Sighting> {
    let admin = cluster.admin();
    let (descriptions, configs) = futures::join!(admin.describe_topics(names), admin.describe_configs(names));
    let sightings = descriptions.into_iter().zip(configs).map(|answers| match answers {
        (Ok(description), Ok(config)) => Ok(Some(ObservedTopic::new(&description, &config))),
        // Just deleted or just created: brokers learn of it one after the other.
        (Err(kafka_admin::Error::NotFound { .. }), _) | (_, Err(kafka_admin::Error::NotFound { .. })) => {
            Ok(None)
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    });
    sightings
        .inspect(|sighting| sighting.as_ref().err().into_iter().for_each(|error| cluster.note(error)))
        .collect()
}

/// Looks at one topic.
pub async fn look_at(cluster: &Cluster, name: &TopicName) -> Sighting {
    look(cluster, std::slice::from_ref(name)).await.pop().unwrap_or(Ok(None))
}
