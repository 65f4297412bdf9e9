//! An address that leads to another Kafka, where another Kubernetes cluster has a pipeline of the same name.

use devcluster::kafka::{Kafka, KafkaOptions};
use devcluster::tempdir::TempDir;
use k8s_openapi::api::events::v1::Event;
use kafka_admin::{
    AclBinding, AclFilter, AclOperation, Admin, ConnectOptions, KafkaAdmin, Principal, ResourceKind,
    ScramUpsertion,
};
use kube::api::{DeleteParams, ListParams};
use operator::crd::OrderPipeline;
use serde_json::json;

use crate::access::{login_at, logs_in, ready, released, user, world};
use crate::world::eventually;

/// A Kafka of its own.
async fn another() -> (Kafka, TempDir) {
    let start = || {
        let dir = TempDir::new().unwrap();
        (Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap()).unwrap(), dir)
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_same_name_in_another_cluster_are_left_alone() {
    let (world, (other, _dir)) = tokio::join!(world(), another());
    ready(&world).await;
    let here = world.status().await.access.unwrap();
    let theirs = user(&world, "order");
    let admin = KafkaAdmin::connect(&ConnectOptions::plaintext(other.bootstrap())).unwrap();
    admin.upsert_scram(&[ScramUpsertion::sha512(theirs.clone(), "theirs".into())]).await.remove(0).unwrap();
    let right = AclBinding::allow(Principal::user(&theirs), AclOperation::Read, ResourceKind::Topic, "x");
    admin.create_acls(std::slice::from_ref(&right)).await.remove(0).unwrap();
    let as_they_were = async || {
        logs_in(&login_at(other.sasl_bootstrap(), theirs.clone(), "theirs")).await;
        let rights = admin.describe_acls(&[AclFilter::of(Principal::user(&theirs))]).await.remove(0).unwrap();
        assert_eq!(rights, std::slice::from_ref(&right));
    };
    as_they_were().await;

    let credentials = [("username", other.admin_user()), ("password", other.admin_password())];
    world.put_secret("other-credentials", &credentials).await;
    let security = json!({"credentials": {"secretName": "other-credentials"}});
    let bootstrap = json!({"servers": other.sasl_bootstrap(), "security": security});
    world.change(json!({"kafka": {"bootstrap": bootstrap}})).await;
    let told = world.access("UserTaken").await;

    assert!(told.contains(&theirs), "{told}");
    assert_eq!(world.status().await.access, Some(here), "those in the first cluster are ours still");
    as_they_were().await;
    world.api::<OrderPipeline>().delete("shop", &DeleteParams::default()).await.unwrap();
    released(&world).await;
    as_they_were().await;
    let skipped = eventually("what stayed is told", || async {
        let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
        let skipped = events.iter().find(|event| event.reason.as_deref() == Some("CleanupSkipped"));
        skipped.and_then(|event| event.note.clone()).ok_or("no event".to_owned())
    })
    .await;
    assert!(skipped.contains(&theirs) && skipped.contains("another Kafka cluster"), "{skipped}");
    world.end().await;
}
