//! A creation is announced in the status before it happens: should the process die in between, the next one knows whose
//! the topic is.

use jiff::Timestamp;

use super::plan::{Claim, Memory, Plan};
use super::validate::ValidatedTopic;
use super::{INVISIBLE_RETRY, Pass, status};
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

/// Says in the status that the topic is about to be created, where adopting is forbidden: should the
/// process die before it has written the topic's id, the next one knows whose the topic is.
pub(super) async fn announce_creation(
    topic: &KafkaTopic,
    ctx: &Context,
    wanted: &ValidatedTopic,
    memory: &Memory,
    plan: &Plan,
) -> Result<Announcement, Error> {
    let creates = matches!(plan.claim, Claim::Created | Claim::Recreated);
    let announced = AnnouncedTopic {
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
