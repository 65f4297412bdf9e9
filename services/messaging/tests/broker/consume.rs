use std::collections::{HashMap, HashSet};

use contract::headers;
use messaging::ConsumerState;
use rdkafka::message::{Headers, Message, OwnedMessage};

use crate::handlers::{Ledger, Recorder};
use crate::harness::{OUTPUT, Shop, assert_in_order, event, events, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_arrives_often_has_its_effect_once() {
    let shop = Shop::open("duplicates").await;
    let once = events(20, 5);
    // Beside each other, so that copies meet in one batch, and again at the end.
    let thrice: Vec<_> =
        once.iter().flat_map(|event| [event.clone(), event.clone()]).chain(once.iter().cloned()).collect();

    shop.publish(&thrice).await;
    let running = shop.consume(Recorder::new());

    shop.wait_for_effects(100).await;
    eventually("all copies to be recognised", async || {
        shop.metric("kafka_messages_handled_total", &[("outcome", "duplicate")]) >= 200.0
    })
    .await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
    assert_eq!(shop.metric("kafka_messages_handled_total", &[("outcome", "handled")]), 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_knows_what_it_did_needs_no_inbox() {
    let shop = Shop::open("own-rows").await;
    let once = events(20, 5);
    let thrice: Vec<_> =
        once.iter().flat_map(|event| [event.clone(), event.clone()]).chain(once.iter().cloned()).collect();
    shop.publish(&thrice).await;
    let running = shop.consume(Ledger(Recorder::emitting()));
    shop.wait_for_effects(100).await;
    running.crash().await;
    shop.rewind().await;

    // Everything comes again, and the new event last in its partition.
    shop.publish(&[event("key-0", 5)]).await;
    let running = shop.consume(Ledger(Recorder::emitting()));

    shop.wait_for_effects(101).await;
    eventually("everything to have come again", async || shop.committed().await == 301).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
    let emitted = shop.records(OUTPUT, 101).await;
    // The relay that crashed may have sent some of them twice.
    let different: HashSet<&[u8]> = emitted.iter().filter_map(|record| record.payload()).collect();
    assert_eq!(different.len(), 101);
    let inbox: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox").fetch_one(&shop.pool).await.unwrap();
    assert_eq!(inbox, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_transaction_and_offset_commit_changes_nothing() {
    let shop = Shop::open("redelivery").await;
    shop.publish(&events(10, 5)).await;
    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(50).await;

    // What such a crash leaves behind: every effect in the database, and no offset in the group.
    running.crash().await;
    shop.rewind().await;
    shop.publish(&[event("after", 0)]).await;
    let running = shop.consume(Recorder::new());

    shop.wait_for_effects(51).await;
    eventually("every event to come again", async || {
        shop.metric("kafka_messages_handled_total", &[("outcome", "duplicate")]) >= 50.0
    })
    .await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_at_any_moment_loses_and_repeats_nothing() {
    let shop = Shop::open("killed").await;
    shop.publish(&events(20, 50)).await;

    for some in [1, 300, 700] {
        let running = shop.consume(Recorder::new());
        eventually("some effects", async || shop.effects().await.len() >= some).await;
        running.crash().await;
    }
    let running = shop.consume(Recorder::new());

    shop.wait_for_effects(1000).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_between_replicas_without_disorder() {
    let shop = Shop::open("rebalance").await;
    let all = events(20, 60);
    let (first, second) = all.split_at(600);
    let handler = Recorder::new();

    shop.publish(first).await;
    let one = shop.consume(handler.clone());
    eventually("some effects", async || shop.effects().await.len() >= 100).await;
    let two = shop.consume(handler.clone());
    let mut joined = two.messaging.consumer_state();
    joined.wait_for(|state| *state == ConsumerState::Running).await.unwrap();
    shop.publish(second).await;
    one.stop().await;

    shop.wait_for_effects(1200).await;
    two.stop().await;
    assert_in_order(&shop.effects().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_commits_what_was_done() {
    let shop = Shop::open("graceful").await;
    shop.publish(&events(10, 10)).await;
    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(100).await;

    running.stop().await;

    assert_eq!(shop.committed().await, 100);
    assert_eq!(shop.metric("kafka_messages_handled_total", &[("outcome", "duplicate")]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_while_nothing_new_arrives() {
    let shop = Shop::open("offsets").await;
    shop.publish(&events(10, 10)).await;

    let running = shop.consume(Recorder::new());

    eventually("offsets to be committed", async || shop.committed().await == 100).await;
    eventually("lag to be reported", async || {
        shop.metric("kafka_consumer_lag_messages", &[]) == 0.0
            && shop.registry.gather().iter().any(|family| family.name() == "kafka_consumer_lag_messages")
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_leads_to_is_published_with_its_story() {
    let shop = Shop::open("story").await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut cause = event("burger", 3);
    cause.metadata.insert(headers::TRACEPARENT.to_owned(), traceparent.to_owned());
    cause.metadata.insert("user".to_owned(), "ada".to_owned());

    shop.publish(std::slice::from_ref(&cause)).await;
    let running = shop.consume(Recorder::emitting());
    let records = shop.records(OUTPUT, 1).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    running.stop().await;

    let [record] = records.as_slice() else { panic!("{} records", records.len()) };
    let effect = contract::codec::decode_json(record.payload().unwrap()).unwrap();
    assert_eq!(effect.correlation_id, cause.correlation_id);
    assert_eq!(effect.causation_id, Some(cause.event_id));
    assert_eq!(effect.metadata, cause.metadata);
    assert_eq!(record.key().unwrap(), effect.event.key().as_bytes());
    let sent = headers_of(record);
    assert_eq!(sent[headers::TRACEPARENT], traceparent);
    assert_eq!(sent[headers::CE_ID], effect.event_id.to_string());
    assert_eq!(sent[headers::CE_CORRELATION_ID], "corr-burger");
    assert_eq!(sent[headers::CONTENT_TYPE], "application/json");
}

fn headers_of(record: &OwnedMessage) -> HashMap<String, String> {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    record.headers().unwrap().iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}
