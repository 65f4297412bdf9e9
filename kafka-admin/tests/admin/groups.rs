use devcluster::testing::unique;
use kafka_admin::{Admin, Error, NewTopic, TopicPartition};

use super::{create, eventually, only, topic};

pub(super) async fn a_group_that_is_not_there_is_not_found(admin: &dyn Admin) {
    let id = unique("group");
    let ids = [id.clone()];

    // The first answer may be that the coordinator is not yet there.
    let ask = || async { only(admin.describe_groups(&ids).await) };
    let missing = |found: &Result<_, Error>| matches!(found, Err(Error::NotFound { .. }));
    eventually("the group is not found", ask, missing).await.unwrap_err();

    assert!(admin.list_groups().await.unwrap().iter().all(|listing| listing.id != id));
}

pub(super) async fn a_group_that_is_not_there_has_no_offsets(admin: &dyn Admin) {
    let ids = [unique("group")];
    let ask = || async { only(admin.group_offsets(&ids).await) };

    let offsets = eventually("the coordinator answers", ask, Result::is_ok).await.unwrap();
    let lag = only(admin.group_lag(&ids).await).unwrap();

    assert!(offsets.is_empty());
    assert!(lag.is_empty());
}

pub(super) async fn a_new_topic_ends_at_zero(admin: &dyn Admin) {
    let name = topic("empty");
    create(admin, NewTopic::named(name.clone()).partitions(2)).await;
    let partitions = [0, 1].map(|partition| TopicPartition { topic: name.clone(), partition });

    let ask = || admin.end_offsets(&partitions);
    let ends = eventually("leaders answer", ask, |ends| ends.iter().all(Result::is_ok)).await;

    assert_eq!(ends, [Ok(0), Ok(0)]);
}

pub(super) async fn the_end_of_what_is_not_there_is_not_found(admin: &dyn Admin) {
    let name = topic("one");
    create(admin, NewTopic::named(name.clone()).partitions(1)).await;
    let here = TopicPartition { topic: name.clone(), partition: 0 };
    let ask = || admin.end_offsets(std::slice::from_ref(&here));
    eventually("the leader answers", ask, |ends| ends[0].is_ok()).await;

    let ends = admin
        .end_offsets(&[
            TopicPartition { topic: topic("missing"), partition: 0 },
            TopicPartition { topic: name, partition: 7 },
            here.clone(),
            TopicPartition { partition: -1, ..here.clone() },
        ])
        .await;

    assert!(matches!(ends[0], Err(Error::NotFound { .. })), "{ends:?}");
    assert!(matches!(ends[1], Err(Error::NotFound { .. })), "{ends:?}");
    assert_eq!(ends[2], Ok(0));
    assert!(matches!(ends[3], Err(Error::InvalidRequest { .. })), "{ends:?}");
}
