//! Two operators, one Lease: whatever becomes of the one that works, never do two write.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use operator::leader::LEASE;
use serde_json::json;

use super::grants::grant_lease;
use super::link::{Link, Record};
use super::process::{Operator, free_address, get};
use super::world::{World, eventually};

/// As long as in production: a machine that is busy with other things must not cost anybody the Lease.
pub(super) const SECONDS: u64 = 15;

/// One of the two operators.
pub(super) struct Replica {
    process: Operator,
    link: Link,
    probes: std::net::SocketAddr,
}

impl Replica {
    /// Whether it says that it leads.
    pub(super) fn says_it_leads(&self) -> bool {
        let metrics = get(self.probes, "/metrics").unwrap();
        metrics.contains(r#"leader_election_master_status{name="orderpipeline-operator"} 1"#)
    }
}

/// A namespace in which no operator works yet, and what the replicas wrote.
pub(super) struct Pair {
    pub(super) world: World,
    record: Record,
    dir: tempfile::TempDir,
}

impl Pair {
    async fn new() -> Self {
        Self::of(World::new().await).await
    }

    pub(super) async fn of(mut world: World) -> Self {
        world.stop().await;
        grant_lease(&world.client, &world.namespace).await;
        Self { world, record: Record::default(), dir: tempfile::tempdir().unwrap() }
    }

    pub(super) async fn start(&self, who: &'static str, lease_seconds: u64) -> Replica {
        let client = Client::try_from(self.world.rights().await).unwrap();
        let link = Link::open(who, client, &self.record).await;
        let kubeconfig: PathBuf = self.dir.path().join(format!("{who}.json"));
        std::fs::write(&kubeconfig, link.kubeconfig()).unwrap();
        let probes = free_address();
        let environment = [
            ("HOSTNAME", who.to_owned()),
            ("LEASE_NAMESPACE", self.world.namespace.clone()),
            ("LEASE_DURATION_SECONDS", lease_seconds.to_string()),
        ];
        let process = Operator::start_with(&kubeconfig, &self.world.namespace, probes, &environment);
        let replica = Replica { process, link, probes };
        eventually("probes are answered", || std::future::ready(get(replica.probes, "/livez"))).await;
        replica
    }

    pub(super) async fn leads(&self, who: &str) {
        let leases: Api<Lease> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        eventually(&format!("{who} leads"), || async {
            let lease = leases.get_opt(LEASE).await.map_err(|error| error.to_string())?;
            let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
            if holder.starts_with(&format!("{who}_")) { Ok(()) } else { Err(format!("holder {holder:?}")) }
        })
        .await;
    }

    /// Waits until nobody has written for a second.
    async fn rests(&self) {
        let mut last = (0, Instant::now());
        eventually("nobody writes", || {
            let writes = self.record.lock().unwrap().len();
            if writes != last.0 {
                last = (writes, Instant::now());
            }
            let quiet = last.1.elapsed() >= Duration::from_secs(1);
            std::future::ready(if quiet { Ok(()) } else { Err(format!("{writes} writes")) })
        })
        .await;
    }

    /// Who wrote, each run of writes told once.
    pub(super) fn writers(&self) -> Vec<&'static str> {
        let mut writers: Vec<_> = self.record.lock().unwrap().iter().map(|(who, _)| *who).collect();
        writers.dedup();
        writers
    }
}

pub(super) async fn failed(replica: &mut Replica) {
    let status = replica.process.ended().await;
    assert!(!status.success(), "who loses the lease must say so: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_followed_by_the_one_that_stood_by() {
    let pair = Pair::new().await;
    let mut first = pair.start("a", SECONDS).await;
    pair.leads("a").await;
    let second = pair.start("b", SECONDS).await;
    pair.world.create(json!({"partitions": 1})).await;
    pair.world.ready().await;
    get(second.probes, "/readyz").unwrap();
    let stood_by = get(second.probes, "/metrics").unwrap();

    first.process.kill();
    pair.world.change(json!({"partitions": 2})).await;
    pair.leads("b").await;

    pair.world.partitions(2).await;
    assert_eq!(pair.world.ready().await.partitions, Some(2));
    assert_eq!(pair.writers(), ["a", "b"]);
    assert!(stood_by.contains(r#"leader_election_master_status{name="orderpipeline-operator"} 0"#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_frozen_begins_no_write_afterwards() {
    const TOPICS: usize = 30;
    let pair = Pair::new().await;
    let mut first = pair.start("a", SECONDS).await;
    pair.leads("a").await;
    let _second = pair.start("b", SECONDS).await;
    let name = |number: usize| format!("orders-{number}");
    let create = |number: usize| {
        let world = &pair.world;
        let topic = format!("{}.{number}", world.topic);
        async move { world.create_named(&name(number), json!({"partitions": 1, "topicName": topic})).await }
    };
    futures::future::join_all((0..TOPICS).map(create)).await;
    for number in 0..TOPICS {
        pair.world.reason(&name(number), "Synced").await;
    }

    // Between its requests: one that waits for its connection at this moment could leave later.
    pair.rests().await;
    first.process.signal("STOP");
    // Something to do for whoever believes that it leads: it hears of them when it goes on.
    futures::future::join_all((TOPICS..2 * TOPICS).map(create)).await;
    pair.leads("b").await;
    for number in TOPICS..2 * TOPICS {
        pair.world.reason(&name(number), "Synced").await;
    }
    first.process.signal("CONT");
    failed(&mut first).await;

    assert_eq!(pair.writers(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_has_ended_before_another_begins() {
    let pair = Pair::new().await;
    let mut first = pair.start("a", SECONDS).await;
    pair.leads("a").await;
    let _second = pair.start("b", SECONDS).await;
    pair.world.create(json!({"partitions": 1})).await;
    pair.world.ready().await;

    first.link.cut();
    pair.world.change(json!({"partitions": 2})).await;
    failed(&mut first).await;

    // Nobody has written: the change waits for the one that may.
    assert_eq!(pair.writers(), ["a"]);
    pair.leads("b").await;
    pair.world.partitions(2).await;
    assert_eq!(pair.world.ready().await.partitions, Some(2));
    assert_eq!(pair.writers(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_ends_hands_over_at_once() {
    // Nobody could wait for such a Lease to run out.
    const AN_HOUR: u64 = 3600;
    let pair = Pair::new().await;
    let mut first = pair.start("a", AN_HOUR).await;
    pair.leads("a").await;
    let mut second = pair.start("b", SECONDS).await;

    assert!(first.process.end().await.success());

    pair.leads("b").await;
    pair.world.create(json!({"partitions": 1})).await;
    pair.world.ready().await;
    assert!(second.process.end().await.success());
    assert_eq!(pair.writers(), ["b"]);
}
