//! The apiserver goes away under two operators, and comes back: one leads, no two ever write, and work goes on.

use devcluster::apiserver::{Apiserver, ApiserverOptions};
use kube::api::ListParams;
use serde_json::json;

use super::leader::{Pair, SECONDS, failed};
use super::world::{World, eventually};

/// An apiserver of the test's own.
struct Cluster {
    apiserver: Apiserver,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let start = || {
            let dir = tempfile::tempdir().unwrap();
            let options = ApiserverOptions::for_tests(dir.path().join("apiserver")).unwrap();
            Self { apiserver: Apiserver::start(options).unwrap(), _dir: dir }
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    fn goes_away(&mut self) {
        tokio::task::block_in_place(|| self.apiserver.kill());
    }

    /// What its watches knew it has forgotten: whoever goes on with an old version is told that it is too old.
    async fn comes_back(&mut self, world: &World) {
        tokio::task::block_in_place(|| self.apiserver.restart().unwrap());
        eventually("the apiserver answers", || async {
            let topics = world.api().list(&ListParams::default()).await;
            topics.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
}

/// Submits a topic and waits until it is there.
async fn submit(world: &World, name: &str) {
    let topic = format!("{}.{name}", world.topic);
    world.create_named(name, json!({"partitions": 1, "topicName": topic})).await;
    world.reason(name, "Synced").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_lease_outlives_an_outage_goes_on() {
    // No machine is so slow that an apiserver takes longer to start.
    const LONG: u64 = 600;
    let mut cluster = Cluster::start().await;
    let pair = Pair::of(World::at(cluster.apiserver.kubeconfig()).await).await;
    let first = pair.start("a", LONG).await;
    pair.leads("a").await;
    let second = pair.start("b", LONG).await;
    submit(&pair.world, "before").await;

    cluster.goes_away();
    cluster.comes_back(&pair.world).await;
    pair.world.change_named("before", json!({"partitions": 2})).await;
    eventually("a change of what was there before", || async {
        let status = pair.world.reason("before", "Synced").await;
        if status.partitions == Some(2) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    submit(&pair.world, "after").await;

    pair.leads("a").await;
    assert!(first.says_it_leads() && !second.says_it_leads());
    assert_eq!(pair.writers(), ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_an_outage_outlasts_ends_and_the_other_takes_over_afterwards() {
    let mut cluster = Cluster::start().await;
    let pair = Pair::of(World::at(cluster.apiserver.kubeconfig()).await).await;
    let mut first = pair.start("a", SECONDS).await;
    pair.leads("a").await;
    let second = pair.start("b", SECONDS).await;
    submit(&pair.world, "before").await;

    cluster.goes_away();
    failed(&mut first).await;
    assert!(!second.says_it_leads(), "nobody could have told it so");
    cluster.comes_back(&pair.world).await;
    pair.leads("b").await;
    submit(&pair.world, "after").await;

    assert!(second.says_it_leads());
    assert_eq!(pair.writers(), ["a", "b"]);
}
