//! Groups that consume.

use std::time::Duration;

use devcluster::testing::{self, unique};
use kafka_admin::{Admin, Error, GroupState, NewTopic, PartitionLag, TopicPartition};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::{create, eventually, only, real, topic};

fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", testing::kafka().bootstrap());
    config
}

fn produce(topic: &str, messages: usize) {
    let producer: BaseProducer = config().create().unwrap();
    for _ in 0..messages {
        producer.send(BaseRecord::<str, str>::to(topic).partition(0).payload("x")).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

fn consumer(group: &str) -> BaseConsumer {
    config().set("group.id", group).set("client.id", "tester").create().unwrap()
}

#[tokio::test]
async fn lag_is_what_is_produced_and_not_committed() {
    let (name, group) = (topic("lagging"), unique("group"));
    create(&real(), NewTopic::named(name.clone()).partitions(1)).await;
    let admin = real();
    let committed = {
        let (topic, group) = (name.to_string(), group.clone());
        move || {
            produce(&topic, 10);
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&topic, 0, Offset::Offset(4)).unwrap();
            consumer(&group).commit(&offsets, CommitMode::Sync)
        }
    };
    tokio::task::spawn_blocking(committed).await.unwrap().unwrap();
    let groups = [group.clone()];

    let ask = || async { only(admin.group_lag(&groups).await) };
    let seen = |lag: &Result<Vec<_>, Error>| lag.as_ref().is_ok_and(|lag| !lag.is_empty());
    let lag = eventually("the group's lag", ask, seen).await.unwrap();
    let listed = admin.list_groups().await.unwrap();
    let found = only(admin.describe_groups(&groups).await).unwrap();

    let partition = TopicPartition { topic: name, partition: 0 };
    assert_eq!(lag, [PartitionLag { partition, committed: 4, end: 10 }]);
    assert_eq!(lag[0].messages(), 6);
    assert!(listed.iter().any(|listing| listing.id == group && listing.state == GroupState::Empty));
    assert_eq!((found.state, found.members.len()), (GroupState::Empty, 0));
}

#[tokio::test]
async fn members_are_described_with_their_partitions() {
    let (name, group) = (topic("assigned"), unique("group"));
    create(&real(), NewTopic::named(name.clone()).partitions(2)).await;
    let admin = real();
    let member = consumer(&group);
    member.subscribe(&[name.as_str()]).unwrap();
    let groups = [group];

    let ask = || async {
        // Without being polled, it does not take part; it gets at most a moment of the test's thread.
        drop(member.poll(Duration::ZERO));
        only(admin.describe_groups(&groups).await)
    };
    let stable = |found: &Result<kafka_admin::GroupDescription, Error>| {
        found.as_ref().is_ok_and(|found| {
            found.state == GroupState::Stable
                && found.members.iter().any(|member| !member.assigned.is_empty())
        })
    };
    let found = eventually("the group is stable", ask, stable).await.unwrap();

    let [found] = &found.members[..] else { panic!("{found:?}") };
    assert_eq!(found.client_id, "tester");
    let mut assigned = found.assigned.clone();
    assigned.sort();
    assert_eq!(assigned, [0, 1].map(|partition| TopicPartition { topic: name.clone(), partition }));
}
