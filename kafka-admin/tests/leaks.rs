//! Nothing of what the native library gives is kept. A process of its own, because it looks at the whole process.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends there, with the cause")]

use std::fs;
use std::time::{Duration, Instant};

use devcluster::testing::{self, unique};
use kafka_admin::{
    AclBinding, AclFilter, AclOperation, Admin, ConfigAlteration, ConnectOptions, KafkaAdmin, Mode, NewTopic,
    PartitionGrowth, Principal, ResourceKind, ScramUpsertion, TopicName, TopicPartition,
};

/// What allocators and thread pools may take on the way without it being a leak.
const NOISE_KB: u64 = 8 * 1024;

/// Calls of a kind at a time: one mostly waits for the broker.
const AT_ONCE: usize = 4;

fn real() -> KafkaAdmin {
    KafkaAdmin::connect(&ConnectOptions::plaintext(testing::kafka().bootstrap())).unwrap()
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Calls of every kind, with answers and with errors. Nothing is changed for good but what exists already.
async fn one_of_everything(admin: &KafkaAdmin, names: &[TopicName]) {
    let missing = [TopicName::new(unique("missing")).unwrap()];
    let user = Principal::user("leaky");
    let binding = AclBinding::allow(user.clone(), AclOperation::Read, ResourceKind::Topic, "leaky");
    let new = NewTopic::named(missing[0].clone()).config("retention.ms", "1");
    let partitions: Vec<_> =
        names.iter().map(|name| TopicPartition { topic: name.clone(), partition: 0 }).collect();
    let bad = ConfigAlteration::of(names[0].clone()).set("no.such.key", "1");

    drop(admin.cluster_id().await.unwrap());
    drop(admin.describe_topics(names).await);
    drop(admin.describe_topics(&missing).await);
    drop(admin.describe_configs(names).await);
    drop(admin.create_topics(&[new.clone(), new.config("no.such.key", "1")], Mode::ValidateOnly).await);
    drop(admin.alter_configs(&[bad], Mode::ValidateOnly).await);
    let growth = PartitionGrowth { topic: names[0].clone(), total: 9 };
    drop(admin.create_partitions(&[growth], Mode::ValidateOnly).await);
    drop(admin.delete_topics(&missing).await);
    drop(admin.create_acls(&[binding]).await);
    drop(admin.describe_acls(&[AclFilter::of(user.clone())]).await);
    drop(admin.delete_acls(&[AclFilter::of(user)]).await);
    drop(admin.upsert_scram(&[ScramUpsertion::sha512("leaky", "p".into())]).await);
    drop(admin.describe_scram(&["leaky".to_owned(), unique("nobody")]).await);
    drop(admin.list_groups().await);
    drop(admin.describe_groups(&[unique("nobody")]).await);
    drop(admin.group_offsets(&[unique("nobody")]).await);
    drop(admin.end_offsets(&partitions).await);
}

/// [`AT_ONCE`] of each.
async fn several_of_everything(admin: &KafkaAdmin, names: &[TopicName]) {
    futures::future::join_all((0..AT_ONCE).map(|_| one_of_everything(admin, names))).await;
}

#[tokio::test]
async fn calls_and_clients_leave_nothing_behind() {
    let admin = real();
    let names: Vec<TopicName> = (0..20).map(|_| TopicName::new(unique("leak")).unwrap()).collect();
    let new: Vec<NewTopic> = names.iter().cloned().map(NewTopic::named).collect();
    drop(admin.create_topics(&new, Mode::Apply).await);

    for _ in 0..100 / AT_ONCE {
        several_of_everything(&admin, &names).await;
    }
    let before = status("VmRSS:");
    for _ in 0..400 / AT_ONCE {
        several_of_everything(&admin, &names).await;
    }
    let after = status("VmRSS:");
    println!("6,800 calls: {before} kB, then {after} kB");
    assert!(after < before + NOISE_KB, "{before} kB became {after} kB");

    clients_leave_nothing_behind(&names).await;
}

async fn clients_leave_nothing_behind(names: &[TopicName]) {
    let threads = status("Threads:");
    let use_one = async || {
        let admin = real();
        one_of_everything(&admin, names).await;
        drop(admin);
        // Its threads end a little later, by themselves.
        let started = Instant::now();
        while status("Threads:") > threads {
            assert!(started.elapsed() < Duration::from_secs(60), "{} threads", status("Threads:"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    for _ in 0..5 {
        use_one().await;
    }
    let before = status("VmRSS:");
    for _ in 0..20 {
        use_one().await;
    }
    let after = status("VmRSS:");
    println!("20 clients: {before} kB, then {after} kB");
    assert!(after < before + NOISE_KB, "{before} kB became {after} kB");
}
