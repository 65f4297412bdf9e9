use std::time::Duration;

use futures::future::join_all;

use super::*;
use crate::acl::{AclOperation, Principal, ResourceKind};
use crate::error::UnavailableCause;
use crate::memory::MemoryAdmin;

fn layer(options: CoalesceOptions) -> (Arc<MemoryAdmin>, Coalescing) {
    let memory = Arc::new(MemoryAdmin::new());
    let admin = Coalescing::new(Arc::<MemoryAdmin>::clone(&memory), options);
    (memory, admin)
}

/// A linger that no test outlives on a busy machine: only full requests leave.
fn patient(max_items: usize) -> CoalesceOptions {
    CoalesceOptions { linger: Duration::from_secs(3600), pace: Duration::ZERO, max_items }
}

fn name(number: usize) -> TopicName {
    TopicName::new(format!("t{number}")).unwrap()
}

async fn create(admin: &dyn Admin, number: usize) -> Result<(), Error> {
    admin.create_topics(&[NewTopic::named(name(number))], Mode::Apply).await.remove(0)
}

fn requests(admin: &dyn Admin, kind: RequestKind) -> u64 {
    admin.request_counts().get(&kind).copied().unwrap_or(0)
}

#[tokio::test]
async fn a_thousand_single_calls_are_ten_requests() {
    let (memory, admin) = layer(patient(100));

    let created = join_all((0..1000).map(|number| create(&admin, number))).await;

    assert!(created.iter().all(Result::is_ok));
    assert_eq!(requests(&*memory, RequestKind::CreateTopics), 10);
}

#[tokio::test]
async fn a_request_that_is_not_full_leaves_after_the_linger() {
    let (memory, admin) = layer(CoalesceOptions::default());

    let created = join_all((0..3).map(|number| create(&admin, number))).await;

    assert!(created.iter().all(Result::is_ok));
    assert!(requests(&*memory, RequestKind::CreateTopics) <= 3);
}

#[tokio::test]
async fn calls_that_come_while_requests_keep_their_pace_leave_together() {
    let hour = Duration::from_secs(3600);
    let (memory, admin) = layer(CoalesceOptions { linger: Duration::ZERO, pace: hour, max_items: 5 });

    create(&admin, 0).await.unwrap();
    let created = join_all((1..=10).map(|number| create(&admin, number))).await;

    assert!(created.iter().all(Result::is_ok));
    // The first did not wait for others; of those after it only full requests left within the hour.
    assert_eq!(requests(&*memory, RequestKind::CreateTopics), 3);
}

#[tokio::test]
async fn each_caller_gets_the_answer_to_its_own_item() {
    let (memory, admin) = layer(patient(3));
    create(&*memory, 1).await.unwrap();
    let bad = NewTopic::named(name(9)).config("no.such.key", "1");

    let bad = async { admin.create_topics(&[bad], Mode::Apply).await.remove(0) };
    let (fresh, existing, bad) = tokio::join!(create(&admin, 0), create(&admin, 1), bad);

    assert_eq!(fresh, Ok(()));
    assert!(matches!(existing, Err(Error::AlreadyExists { .. })));
    assert!(matches!(bad, Err(Error::InvalidConfig { key: Some(_), .. })));
    assert_eq!(requests(&*memory, RequestKind::CreateTopics), 2);
}

#[tokio::test]
async fn two_callers_that_change_one_object_are_both_served() {
    let (memory, admin) = layer(CoalesceOptions::default());
    create(&*memory, 0).await.unwrap();
    let alter = async |value: &str| {
        let alteration = ConfigAlteration::of(name(0)).set("retention.ms", value);
        admin.alter_configs(&[alteration], Mode::Apply).await.remove(0)
    };

    let (one, other) = tokio::join!(alter("1"), alter("2"));

    assert_eq!((one, other), (Ok(()), Ok(())));
    assert_eq!(requests(&*memory, RequestKind::AlterConfigs), 2);
}

#[tokio::test]
async fn validation_and_change_do_not_mix() {
    let (_memory, admin) = layer(CoalesceOptions::default());
    let validate =
        async { admin.create_topics(&[NewTopic::named(name(1))], Mode::ValidateOnly).await.remove(0) };

    let (created, validated) = tokio::join!(create(&admin, 0), validate);

    assert_eq!((created, validated), (Ok(()), Ok(())));
    let found = admin.describe_topics(&[name(0), name(1)]).await;
    assert!(found[0].is_ok());
    assert!(found[1].is_err());
}

#[tokio::test]
async fn acls_of_many_principals_are_one_request() {
    let (memory, admin) = layer(patient(20));
    let principal = |number: usize| Principal::user(format!("u{number}"));
    let read = |number| AclBinding::allow(principal(number), AclOperation::Read, ResourceKind::Topic, "t");
    let bindings: Vec<_> = (0..30).map(read).collect();
    memory.create_acls(&bindings).await;

    let describe = async |number| admin.describe_acls(&[AclFilter::of(principal(number))]).await.remove(0);
    let found = join_all((0..20).map(describe)).await;

    assert_eq!(requests(&*memory, RequestKind::DescribeAcls), 1);
    for (number, found) in found.into_iter().enumerate() {
        assert_eq!(found, Ok(vec![read(number)]));
    }
}

#[tokio::test]
async fn an_unreachable_cluster_is_told_to_every_caller() {
    let (memory, admin) = layer(CoalesceOptions::default());
    memory.go_down();

    let created = join_all((0..5).map(|number| create(&admin, number))).await;

    let down = |outcome: &Result<(), Error>| {
        matches!(outcome, Err(Error::Unavailable { cause: UnavailableCause::Transport, .. }))
    };
    assert!(created.iter().all(down), "{created:?}");
    memory.come_up();
    assert_eq!(create(&admin, 0).await, Ok(()));
}

#[tokio::test]
async fn a_caller_that_gives_up_takes_nobody_with_it() {
    let (_memory, admin) = layer(patient(2));

    {
        let abandoned = create(&admin, 0);
        futures::pin_mut!(abandoned);
        assert!(futures::poll!(abandoned).is_pending());
    }
    let other = create(&admin, 1).await;

    assert_eq!(other, Ok(()));
    // It had been asked for, and may be done.
    assert!(admin.inner.describe_topics(&[name(0)]).await.remove(0).is_ok());
}
