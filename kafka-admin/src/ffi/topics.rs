//! Topics, their settings, and the cluster.

use std::collections::BTreeMap;

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as api;

use super::client::{Answer, Client, Target, take_error};
use super::native::{
    Event, Owned, c_text, c_texts, error_outcome, list, optional_text, pointers, rd_kafka_ConfigEntry_source,
    resource_outcome, text, topic_outcome,
};
use crate::admin::{Mode, RequestKind};
use crate::config::{ConfigAlteration, ConfigChange, ConfigEntry, ConfigSource, TopicConfig};
use crate::error::Error;
use crate::topic::{BrokerId, NewTopic, Partition, PartitionGrowth, TopicDescription, TopicId, TopicName};

/// Answers by the topic's name.
pub(crate) type ByName<T> = BTreeMap<String, Result<T, Error>>;

/// A name to ask for where the answer about the topic does not matter; Kafka's own, so that it is nobody's secret.
const ANY_TOPIC: &str = "__consumer_offsets";
const DO_NOT_WAIT: i32 = 0;

type Resources = Vec<Owned<sys::rd_kafka_ConfigResource_t>>;

impl Client {
    /// The id that comes along when a topic is described, which need not exist. Not `rd_kafka_DescribeCluster`:
    /// librdkafka 2.12 takes the process down when a broker that has just started, or come out of a freeze, tells of no
    /// broker at all (the error goes lost in `rd_kafka_DescribeClusterResponse_parse`, and an assertion follows).
    pub(crate) async fn cluster_id(&self) -> Result<String, Error> {
        self.ask_for_topics(RequestKind::ClusterId, &[ANY_TOPIC]).wait().await?;
        let none = || Error::Other {
            code: "NO_CLUSTER_ID".to_owned(),
            message: "the brokers do not tell their cluster's id".to_owned(),
        };
        // SAFETY: the client is valid. The text is ours, and freed by the library that made it, after it was copied.
        unsafe {
            let id = sys::rd_kafka_clusterid(self.native(), DO_NOT_WAIT);
            let told = (!id.is_null()).then(|| text(id));
            sys::rd_kafka_mem_free(self.native(), id.cast());
            told.ok_or_else(none)
        }
    }

    pub(crate) fn describe_topics(&self, names: &[&TopicName]) -> Answer<ByName<TopicDescription>> {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        self.ask_for_topics(RequestKind::DescribeTopics, &names)
    }

    fn ask_for_topics(&self, kind: RequestKind, names: &[&str]) -> Answer<ByName<TopicDescription>> {
        let names = match c_texts(names.iter().copied()) {
            Ok(names) => names,
            Err(error) => return Answer::ready(Err(error)),
        };
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the array and its texts live during the call, which copies them.
        let topics = unsafe {
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            Owned::new(topics, sys::rd_kafka_TopicCollection_destroy, "a list of topics")
        };
        let topics = match topics {
            Ok(topics) => topics,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (kind, api::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        // SAFETY: the target and the topics, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_DescribeTopics(to.client, topics.ptr(), to.options, to.queue)
        };
        self.submit(kind, Mode::Apply, send, |event| Ok(read_topics(event)))
    }

    pub(crate) fn create_topics(&self, topics: &[&NewTopic], mode: Mode) -> Answer<ByName<()>> {
        let topics: Vec<_> = match topics.iter().map(|topic| new_topic(topic)).collect() {
            Ok(topics) => topics,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::CreateTopics, api::RD_KAFKA_ADMIN_OP_CREATETOPICS);
        let mut all = pointers(&topics);
        // SAFETY: the target and the topics, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_CreateTopics(to.client, all.as_mut_ptr(), all.len(), to.options, to.queue);
        };
        self.submit(kind, mode, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_CreateTopics_result(event.ptr());
                Ok(read_outcomes(list(result, sys::rd_kafka_CreateTopics_result_topics)))
            }
        })
    }

    pub(crate) fn create_partitions(&self, growths: &[&PartitionGrowth], mode: Mode) -> Answer<ByName<()>> {
        let growths: Vec<_> = match growths.iter().map(|growth| new_partitions(growth)).collect() {
            Ok(growths) => growths,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::CreatePartitions, api::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
        let mut all = pointers(&growths);
        // SAFETY: the target and the growths, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_CreatePartitions(to.client, all.as_mut_ptr(), all.len(), to.options, to.queue);
        };
        self.submit(kind, mode, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_CreatePartitions_result(event.ptr());
                Ok(read_outcomes(list(result, sys::rd_kafka_CreatePartitions_result_topics)))
            }
        })
    }

    pub(crate) fn delete_topics(&self, names: &[&TopicName]) -> Answer<ByName<()>> {
        let topics: Vec<_> = match names.iter().map(|name| doomed_topic(name)).collect() {
            Ok(topics) => topics,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::DeleteTopics, api::RD_KAFKA_ADMIN_OP_DELETETOPICS);
        let mut all = pointers(&topics);
        // SAFETY: the target and the topics, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_DeleteTopics(to.client, all.as_mut_ptr(), all.len(), to.options, to.queue);
        };
        self.submit(kind, Mode::Apply, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_DeleteTopics_result(event.ptr());
                Ok(read_outcomes(list(result, sys::rd_kafka_DeleteTopics_result_topics)))
            }
        })
    }

    pub(crate) fn describe_configs(&self, names: &[&TopicName]) -> Answer<ByName<TopicConfig>> {
        let resources: Resources = match names.iter().map(|name| topic_resource(name)).collect() {
            Ok(resources) => resources,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::DescribeConfigs, api::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
        let mut all = pointers(&resources);
        // SAFETY: the target and the resources, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_DescribeConfigs(to.client, all.as_mut_ptr(), all.len(), to.options, to.queue);
        };
        self.submit(kind, Mode::Apply, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_DescribeConfigs_result(event.ptr());
                let resources = list(result, sys::rd_kafka_DescribeConfigs_result_resources);
                Ok(read_resources(resources, |resource| read_config(resource)))
            }
        })
    }

    pub(crate) fn alter_configs(&self, alterations: &[&ConfigAlteration], mode: Mode) -> Answer<ByName<()>> {
        let resources: Resources = match alterations.iter().map(|one| altered_resource(one)).collect() {
            Ok(resources) => resources,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::AlterConfigs, api::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS);
        let mut all = pointers(&resources);
        // SAFETY: the target and the resources, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_IncrementalAlterConfigs(
                to.client,
                all.as_mut_ptr(),
                all.len(),
                to.options,
                to.queue,
            );
        };
        self.submit(kind, mode, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.ptr());
                let resources = list(result, sys::rd_kafka_IncrementalAlterConfigs_result_resources);
                Ok(read_resources(resources, |_| ()))
            }
        })
    }
}

