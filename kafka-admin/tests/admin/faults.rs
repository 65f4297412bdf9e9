//! A cluster that goes away and comes back.

use std::time::{Duration, Instant};

use devcluster::kafka::{Kafka, KafkaOptions};
use devcluster::tempdir::TempDir;
use futures::future::join_all;
use kafka_admin::{Admin, ConnectOptions, Error, KafkaAdmin, Mode, NewTopic, Retry};

use super::{create, described, eventually, only, topic};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// What a call may take beyond its timeout on a loaded machine.
const SLACK: Duration = Duration::from_secs(4);

fn short(address: String) -> KafkaAdmin {
    let request_timeout = REQUEST_TIMEOUT;
    KafkaAdmin::connect(&ConnectOptions { request_timeout, ..ConnectOptions::plaintext(address) }).unwrap()
}

async fn is_unavailable(admin: &KafkaAdmin) {
    let started = Instant::now();
    let answers = [
        only(admin.create_topics(&[NewTopic::named(topic("lost"))], Mode::Apply).await).unwrap_err(),
        admin.cluster_id().await.unwrap_err(),
    ];
    for error in answers {
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_eq!(error.retry(), Retry::Transient);
    }
    assert!(started.elapsed() < 2 * (REQUEST_TIMEOUT + SLACK), "after {:?}", started.elapsed());
}

async fn drop_while_asking(admin: KafkaAdmin) {
    let moment = Duration::from_millis(200);
    assert!(tokio::time::timeout(moment, admin.cluster_id()).await.is_err(), "nobody can have answered");
}

#[tokio::test]
async fn a_dead_or_frozen_broker_is_unavailable_within_the_bound_and_heals() {
    let dir = TempDir::new().unwrap();
    let options = KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap();
    let mut kafka = tokio::task::spawn_blocking(move || Kafka::start(options)).await.unwrap().unwrap();
    let admin = short(kafka.bootstrap());
    let name = topic("kept");
    create(&admin, NewTopic::named(name.clone()).partitions(1)).await;

    kafka.pause();
    is_unavailable(&admin).await;
    // Their answers come when the clients are being closed, or have been.
    join_all((0..20).map(|_| drop_while_asking(short(kafka.bootstrap())))).await;
    kafka.resume();
    eventually("it heals after a freeze", || admin.cluster_id(), Result::is_ok).await.unwrap();

    kafka.kill();
    is_unavailable(&admin).await;
    let _kafka = tokio::task::spawn_blocking(move || kafka.restart().map(|()| kafka)).await.unwrap().unwrap();
    eventually("it heals after a crash", || admin.cluster_id(), Result::is_ok).await.unwrap();
    assert_eq!(described(&admin, &name).await.name, name);
}

#[tokio::test]
async fn nobody_there_is_unavailable_with_the_reason() {
    // Port 1 of the loopback address refuses connections.
    let started = Instant::now();

    let error = short("127.0.0.1:1".to_owned()).cluster_id().await.unwrap_err();

    assert!(
        matches!(&error, Error::Unavailable { message, .. } if message.contains("127.0.0.1:1")),
        "{error:?}"
    );
    assert!(started.elapsed() < REQUEST_TIMEOUT + SLACK, "after {:?}", started.elapsed());
}
