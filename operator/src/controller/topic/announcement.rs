//! A creation is announced in the status before it happens: should the process die in between, the next one knows whose
//! the topic is.

use jiff::Timestamp;

use super::plan::{Claim, Memory, Plan};
use super::validate::ValidatedTopic;
use super::{INVISIBLE_RETRY, Pass, status};
use crate::controller::clusters::Cluster;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::outcome::Outcome;
use crate::controller::status::write;
use crate::crd::kafka_topic::{AdoptionPolicy, AnnouncedTopic};
use crate::crd::{KafkaTopic, KafkaTopicStatus};

/// Reason of `Ready` while the topic is being created.
pub(super) const CREATING: &str = "Creating";

/// What became of the announcement that a topic is about to be created.
pub(super) enum Announcement {
    /// Nobody has to know.
    NotNeeded,
    /// The object that tells of it.
    Made(Box<KafkaTopic>),
    /// The object is gone, or has changed since it was read: another pass sees it as it is. Nothing may be created that
    /// nobody would know afterwards.
    Outdated,
}

/// The topic that was about to be created for the object in the cluster with this id.
pub(super) fn announced(topic: &KafkaTopic, cluster_id: Option<&str>) -> Option<AnnouncedTopic> {
    let announced = topic.status.as_ref()?.creating.clone()?;
    (announced.cluster_id.as_deref() == cluster_id).then_some(announced)
}

/// Says in the status that the topic is about to be created, where adopting is forbidden: should the
/// process die before it has written the topic's id, the next one knows whose the topic is.
pub(super) async fn announce_creation(
    topic: &KafkaTopic,
    ctx: &Context,
    wanted: &ValidatedTopic,
    cluster: &Cluster,
    memory: &Memory,
    plan: &Plan,
) -> Result<Announcement, Error> {
    let creates = matches!(plan.claim, Claim::Created | Claim::Recreated);
    let announced = AnnouncedTopic {
        cluster_id: cluster.id(),
        partitions: wanted.partitions,
        replicas: wanted.replicas,
        config: wanted.config.clone(),
    };
    if !creates || memory.creating.as_ref() == Some(&announced) || wanted.adoption != AdoptionPolicy::Refuse {
        return Ok(Announcement::NotNeeded);
    }
    let outcome = Outcome::waiting(CREATING, format!("creating topic {}", wanted.name), INVISIBLE_RETRY);
    let status = status::compute(topic, &Pass::unseen(Ok(outcome)), Timestamp::now());
    let status = KafkaTopicStatus { creating: Some(announced), ..status };
    let written = write(ctx, topic, &status).await?;
    Ok(written.map_or(Announcement::Outdated, |topic| Announcement::Made(Box::new(topic))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::error::Error;
    use crate::crd::fixtures::kafka_topic;

    fn announcing() -> KafkaTopic {
        kafka_topic(json!({"status": {"creating": {"clusterId": "one", "partitions": 3}}}))
    }

    /// Whether the announcement stands after a pass that did not see the topic.
    fn stands_after(claim: Option<Claim>, result: Result<Outcome, Error>) -> bool {
        let pass = Pass { claim, ..Pass::unseen(result) };
        status::compute(&announcing(), &pass, Timestamp::UNIX_EPOCH).creating.is_some()
    }

    #[test]
    fn what_was_announced_for_one_cluster_is_a_strangers_in_another() {
        assert_eq!(announced(&announcing(), Some("one")).unwrap().partitions, Some(3));
        assert_eq!(announced(&announcing(), Some("two")), None);
        assert_eq!(announced(&announcing(), None), None);
    }

    #[test]
    fn an_announcement_stands_until_it_is_decided_whose_the_topic_is() {
        let stalled = || Ok(Outcome::stalled("NotAuthenticated", "wrong password"));

        assert!(stands_after(None, Ok(Outcome::waiting(CREATING, "soon", INVISIBLE_RETRY))));
        assert!(stands_after(None, stalled()), "a wrong password says nothing about the topic");
        assert!(!stands_after(Some(Claim::Refused), stalled()));
    }
}
