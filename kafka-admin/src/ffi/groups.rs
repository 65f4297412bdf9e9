//! Consumer groups and offsets.

use std::collections::BTreeMap;

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as api;

use super::client::{Answer, Client, Target};
use super::native::{
    Event, Owned, c_text, c_texts, error_outcome, list, outcome_of_code,
    rd_kafka_ConsumerGroupDescription_state, rd_kafka_ConsumerGroupListing_state, text,
};
use crate::admin::{Mode, RequestKind};
use crate::error::Error;
use crate::group::{GroupDescription, GroupListing, GroupMember, GroupOffsets, GroupState, TopicPartition};
use crate::topic::TopicName;

/// Answers by the group's id.
pub(crate) type ByGroup<T> = BTreeMap<String, Result<T, Error>>;
/// Answers by partition.
pub(crate) type ByPartition<T> = BTreeMap<TopicPartition, Result<T, Error>>;

impl Client {
    pub(crate) fn list_groups(&self) -> Answer<Vec<GroupListing>> {
        let kind = (RequestKind::ListGroups, api::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
        // SAFETY: the target is valid during the call.
        let send = |to: &Target| unsafe { sys::rd_kafka_ListConsumerGroups(to.client, to.options, to.queue) };
        self.submit(kind, Mode::Apply, send, read_listings)
    }

    pub(crate) fn describe_groups(&self, groups: &[&String]) -> Answer<ByGroup<GroupDescription>> {
        let groups = match c_texts(groups.iter().map(|group| group.as_str())) {
            Ok(groups) => groups,
            Err(error) => return Answer::ready(Err(error)),
        };
        let mut all: Vec<_> = groups.iter().map(|group| group.as_ptr()).collect();
        let kind = (RequestKind::DescribeGroups, api::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
        // SAFETY: the target and the ids, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_DescribeConsumerGroups(
                to.client,
                all.as_mut_ptr(),
                all.len(),
                to.options,
                to.queue,
            );
        };
        self.submit(kind, Mode::Apply, send, |event| Ok(read_groups(event)))
    }

    pub(crate) fn group_offsets(&self, group: &str) -> Answer<GroupOffsets> {
        // SAFETY: the id lives during the call, which copies it; no partitions means all of them.
        let request = c_text(group).and_then(|group| unsafe {
            let request = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), std::ptr::null());
            Owned::new(request, sys::rd_kafka_ListConsumerGroupOffsets_destroy, "a group's id")
        });
        let request = match request {
            Ok(request) => request,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::GroupOffsets, api::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
        let mut one = [request.ptr()];
        // SAFETY: the target and the request, which is copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_ListConsumerGroupOffsets(to.client, one.as_mut_ptr(), 1, to.options, to.queue);
        };
        self.submit(kind, Mode::Apply, send, read_offsets)
    }

    pub(crate) fn end_offsets(&self, partitions: &[&TopicPartition]) -> Answer<ByPartition<i64>> {
        let wanted = match native_partitions(partitions) {
            Ok(wanted) => wanted,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::EndOffsets, api::RD_KAFKA_ADMIN_OP_LISTOFFSETS);
        // SAFETY: the target and the list, which is copied, are valid during the call.
        let send =
            |to: &Target| unsafe { sys::rd_kafka_ListOffsets(to.client, wanted.ptr(), to.options, to.queue) };
        self.submit(kind, Mode::Apply, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_ListOffsets_result(event.ptr());
                let infos = list(result, sys::rd_kafka_ListOffsets_result_infos);
                let read = |&info: &*const _| {
                    read_partition(sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info))
                };
                Ok(infos.iter().filter_map(read).collect())
            }
        })
    }
}

fn native_partitions(
    partitions: &[&TopicPartition],
) -> Result<Owned<sys::rd_kafka_topic_partition_list_t>, Error> {
    let size = i32::try_from(partitions.len()).unwrap_or(0);
    // SAFETY: the size is a hint; the list is ours.
    let wanted = unsafe {
        let list = sys::rd_kafka_topic_partition_list_new(size);
        Owned::new(list, sys::rd_kafka_topic_partition_list_destroy, "a list of partitions")?
    };
    for partition in partitions {
        let topic = c_text(partition.topic.as_str())?;
        // SAFETY: the list is valid, the name is copied, and the new element, never null, lives until the next one
        // is added.
        unsafe {
            let added =
                sys::rd_kafka_topic_partition_list_add(wanted.ptr(), topic.as_ptr(), partition.partition);
            (*added).offset = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
        }
    }
    Ok(wanted)
}

fn read_listings(event: &Event) -> Result<Vec<GroupListing>, Error> {
    // SAFETY: the event is the answer to this call, and lives, with what it lends, during this function.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroups_result(event.ptr());
        // Groups of a broker that did not answer would be missing, and a missing group looks like a deleted one.
        let errors = list(result, sys::rd_kafka_ListConsumerGroups_result_errors);
        errors.iter().try_for_each(|&error| error_outcome(error))?;
        let groups = list(result, sys::rd_kafka_ListConsumerGroups_result_valid);
        let read = |&group: &*const _| {
            let id = text(sys::rd_kafka_ConsumerGroupListing_group_id(group));
            read_state(rd_kafka_ConsumerGroupListing_state(group)).map(|state| GroupListing { id, state })
        };
        Ok(groups.iter().filter_map(read).collect())
    }
}