fn new_topic(topic: &NewTopic) -> Result<Owned<sys::rd_kafka_NewTopic_t>, Error> {
    let name = c_text(topic.name.as_str())?;
    // -1 leaves the number to the broker; the checks before keep real numbers within librdkafka's limits.
    let partitions = topic.partitions.map_or(Ok(-1), i32::try_from).unwrap_or(i32::MAX);
    let replicas = topic.replicas.map_or(-1, i32::from);
    let (reason, size) = (std::ptr::null_mut(), 0);
    // SAFETY: the texts live during the calls, which copy them; no text of a reason is asked for.
    unsafe {
        let native = sys::rd_kafka_NewTopic_new(name.as_ptr(), partitions, replicas, reason, size);
        let native = Owned::new(native, sys::rd_kafka_NewTopic_destroy, "a new topic")?;
        for (key, value) in &topic.config {
            let (key, value) = (c_text(key)?, c_text(value)?);
            let code = sys::rd_kafka_NewTopic_set_config(native.ptr(), key.as_ptr(), value.as_ptr());
            super::native::outcome_of_code(code as i32)?;
        }
        Ok(native)
    }
}

fn new_partitions(growth: &PartitionGrowth) -> Result<Owned<sys::rd_kafka_NewPartitions_t>, Error> {
    let name = c_text(growth.topic.as_str())?;
    let (reason, size) = (std::ptr::null_mut(), 0);
    // SAFETY: the name lives during the call, which copies it; no text of a reason is asked for.
    unsafe {
        let native = sys::rd_kafka_NewPartitions_new(name.as_ptr(), growth.total as usize, reason, size);
        Owned::new(native, sys::rd_kafka_NewPartitions_destroy, "a number of partitions")
    }
}

fn doomed_topic(name: &TopicName) -> Result<Owned<sys::rd_kafka_DeleteTopic_t>, Error> {
    let name = c_text(name.as_str())?;
    // SAFETY: the name lives during the call, which copies it.
    unsafe {
        let native = sys::rd_kafka_DeleteTopic_new(name.as_ptr());
        Owned::new(native, sys::rd_kafka_DeleteTopic_destroy, "a topic to delete")
    }
}

fn topic_resource(name: &TopicName) -> Result<Owned<sys::rd_kafka_ConfigResource_t>, Error> {
    let name = c_text(name.as_str())?;
    let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
    // SAFETY: the name lives during the call, which copies it.
    unsafe {
        let native = sys::rd_kafka_ConfigResource_new(kind, name.as_ptr());
        Owned::new(native, sys::rd_kafka_ConfigResource_destroy, "a topic with settings")
    }
}

fn altered_resource(alteration: &ConfigAlteration) -> Result<Owned<sys::rd_kafka_ConfigResource_t>, Error> {
    use sys::rd_kafka_AlterConfigOpType_t as op;

    let resource = topic_resource(&alteration.topic)?;
    for (key, change) in &alteration.changes {
        let key = c_text(key)?;
        let (change, value) = match change {
            ConfigChange::Set(value) => (op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, Some(c_text(value)?)),
            ConfigChange::Delete => (op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, None),
        };
        let value = value.as_ref().map_or(std::ptr::null(), |value| value.as_ptr());
        // SAFETY: resource and texts live during the call, which copies them; an error it gives is ours.
        unsafe {
            take_error(sys::rd_kafka_ConfigResource_add_incremental_config(
                resource.ptr(),
                key.as_ptr(),
                change,
                value,
            ))?;
        }
    }
    Ok(resource)
}

