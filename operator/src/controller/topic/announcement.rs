//! A creation is announced in the status before it happens: should the process die in between, the next one knows whose
//! the topic is.

use std::time::Duration;

use jiff::Timestamp;

use super::plan::{Claim, Memory, Plan};
use super::validate::ValidatedTopic;
use super::{INVISIBLE_RETRY, Pass, status};
use crate::controller::clusters::Cluster;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::outcome::{Outcome, STALLED_RETRY};
use crate::controller::status::write;
use crate::crd::conditions::{self, ConditionType};
use crate::crd::kafka_topic::{AdoptionPolicy, AnnouncedTopic};
use crate::crd::{KafkaTopic, KafkaTopicStatus};

/// Reason of `Ready` while the topic is being created.
const CREATING: &str = "Creating";

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

/// The topic that was announced exists, but not as it was to be made. Brokers show all of it within seconds; somebody
/// else's stays as it is, and is looked at the more seldom the longer it has been so.
pub(super) fn not_as_made(topic: &KafkaTopic, wanted: &ValidatedTopic, now: Timestamp) -> Outcome {
    let message = format!(
        "topic {} was about to be created, and exists, but not as the spec says: either the brokers do not show all \
         of it yet, or somebody else was faster; set adoptionPolicy to Adopt to have it changed",
        wanted.name
    );
    let status = topic.status.as_ref();
    let ready = status.and_then(|status| conditions::find(&status.conditions, ConditionType::Ready));
    let unready = ready.map(|ready| now.duration_since(ready.last_transition_time.0));
    let unready = unready.and_then(|since| Duration::try_from(since).ok()).unwrap_or_default();
    Outcome::waiting(CREATING, message, (unready / 10).clamp(INVISIBLE_RETRY, STALLED_RETRY))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::validate::validate;
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

    #[test]
    fn a_topic_that_stays_other_than_it_was_to_be_is_looked_at_ever_more_seldom() {
        let since = "2026-01-01T00:00:00Z";
        let topic = kafka_topic(json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "Creating", "message": "", "lastTransitionTime": since}
        ]}}));
        let wanted = validate(&topic).unwrap();
        let retry_after = |seconds| {
            let now = since.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(seconds);
            match not_as_made(&topic, &wanted, now) {
                Outcome::Waiting { retry_after, .. } => retry_after.as_secs(),
                other => panic!("{other:?}"),
            }
        };

        assert_eq!([-5, 0, 100, 86_400].map(retry_after), [2, 2, 10, 60]);
    }
}
