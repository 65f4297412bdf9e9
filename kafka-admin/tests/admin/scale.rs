//! A thousand topics, each handled by calls of its own.

use std::sync::Arc;
use std::time::Instant;

use devcluster::testing::unique;
use futures::future::join_all;
use kafka_admin::{
    Admin, CoalesceOptions, Coalescing, ConfigAlteration, Error, KafkaAdmin, Mode, NewTopic, PartitionGrowth,
    RequestKind, TopicName,
};

use super::{eventually, real};

const TOPICS: usize = 1_000;
/// Three times what full requests of 100 need, because a busy machine may let the linger run out before.
const REQUESTS_MAX: u64 = 30;

struct Measured {
    admin: Arc<KafkaAdmin>,
}

impl Measured {
    /// Makes all calls at once; how many requests that took is printed, and bounded.
    async fn run<F: Future<Output = Result<(), Error>>>(
        &self,
        kind: RequestKind,
        calls: impl Iterator<Item = F>,
    ) {
        let count = || self.admin.request_counts().get(&kind).copied().unwrap_or(0);
        let (before, started) = (count(), Instant::now());

        let outcomes = join_all(calls).await;

        let (requests, took) = (count() - before, started.elapsed());
        println!("{}: {TOPICS} calls, {requests} requests, {took:?}", <&str>::from(kind));
        let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_err()).take(3).collect();
        assert!(failed.is_empty(), "{failed:?}");
        assert!(requests <= REQUESTS_MAX, "{requests} requests");
    }
}

#[tokio::test]
async fn a_thousand_topics_cost_tens_of_requests() {
    let real = Arc::new(real());
    let measured = Measured { admin: Arc::clone(&real) };
    let admin = Coalescing::new(Arc::<KafkaAdmin>::clone(&real), CoalesceOptions::default());
    let admin = &admin;
    let prefix = unique("scale");
    let names: Vec<TopicName> =
        (0..TOPICS).map(|number| TopicName::new(format!("{prefix}-{number}")).unwrap()).collect();
    let first = |mut batch: Vec<Result<(), Error>>| batch.remove(0);

    let create = |name: &TopicName| {
        let new = [NewTopic::named(name.clone()).partitions(1).config("retention.ms", "1000")];
        async move { first(admin.create_topics(&new, Mode::Apply).await) }
    };
    measured.run(RequestKind::CreateTopics, names.iter().map(create)).await;
    let unseen = || async {
        let found = real.describe_topics(&names).await;
        let errors: Vec<Error> = found.into_iter().filter_map(Result::err).collect();
        (errors.len(), errors.into_iter().next())
    };
    eventually("all topics are seen", unseen, |unseen| unseen.0 == 0).await;

    let describe = |name: &TopicName| {
        let name = [name.clone()];
        async move { admin.describe_topics(&name).await.remove(0).map(|_| ()) }
    };
    measured.run(RequestKind::DescribeTopics, names.iter().map(describe)).await;
    let config = |name: &TopicName| {
        let name = [name.clone()];
        async move { admin.describe_configs(&name).await.remove(0).map(|_| ()) }
    };
    measured.run(RequestKind::DescribeConfigs, names.iter().map(config)).await;
    let alter = |name: &TopicName| {
        let change = [ConfigAlteration::of(name.clone()).set("retention.ms", "2000")];
        async move { first(admin.alter_configs(&change, Mode::Apply).await) }
    };
    measured.run(RequestKind::AlterConfigs, names.iter().map(alter)).await;
    let grow = |name: &TopicName| {
        let growth = [PartitionGrowth { topic: name.clone(), total: 2 }];
        async move { first(admin.create_partitions(&growth, Mode::Apply).await) }
    };
    measured.run(RequestKind::CreatePartitions, names.iter().map(grow)).await;
    let delete = |name: &TopicName| {
        let name = [name.clone()];
        async move { first(admin.delete_topics(&name).await) }
    };
    measured.run(RequestKind::DeleteTopics, names.iter().map(delete)).await;
}

#[tokio::test]
async fn drift_of_all_topics_is_seen_in_one_request_per_kind() {
    let admin = real();
    let names: Vec<TopicName> =
        (0..TOPICS).map(|number| TopicName::new(format!("missing-{number}")).unwrap()).collect();

    let found = admin.describe_topics(&names).await;

    assert!(found.iter().all(|found| matches!(found, Err(Error::NotFound { .. }))));
    assert_eq!(admin.request_counts()[&RequestKind::DescribeTopics], 1);
}