fn read_groups(event: &Event) -> ByGroup<GroupDescription> {
    // SAFETY: the event is the answer to this call, and lives, with what it lends, during this function.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.ptr());
        let groups = list(result, sys::rd_kafka_DescribeConsumerGroups_result_groups);
        let named = |&group: &*const _| {
            (text(sys::rd_kafka_ConsumerGroupDescription_group_id(group)), read_group(group))
        };
        groups.iter().map(named).collect()
    }
}

/// # Safety
/// `group` is valid.
unsafe fn read_group(
    group: *const sys::rd_kafka_ConsumerGroupDescription_t,
) -> Result<GroupDescription, Error> {
    // SAFETY: `group` is valid, with all that it lends, and the indices are below its count.
    unsafe {
        error_outcome(sys::rd_kafka_ConsumerGroupDescription_error(group))?;
        let id = text(sys::rd_kafka_ConsumerGroupDescription_group_id(group));
        let Some(state) = read_state(rd_kafka_ConsumerGroupDescription_state(group)) else {
            return Err(Error::not_found(format!("group {id} does not exist")));
        };
        let count = sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        let member = |index| read_member(sys::rd_kafka_ConsumerGroupDescription_member(group, index));
        Ok(GroupDescription {
            id,
            state,
            assignor: text(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(group)),
            members: (0..count).map(member).collect(),
        })
    }
}

/// # Safety
/// `member` is valid.
unsafe fn read_member(member: *const sys::rd_kafka_MemberDescription_t) -> GroupMember {
    // SAFETY: `member` is valid, with all that it lends; both steps to the partitions may be null.
    unsafe {
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let assigned = match assignment.is_null() {
            true => std::ptr::null(),
            false => sys::rd_kafka_MemberAssignment_partitions(assignment),
        };
        GroupMember {
            id: text(sys::rd_kafka_MemberDescription_consumer_id(member)),
            client_id: text(sys::rd_kafka_MemberDescription_client_id(member)),
            host: text(sys::rd_kafka_MemberDescription_host(member)),
            assigned: elements(assigned).filter_map(|one| Some(read_partition(one)?.0)).collect(),
        }
    }
}

fn read_offsets(event: &Event) -> Result<GroupOffsets, Error> {
    let mut offsets = GroupOffsets::new();
    // SAFETY: the event is the answer to this call, and lives, with what it lends, during this function.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.ptr());
        for &group in list(result, sys::rd_kafka_ListConsumerGroupOffsets_result_groups) {
            error_outcome(sys::rd_kafka_group_result_error(group))?;
            for one in elements(sys::rd_kafka_group_result_partitions(group)) {
                match read_partition(one) {
                    // Below 0 stands for "none committed".
                    Some((partition, Ok(offset))) if offset >= 0 => _ = offsets.insert(partition, offset),
                    Some((_, Err(error))) => return Err(error),
                    Some((_, Ok(_))) | None => {}
                }
            }
        }
    }
    Ok(offsets)
}

/// The elements of a list, as pointers: an element holds an error code of the broker as a Rust enum, and must not be
/// looked at as a whole.
///
/// # Safety
/// `list` is null or valid, and lives as long as the pointers are used.
unsafe fn elements(
    list: *const sys::rd_kafka_topic_partition_list_t,
) -> impl Iterator<Item = *const sys::rd_kafka_topic_partition_t> {
    let (first, count) = match list.is_null() {
        true => (std::ptr::null(), 0),
        // SAFETY: not null, so valid by this function's contract.
        false => unsafe { ((*list).elems.cast_const(), (*list).cnt) },
    };
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the index is below the number of elements that the list says it has.
    (0..count).map(move |index| unsafe { first.add(index) })
}

/// A partition with the offset or the error that its element holds; none for a name that no topic can have.
///
/// # Safety
/// `element` is valid.
unsafe fn read_partition(
    element: *const sys::rd_kafka_topic_partition_t,
) -> Option<(TopicPartition, Result<i64, Error>)> {
    // SAFETY: `element` is valid, and its name is copied. The code is read as the number that it is in C.
    unsafe {
        let topic = TopicName::new(text((*element).topic)).ok()?;
        let partition = TopicPartition { topic, partition: (*element).partition };
        let code = (&raw const (*element).err).cast::<i32>().read();
        Some((partition, outcome_of_code(code).map(|()| (*element).offset)))
    }
}

/// The numbers are librdkafka's. None for the state of a group that is not there.
fn read_state(number: i32) -> Option<GroupState> {
    match number {
        1 | 2 => Some(GroupState::Rebalancing),
        3 => Some(GroupState::Stable),
        4 => None,
        5 => Some(GroupState::Empty),
        _ => Some(GroupState::Unknown),
    }
}