fn read_topics(event: &Event) -> ByName<TopicDescription> {
    // SAFETY: the event is the answer to this call, and lives, with what it lends, during this function.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.ptr());
        let topics = list(result, sys::rd_kafka_DescribeTopics_result_topics);
        let named = |&topic: &*const _| (text(sys::rd_kafka_TopicDescription_name(topic)), read_topic(topic));
        topics.iter().map(named).collect()
    }
}

/// # Safety
/// `topic` is valid.
unsafe fn read_topic(topic: *const sys::rd_kafka_TopicDescription_t) -> Result<TopicDescription, Error> {
    // SAFETY: `topic` is valid, with all that it lends.
    unsafe {
        error_outcome(sys::rd_kafka_TopicDescription_error(topic))?;
        let name = text(sys::rd_kafka_TopicDescription_name(topic));
        let name = TopicName::new(name).map_err(|error| Error::invalid_request(error.to_string()))?;
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let high = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
        let low = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
        let partitions = list(topic, sys::rd_kafka_TopicDescription_partitions);
        let mut partitions: Vec<Partition> =
            partitions.iter().map(|&partition| read_partition(partition)).collect();
        partitions.sort_by_key(|partition| partition.id);
        Ok(TopicDescription {
            name,
            id: TopicId::from_bits(u128::from(high) << 64 | u128::from(low)),
            internal: sys::rd_kafka_TopicDescription_is_internal(topic) != 0,
            partitions,
        })
    }
}

/// # Safety
/// `partition` is valid.
unsafe fn read_partition(partition: *const sys::rd_kafka_TopicPartitionInfo_t) -> Partition {
    // SAFETY: `partition` is valid, with all that it lends.
    unsafe {
        let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
        Partition {
            id: sys::rd_kafka_TopicPartitionInfo_partition(partition),
            leader: read_ids(&[leader]).into_iter().find(|&id| id >= 0),
            replicas: read_ids(list(partition, sys::rd_kafka_TopicPartitionInfo_replicas)),
            in_sync: read_ids(list(partition, sys::rd_kafka_TopicPartitionInfo_isr)),
        }
    }
}

/// # Safety
/// Each of `nodes` is null or valid.
unsafe fn read_ids(nodes: &[*const sys::rd_kafka_Node_t]) -> Vec<BrokerId> {
    let known = nodes.iter().filter(|node| !node.is_null());
    // SAFETY: not null, so valid by this function's contract.
    known.map(|&node| unsafe { sys::rd_kafka_Node_id(node) }).collect()
}

/// # Safety
/// Each of `topics` is valid.
unsafe fn read_outcomes(topics: &[*const sys::rd_kafka_topic_result_t]) -> ByName<()> {
    // SAFETY: each is valid by this function's contract.
    let named =
        |&topic: &*const _| unsafe { (text(sys::rd_kafka_topic_result_name(topic)), topic_outcome(topic)) };
    topics.iter().map(named).collect()
}

/// # Safety
/// Each of `resources` is valid.
unsafe fn read_resources<T>(
    resources: &[*const sys::rd_kafka_ConfigResource_t],
    read: impl Fn(*const sys::rd_kafka_ConfigResource_t) -> T,
) -> ByName<T> {
    // SAFETY: each resource is valid by this function's contract.
    let named = |&resource: &*const _| unsafe {
        let name = text(sys::rd_kafka_ConfigResource_name(resource));
        (name, resource_outcome(resource).map(|()| read(resource)))
    };
    resources.iter().map(named).collect()
}

/// # Safety
/// `resource` is valid.
unsafe fn read_config(resource: *const sys::rd_kafka_ConfigResource_t) -> TopicConfig {
    // SAFETY: `resource` is valid, with all that it lends.
    let entries = unsafe { list(resource, sys::rd_kafka_ConfigResource_configs) };
    // SAFETY: so is each entry.
    let read = |&entry: &*const _| unsafe {
        ConfigEntry {
            name: text(sys::rd_kafka_ConfigEntry_name(entry)),
            value: optional_text(sys::rd_kafka_ConfigEntry_value(entry)),
            source: source(rd_kafka_ConfigEntry_source(entry)),
            is_sensitive: sys::rd_kafka_ConfigEntry_is_sensitive(entry) == 1,
            read_only: sys::rd_kafka_ConfigEntry_is_read_only(entry) == 1,
        }
    };
    entries.iter().map(read).collect()
}

/// The numbers are those of Kafka's protocol (KIP-226).
fn source(number: i32) -> ConfigSource {
    match number {
        1 => ConfigSource::DynamicTopic,
        2 => ConfigSource::DynamicBroker,
        3 => ConfigSource::DynamicDefaultBroker,
        4 => ConfigSource::StaticBroker,
        5 => ConfigSource::Default,
        _ => ConfigSource::Unknown,
    }
}
