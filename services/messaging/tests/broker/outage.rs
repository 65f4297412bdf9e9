use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devcluster::kafka::{Kafka, KafkaOptions};
use devcluster::postgres::{Postgres, PostgresOptions};
use devcluster::testing;
use messaging::{ConsumerOptions, ConsumerState, HandleError};

use crate::handlers::Recorder;
use crate::harness::{
    DEAD_LETTERS, INPUT, OUTPUT, Running, Shop, assert_in_order, events, eventually, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_consumer_waits_and_spends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut postgres =
        Postgres::start(PostgresOptions::for_tests(dir.path().join("postgres")).unwrap()).unwrap();
    let url = postgres.server().create_database("outage").unwrap();
    let shop = Shop::open_at("db-outage", testing::kafka().bootstrap().to_owned(), url).await;
    let all = events(10, 20);
    let (before, during) = all.split_at(100);
    shop.publish(before).await;
    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(100).await;

    postgres.kill();
    shop.publish(during).await;
    let mut state = running.messaging.consumer_state();
    within("the consumer to wait", state.wait_for(|state| matches!(state, ConsumerState::Waiting { .. })))
        .await
        .unwrap();
    assert_eq!(shop.metric("kafka_consumer_paused", &[]), 1.0);
    postgres.restart().unwrap();

    shop.wait_for_effects(200).await;
    within("the consumer to go on", state.wait_for(|state| *state == ConsumerState::Running)).await.unwrap();
    running.stop().await;
    assert_in_order(&shop.effects().await);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
    assert_eq!(shop.metric("kafka_consumer_paused", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_waits_for_its_database_stops_at_once_and_loses_nothing() {
    let shop = Shop::open("stop-waiting").await;
    shop.publish(&events(10, 10)).await;
    let handler = Recorder::failing(|_| Err(HandleError::unavailable("no warehouse")));
    let running = shop.consume(handler.clone());
    let mut state = running.messaging.consumer_state();
    within("the consumer to wait", state.wait_for(|state| matches!(state, ConsumerState::Waiting { .. })))
        .await
        .unwrap();
    eventually("it to try more often than a single event may", async || handler.calls() > 5).await;

    running.stop().await;
    assert_eq!(shop.committed().await, 0);
    let running = shop.consume(Recorder::new());

    shop.wait_for_effects(100).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_neither_fills_the_memory_nor_loses_the_place_in_the_group() {
    let shop = Shop::open("backlog").await;
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let handler = Recorder::failing(move |_| match gate.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(HandleError::unavailable("closed")),
    });
    let running = shop.consume(handler.clone());

    // More than the queue between fetching and handling takes.
    shop.publish(&events(50, 60)).await;
    // Long enough for the fetch thread to have given up waiting for room, and paused.
    eventually("it to have waited long", async || handler.calls() > 20).await;
    assert_eq!(shop.committed().await, 0);
    open.store(true, Ordering::SeqCst);

    shop.wait_for_effects(3000).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
    assert_eq!(shop.committed().await, 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_the_outbox_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap()).unwrap();
    let url = testing::postgres().create_database("broker_outage");
    let shop = Shop::open_at("broker-outage", kafka.bootstrap(), url).await;
    shop.publish(&events(10, 10)).await;
    let running = shop.consume(Recorder::emitting());
    shop.wait_for_effects(100).await;
    assert_eq!(shop.records(OUTPUT, 100).await.len(), 100);

    kafka.kill();
    let mut tx = shop.pool.begin().await.unwrap();
    let later: Vec<_> = events(10, 20).split_off(100);
    running.messaging.outbox().append(&mut tx, &later).await.unwrap();
    tx.commit().await.unwrap();
    running.messaging.outbox().notify();
    eventually("the backlog to be seen", async || shop.metric("outbox_pending_messages", &[]) >= 100.0).await;
    kafka.restart().unwrap();

    shop.wait_for_effects(200).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
    assert!(shop.records(INPUT, 200).await.len() >= 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_waits_for_the_broker_holds_nothing_in_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap()).unwrap();
    let url = testing::postgres().create_database("letter_outage");
    let shop = Shop::open_at("letter-outage", kafka.bootstrap(), url).await;
    shop.publish(&events(1, 2)).await;
    let given_up = Arc::new(AtomicBool::new(false));
    let is_given_up = given_up.clone();
    let handler = Recorder::failing(move |_| match is_given_up.load(Ordering::SeqCst) {
        true => Err(HandleError::permanent("never")),
        false => Err(HandleError::transient("not yet")),
    });
    let options = ConsumerOptions { transient_attempts: u32::MAX, ..Shop::options() };
    let running = Running::start(shop.messaging().with_options(options), handler);
    eventually("both to be parked", async || shop.parked().await == 2).await;

    kafka.kill();
    given_up.store(true, Ordering::SeqCst);
    eventually("the first to be left alone", async || {
        let postponed =
            "SELECT EXISTS (SELECT FROM parked_events WHERE due_at > now() + interval '30 seconds')";
        sqlx::query_scalar(postponed).fetch_one(&shop.pool).await.unwrap()
    })
    .await;
    let free = sqlx::query("SELECT FROM parked_events FOR UPDATE NOWAIT").fetch_all(&shop.pool).await;
    assert_eq!(free.unwrap().len(), 2);
    kafka.restart().unwrap();

    eventually("nothing to be parked", async || shop.parked().await == 0).await;
    assert_eq!(shop.records(DEAD_LETTERS, 2).await.len(), 2);
    running.stop().await;
}
