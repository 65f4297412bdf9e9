//! Checks before anything is sent: one bad item would fail the request of all others, inside the client library or
//! at the broker. Shared by all implementations, so that they refuse the same.

use secrecy::ExposeSecret;

use crate::acl::{AclBinding, AclFilter, AclOperation, Principal, ResourceKind};
use crate::batch::{Duplicate, Sifted};
use crate::config::{ConfigAlteration, ConfigChange};
use crate::error::Error;
use crate::group::TopicPartition;
use crate::scram::{ScramDeletion, ScramUpsertion};
use crate::topic::{NewTopic, PartitionGrowth, TopicName};

/// What the client library takes at most for one topic; brokers refuse far less.
const PARTITIONS_MAX: u32 = 100_000;
const REPLICAS_MAX: u16 = 10_000;

pub(crate) fn names(topics: &[TopicName], duplicate: Duplicate) -> Sifted<'_, TopicName> {
    Sifted::new(topics, duplicate, |name| name, |_| Ok(()))
}

pub(crate) fn new_topics(topics: &[NewTopic]) -> Sifted<'_, NewTopic> {
    let check = |topic: &NewTopic| {
        number_of_partitions(topic.partitions.unwrap_or(1))?;
        number_of_replicas(topic.replicas.unwrap_or(1))?;
        topic.config.iter().try_for_each(|(key, value)| {
            text("a setting's name", key)?;
            no_nul("a setting's value", value)
        })
    };
    Sifted::new(topics, Duplicate::IsRefused, |topic| &topic.name, check)
}

pub(crate) fn growths(growths: &[PartitionGrowth]) -> Sifted<'_, PartitionGrowth> {
    Sifted::new(
        growths,
        Duplicate::IsRefused,
        |growth| &growth.topic,
        |growth| number_of_partitions(growth.total),
    )
}

fn number_of_partitions(partitions: u32) -> Result<(), Error> {
    if (1..=PARTITIONS_MAX).contains(&partitions) {
        return Ok(());
    }
    let message = format!("{partitions} partitions: 1 to {PARTITIONS_MAX} are possible");
    Err(Error::InvalidPartitions { message })
}

fn number_of_replicas(replicas: u16) -> Result<(), Error> {
    if (1..=REPLICAS_MAX).contains(&replicas) {
        return Ok(());
    }
    let message = format!("{replicas} replicas: 1 to {REPLICAS_MAX} are possible");
    Err(Error::InvalidReplication { message })
}

pub(crate) fn alterations(alterations: &[ConfigAlteration]) -> Sifted<'_, ConfigAlteration> {
    let check = |alteration: &ConfigAlteration| {
        if alteration.changes.is_empty() {
            return Err(Error::invalid_request("an alteration without changes"));
        }
        alteration.changes.iter().try_for_each(|(key, change)| {
            text("a setting's name", key)?;
            match change {
                ConfigChange::Set(value) => no_nul("a setting's value", value),
                ConfigChange::Delete => Ok(()),
            }
        })
    };
    Sifted::new(alterations, Duplicate::IsRefused, |alteration| &alteration.topic, check)
}

pub(crate) fn bindings(bindings: &[AclBinding]) -> Sifted<'_, AclBinding> {
    let check = |binding: &AclBinding| {
        if binding.resource == ResourceKind::Unknown || binding.operation == AclOperation::Unknown {
            return Err(Error::invalid_request("an ACL of unknown resource or operation cannot be created"));
        }
        text("an ACL's resource name", &binding.name)?;
        text("an ACL's host", &binding.host)?;
        no_nul("an ACL's principal", binding.principal.as_str())
    };
    Sifted::new(bindings, Duplicate::SharesAnswer, |binding| binding, check)
}

/// Checks one filter: an unknown kind or operation would be taken for something else.
pub(crate) fn filter(filter: &AclFilter) -> Result<(), Error> {
    if filter.resource == Some(ResourceKind::Unknown) || filter.operation == Some(AclOperation::Unknown) {
        return Err(Error::invalid_request("ACLs cannot be filtered by an unknown resource or operation"));
    }
    let principal = filter.principal.as_ref().map(Principal::as_str);
    let texts = [filter.name.as_deref(), filter.host.as_deref(), principal];
    texts.into_iter().flatten().try_for_each(|part| text("a part of an ACL filter", part))
}

pub(crate) fn filters(filters: &[AclFilter]) -> Sifted<'_, AclFilter> {
    Sifted::new(filters, Duplicate::SharesAnswer, |filter| filter, filter)
}

pub(crate) fn users(users: &[String]) -> Sifted<'_, String> {
    Sifted::new(users, Duplicate::SharesAnswer, |user| user, |user| text("a user's name", user))
}

pub(crate) fn upsertions(upsertions: &[ScramUpsertion]) -> Sifted<'_, ScramUpsertion> {
    let check = |upsertion: &ScramUpsertion| {
        text("a user's name", &upsertion.user)?;
        text("a password", upsertion.password.expose_secret())
    };
    // The broker refuses all changes of a user that is there twice, whatever the mechanisms.
    Sifted::new(upsertions, Duplicate::IsRefused, |upsertion| &upsertion.user, check)
}

pub(crate) fn deletions(deletions: &[ScramDeletion]) -> Sifted<'_, ScramDeletion> {
    let check = |deletion: &ScramDeletion| text("a user's name", &deletion.user);
    Sifted::new(deletions, Duplicate::IsRefused, |deletion| &deletion.user, check)
}

pub(crate) fn groups(groups: &[String]) -> Sifted<'_, String> {
    Sifted::new(groups, Duplicate::SharesAnswer, |group| group, |group| text("a group's id", group))
}

pub(crate) fn partitions(partitions: &[TopicPartition]) -> Sifted<'_, TopicPartition> {
    let check = |partition: &TopicPartition| match partition.partition {
        0.. => Ok(()),
        negative => Err(Error::invalid_request(format!("partition {negative} is negative"))),
    };
    Sifted::new(partitions, Duplicate::SharesAnswer, |partition| partition, check)
}

fn text(what: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::invalid_request(format!("{what} is empty")));
    }
    no_nul(what, text)
}

fn no_nul(what: &str, text: &str) -> Result<(), Error> {
    if text.contains('\0') {
        return Err(Error::invalid_request(format!("{what} holds a NUL character")));
    }
    Ok(())
}
