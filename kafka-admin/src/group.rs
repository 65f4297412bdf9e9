//! Consumer groups: state, members, offsets and lag.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::topic::TopicName;

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's number, from 0.
    pub partition: i32,
}

/// What a group is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// It has members, and each has its partitions.
    Stable,
    /// Partitions are being handed out anew.
    Rebalancing,
    /// It has no members; its offsets are kept.
    Empty,
    /// The broker named a state that this version does not know.
    Unknown,
}

/// A group that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub id: String,
    /// What it is doing.
    pub state: GroupState,
}

/// One consumer in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the broker gave it.
    pub id: String,
    /// The client id that it gave itself.
    pub client_id: String,
    /// The address that it connects from.
    pub host: String,
    /// The partitions that it has.
    pub assigned: Vec<TopicPartition>,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub id: String,
    /// What it is doing.
    pub state: GroupState,
    /// How partitions are handed out; empty for a group without members.
    pub assignor: String,
    /// Its consumers.
    pub members: Vec<GroupMember>,
}

/// The offset committed for each partition: that of the next message to read.
pub type GroupOffsets = BTreeMap<TopicPartition, i64>;

/// How far a group is behind on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the next message that the group will read.
    pub committed: i64,
    /// The offset that the next message will get. With transactions it counts control records too.
    pub end: i64,
}

impl PartitionLag {
    /// Messages not yet read; 0 where offsets were reset beyond the end.
    pub fn messages(&self) -> u64 {
        u64::try_from(self.end.saturating_sub(self.committed)).unwrap_or(0)
    }
}

pub(crate) fn lag_of(
    committed: &GroupOffsets,
    ends: &BTreeMap<&TopicPartition, Result<i64, Error>>,
) -> Result<Vec<PartitionLag>, Error> {
    let mut lags = Vec::with_capacity(committed.len());
    for (partition, &offset) in committed {
        match ends.get(partition) {
            Some(Ok(end)) => {
                lags.push(PartitionLag { partition: partition.clone(), committed: offset, end: *end });
            }
            Some(Err(Error::NotFound { .. })) | None => {}
            Some(Err(error)) => return Err(error.clone()),
        }
    }
    Ok(lags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_leaves_out_topics_that_are_gone_and_fails_on_other_errors() {
        let partition = |number| TopicPartition { topic: TopicName::new("t").unwrap(), partition: number };
        let (here, gone) = (partition(0), partition(1));
        let committed = GroupOffsets::from([(here.clone(), 5), (gone.clone(), 9)]);

        let lag = lag_of(&committed, &BTreeMap::from([(&here, Ok(12)), (&gone, Err(Error::not_found("t")))]));
        let failed = lag_of(&committed, &BTreeMap::from([(&here, Err(Error::invalid_request("x")))]));

        assert_eq!(lag, Ok(vec![PartitionLag { partition: here.clone(), committed: 5, end: 12 }]));
        assert_eq!(lag.unwrap()[0].messages(), 7);
        assert_eq!(failed, Err(Error::invalid_request("x")));
    }
}
