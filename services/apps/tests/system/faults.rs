//! What clients see while the database or the broker is away, and that nothing is lost.

use contract::Service;
use devcluster::kafka::{Kafka, KafkaOptions};
use devcluster::postgres::{Postgres, PostgresOptions};
use devcluster::testing;

use crate::support::{Realm, System, eventually, short_order};

async fn status(system: &System, path: &str) -> u16 {
    system.client.get(format!("{}{path}", system.admin)).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_the_service_says_so_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut postgres =
        Postgres::start(PostgresOptions::for_tests(dir.path().join("postgres")).unwrap()).unwrap();
    let database_url = postgres.server().create_database("orders").unwrap();
    let realm = Realm::over(testing::kafka().bootstrap(), database_url).await;
    let system = System::order(&realm).await;
    let before = system.post(&short_order("ada", "burger", 1)).await;

    postgres.kill();
    let refused = system.post(&short_order("ada", "burger", 1)).await;
    let (ready, live) = (status(&system, "/readyz").await, status(&system, "/livez").await);
    postgres.restart().unwrap();
    let after = eventually("orders are taken again", async || {
        let answer = system.post(&short_order("ada", "burger", 1)).await;
        (answer.status == 202).then_some(answer)
    })
    .await;

    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{}", refused.body);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!((ready, live), (503, 200), "a restart of the process would not bring the database back");
    for accepted in [before, after] {
        assert_eq!(system.get(accepted.header("location")).await.status, 200);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_orders_are_taken_and_published_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap()).unwrap();
    let realm = Realm::over(&kafka.bootstrap(), testing::postgres().create_database("orders")).await;
    let system = System::order(&realm).await;

    kafka.kill();
    let accepted = system.post(&short_order("ada", "burger", 1)).await;
    kafka.restart().unwrap();

    assert_eq!(accepted.status, 202);
    let spy = realm.spy(Service::Notification).await;
    let types = spy.types_of(&accepted.order_id(), 1).await;
    assert_eq!(types["OrderCreated"], 1);
    system.stop().await;
}
