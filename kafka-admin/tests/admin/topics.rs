use kafka_admin::{Admin, Error, Mode, NewTopic, PartitionGrowth, RequestKind};

use super::{create, described, eventually, only, topic};

pub(super) async fn a_cluster_has_an_id(admin: &dyn Admin) {
    let id = admin.cluster_id().await.unwrap();

    assert_eq!(id.len(), 22);
    assert_eq!(admin.cluster_id().await.unwrap(), id);
}

pub(super) async fn a_created_topic_is_described_as_asked(admin: &dyn Admin) {
    let name = topic("orders");

    let found = create(admin, NewTopic::named(name.clone()).partitions(3).replicas(1)).await;

    assert_eq!(found.name, name);
    assert_eq!((found.partition_count(), found.replication_factor()), (3, 1));
    assert_eq!(found.partitions.iter().map(|partition| partition.id).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(!found.internal);
    assert_ne!(found.id.bits(), 0);
    let healthy = |found: &Result<_, Error>| {
        found.as_ref().is_ok_and(|found: &kafka_admin::TopicDescription| {
            found.offline_partitions() == 0 && found.under_replicated_partitions() == 0
        })
    };
    let ask = || async { only(admin.describe_topics(std::slice::from_ref(&name)).await) };
    eventually("all partitions have leaders", ask, healthy).await.unwrap();
}

pub(super) async fn what_is_left_out_follows_the_broker(admin: &dyn Admin) {
    let found = create(admin, NewTopic::named(topic("defaults"))).await;

    assert!(found.partition_count() >= 1);
    assert_eq!(found.replication_factor(), 1);
}

pub(super) async fn a_topic_is_created_once(admin: &dyn Admin) {
    let new = NewTopic::named(topic("once")).partitions(1);
    create(admin, new.clone()).await;

    let again = only(admin.create_topics(&[new], Mode::Apply).await);

    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
}

pub(super) async fn validation_tells_the_same_and_changes_nothing(admin: &dyn Admin) {
    let existing = NewTopic::named(topic("existing")).partitions(1);
    let id = create(admin, existing.clone()).await.id;
    let fresh = NewTopic::named(topic("fresh")).partitions(1);

    let answers = admin.create_topics(&[existing.clone(), fresh.clone()], Mode::ValidateOnly).await;
    let growth = PartitionGrowth { topic: existing.name.clone(), total: 4 };
    let grown = only(admin.create_partitions(&[growth], Mode::ValidateOnly).await);

    assert!(matches!(answers[0], Err(Error::AlreadyExists { .. })), "{answers:?}");
    assert_eq!(answers[1], Ok(()));
    assert_eq!(grown, Ok(()));
    // Creating it for good proves that it was not there, without waiting for something not to happen.
    create(admin, fresh).await;
    let found = described(admin, &existing.name).await;
    assert_eq!((found.id, found.partition_count()), (id, 1));
}

pub(super) async fn impossible_topics_are_refused_by_kind(admin: &dyn Admin) {
    let existing = testing_name("dots.and");
    create(admin, NewTopic::named(existing.clone()).partitions(1)).await;
    let colliding = kafka_admin::TopicName::new(existing.as_str().replace('.', "_")).unwrap();
    let new = |name| NewTopic::named(topic(name)).partitions(1);

    let answers = admin
        .create_topics(
            &[
                new("two-replicas").replicas(2),
                new("no-partitions").partitions(0),
                new("unknown-key").config("no.such.key", "1"),
                new("bad-value").config("retention.ms", "soon"),
                NewTopic::named(colliding).partitions(1),
                new("good"),
            ],
            Mode::Apply,
        )
        .await;

    assert!(matches!(answers[0], Err(Error::InvalidReplication { .. })), "{:?}", answers[0]);
    assert!(matches!(answers[1], Err(Error::InvalidPartitions { .. })), "{:?}", answers[1]);
    let key = |answer: &Result<(), Error>| match answer {
        Err(Error::InvalidConfig { key, .. }) => key.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(key(&answers[2]).as_deref(), Some("no.such.key"));
    assert_eq!(key(&answers[3]).as_deref(), Some("retention.ms"));
    assert!(matches!(answers[4], Err(Error::InvalidRequest { .. })), "{:?}", answers[4]);
    assert_eq!(answers[5], Ok(()));
}

fn testing_name(name: &str) -> kafka_admin::TopicName {
    kafka_admin::TopicName::new(format!("{}.x", topic(name))).unwrap()
}

pub(super) async fn a_topic_that_is_not_there_is_not_found_and_not_created(admin: &dyn Admin) {
    let name = topic("missing");
    let names = [name.clone()];

    let described = only(admin.describe_topics(&names).await).map(|_| ());
    let config = only(admin.describe_configs(&names).await).map(|_| ());
    let grown = only(
        admin.create_partitions(&[PartitionGrowth { topic: name.clone(), total: 2 }], Mode::Apply).await,
    );
    let change = kafka_admin::ConfigAlteration::of(name.clone()).set("retention.ms", "1");
    let altered = only(admin.alter_configs(&[change], Mode::Apply).await);
    let deleted = only(admin.delete_topics(&names).await);

    for answer in [described, config, grown, altered, deleted] {
        assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
    }
    let created = only(admin.create_topics(&[NewTopic::named(name)], Mode::ValidateOnly).await);
    assert_eq!(created, Ok(()), "describing must not create");
}

pub(super) async fn partitions_only_grow(admin: &dyn Admin) {
    let name = topic("growing");
    create(admin, NewTopic::named(name.clone()).partitions(2)).await;
    let to = |total| [PartitionGrowth { topic: name.clone(), total }];

    let fewer = only(admin.create_partitions(&to(1), Mode::Apply).await);
    let same = only(admin.create_partitions(&to(2), Mode::Apply).await);
    let more = only(admin.create_partitions(&to(5), Mode::Apply).await);

    assert!(matches!(fewer, Err(Error::InvalidPartitions { .. })), "{fewer:?}");
    assert!(matches!(same, Err(Error::InvalidPartitions { .. })), "{same:?}");
    assert_eq!(more, Ok(()));
    let ask = || async { described(admin, &name).await.partition_count() };
    eventually("there are five", ask, |count| *count == 5).await;
}

pub(super) async fn a_topic_created_anew_has_another_id(admin: &dyn Admin) {
    let new = NewTopic::named(topic("reborn")).partitions(1);
    let before = create(admin, new.clone()).await.id;

    only(admin.delete_topics(std::slice::from_ref(&new.name)).await).unwrap();
    let names = [new.name.clone()];
    let ask = || async { only(admin.describe_topics(&names).await) };
    eventually("it is gone", ask, |found| matches!(found, Err(Error::NotFound { .. }))).await.unwrap_err();
    let after = create(admin, new).await.id;

    assert_ne!(before, after);
}

pub(super) async fn answers_come_in_the_order_of_the_items(admin: &dyn Admin) {
    let here = topic("here");
    create(admin, NewTopic::named(here.clone()).partitions(1)).await;
    let (before, after) = (topic("a-missing"), topic("z-missing"));

    let answers = admin.describe_topics(&[after, here.clone(), before]).await;

    assert!(matches!(answers[0], Err(Error::NotFound { .. })));
    assert_eq!(answers[1].as_ref().unwrap().name, here);
    assert!(matches!(answers[2], Err(Error::NotFound { .. })));
}

pub(super) async fn an_object_twice_in_one_batch_is_answered_twice(admin: &dyn Admin) {
    let new = NewTopic::named(topic("twice")).partitions(1);

    let created = admin.create_topics(&[new.clone(), new.clone()], Mode::Apply).await;
    described(admin, &new.name).await;
    let found = admin.describe_topics(&[new.name.clone(), new.name.clone()]).await;

    assert_eq!(created[0], Ok(()));
    assert!(matches!(created[1], Err(Error::InvalidRequest { .. })), "{created:?}");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], found[1]);
}

pub(super) async fn an_empty_batch_makes_no_request(admin: &dyn Admin) {
    assert!(admin.describe_topics(&[]).await.is_empty());
    assert!(admin.create_topics(&[], Mode::Apply).await.is_empty());
    assert!(admin.describe_acls(&[]).await.is_empty());
    assert!(admin.describe_scram(&[]).await.is_empty());
    assert!(admin.group_lag(&[]).await.is_empty());

    assert_eq!(admin.request_counts().get(&RequestKind::DescribeTopics), None);
    assert!(admin.request_counts().is_empty(), "{:?}", admin.request_counts());
}
