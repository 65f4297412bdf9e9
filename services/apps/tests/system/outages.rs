//! Outages that last longer than a step may: they cost time, and no order.

use std::time::Duration;

use contract::{InventoryReserved, NotificationKind, NotificationSent, Service};
use devcluster::kafka::{Kafka, KafkaOptions};
use devcluster::testing;
use jiff::Timestamp;
use sqlx::PgPool;

use crate::order_saga::{reserved, tell};
use crate::support::{Realm, System, eventually, short_order};

/// Waits until `question`, which is asked of the database at `url`, is answered with yes.
async fn until(url: &str, what: &str, question: &'static str) {
    let pool = PgPool::connect(url).await.unwrap();
    eventually(what, async || {
        let now = Timestamp::now().as_microsecond();
        let answer: Option<bool> =
            sqlx::query_scalar(question).bind(now).fetch_optional(&pool).await.unwrap();
        answer.filter(|yes| *yes).map(drop)
    })
    .await;
}

async fn until_an_order_is_late(url: &str) {
    let question = "SELECT bool_or(deadline_us < $1) FROM sagas WHERE status = 'PENDING'";
    until(url, "an order is late", question).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_came_while_the_order_service_was_away_are_heard_before_deadlines_count() {
    let realm = Realm::create().await;
    let mut config = realm.config("order");
    config.order.saga_step_timeout = Duration::from_secs(2);
    let system = System::start(config.clone(), &[Service::Order]).await;
    let others = realm.messaging(Service::Inventory).await;
    let order_id = system.post(&short_order("ada", "burger", 1)).await.order_id();
    system.stop().await;

    let answer: InventoryReserved = reserved(&order_id);
    tell(&others, answer).await;
    until_an_order_is_late(&realm.database_url).await;
    let system = System::start(config, &[Service::Order]).await;
    let order_id_told = order_id.parse().unwrap();
    let kind = NotificationKind::Confirmed;
    eventually("the order is confirmed or has ended", async || {
        let order = system.get(&format!("/api/v1/orders/{order_id}")).await.body;
        (order["status"] != "PENDING").then_some(())
    })
    .await;
    tell(&others, NotificationSent { order_id: order_id_told, kind, channels: Vec::new() }).await;

    let order = system.ended(&order_id).await;
    assert_eq!(order["status"], "COMPLETED", "{order}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_taken_in_an_outage_of_the_broker_that_outlasts_their_deadline_complete_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap()).unwrap();
    let realm = Realm::over(&kafka.bootstrap(), testing::postgres().create_database("orders")).await;
    let mut config = realm.config("all");
    // Longer than it takes to notice an outage.
    config.order.saga_step_timeout = Duration::from_secs(12);
    let database = format!("{}_order", realm.database_url);
    let system = System::start(config, &[Service::Order, Service::Inventory, Service::Notification]).await;
    // What holds deadlines afterwards is the outage, not the start.
    until(&database, "deadlines count", "SELECT until_us < $1 FROM deadline_hold WHERE until_us > 0").await;

    kafka.kill();
    let order_id = system.post(&short_order("ada", "burger", 1)).await.order_id();
    until_an_order_is_late(&database).await;
    kafka.restart().unwrap();

    let order = system.ended(&order_id).await;
    assert_eq!(order["status"], "COMPLETED", "{order}");
    system.stop().await;
}
