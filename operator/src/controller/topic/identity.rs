//! Which topic an object stands for: a topic of the same name, made later or in another cluster, is another one.

use crate::controller::clusters::Cluster;
use crate::crd::KafkaTopicStatus;

/// A topic, wherever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicIdentity {
    /// Kafka's id of the topic.
    pub topic_id: String,
    /// Id of the cluster that it is in; statuses of earlier versions do not say.
    pub cluster_id: Option<String>,
}

impl TopicIdentity {
    /// The one that `status` tells.
    pub fn told_by(status: &KafkaTopicStatus) -> Option<Self> {
        let topic_id = status.topic_id.clone()?;
        Some(Self { topic_id, cluster_id: status.cluster_id.clone() })
    }

    /// Has `status` tell this one.
    pub fn write_to(&self, status: &mut KafkaTopicStatus) {
        status.topic_id = Some(self.topic_id.clone());
        status.cluster_id.clone_from(&self.cluster_id);
    }

    /// Whether the topic may be one of `cluster`: not if it is known to be in another one.
    pub fn may_be_in(&self, cluster: &Cluster) -> bool {
        match (&self.cluster_id, cluster.id()) {
            (Some(mine), Some(its)) => *mine == its,
            (None, _) | (_, None) => true,
        }
    }
}
