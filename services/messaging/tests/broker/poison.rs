use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::{SignedDuration, Timestamp};
use messaging::HandleError;
use rdkafka::message::{Headers, Message, OwnedMessage};

use crate::handlers::Recorder;
use crate::harness::{DEAD_LETTERS, INPUT, SERVICE, Shop, assert_in_order, event, events, number_of};

fn header<'r>(record: &'r OwnedMessage, name: &str) -> &'r [u8] {
    let all = record.headers().unwrap();
    let header = all.iter().find(|header| header.key == name);
    header.and_then(|header| header.value).unwrap_or_else(|| panic!("no header {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_pill_goes_to_the_dead_letters_and_the_rest_flows_on() {
    let shop = Shop::open("poison").await;
    shop.publish(&events(5, 1)).await;
    // Not so long ago that the broker might remove it meanwhile.
    let sent_at = (Timestamp::now() - SignedDuration::from_hours(1)).as_millisecond();
    shop.send_raw(INPUT, "key-0", b"\xffnot an event", sent_at);
    shop.publish(&[event("key-0", 1)]).await;

    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(6).await;
    let letters = shop.records(DEAD_LETTERS, 1).await;
    running.stop().await;

    assert_in_order(&shop.effects().await);
    let [letter] = letters.as_slice() else { panic!("{} dead letters", letters.len()) };
    assert_eq!(letter.key(), Some(b"key-0".as_slice()));
    assert_eq!(letter.payload(), Some(b"\xffnot an event".as_slice()));
    assert_eq!(letter.timestamp().to_millis(), Some(sent_at));
    let sources = shop.records(INPUT, 7).await;
    let source = sources.iter().find(|record| record.payload() == letter.payload()).unwrap();
    assert_eq!(header(letter, "kafka_dlt-original-topic"), shop.topic(INPUT).as_bytes());
    assert_eq!(header(letter, "kafka_dlt-original-partition"), source.partition().to_be_bytes());
    assert_eq!(header(letter, "kafka_dlt-original-offset"), source.offset().to_be_bytes());
    assert_eq!(header(letter, "kafka_dlt-original-timestamp"), sent_at.to_be_bytes());
    assert_eq!(header(letter, "kafka_dlt-original-timestamp-type"), b"CreateTime");
    let group = SERVICE.consumer_group(&shop.kafka.topic_prefix);
    assert_eq!(header(letter, "kafka_dlt-original-consumer-group"), group.as_bytes());
    assert_eq!(header(letter, "kafka_dlt-exception-fqcn"), b"orderpipeline.messaging.Undecodable");
    assert_eq!(header(letter, "kafka_dlt-exception-message"), b"the value is no event");
    assert_eq!(shop.committed().await, 7);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[("reason", "malformed")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_failing_batch_only_the_guilty_event_is_given_up() {
    let shop = Shop::open("bisect").await;
    shop.publish(&events(8, 16)).await;
    let guilty = |delivery: &messaging::Delivery| delivery.key == "key-3" && number_of(delivery) == 15;
    let handler = Recorder::failing(move |delivery| match guilty(delivery) {
        true => Err(HandleError::permanent("no such product")),
        false => Ok(()),
    });

    let running = shop.consume(handler);
    shop.wait_for_effects(127).await;
    let letters = shop.records(DEAD_LETTERS, 1).await;
    running.stop().await;

    assert_in_order(&shop.effects().await);
    let [letter] = letters.as_slice() else { panic!("{} dead letters", letters.len()) };
    assert_eq!(letter.key(), Some(b"key-3".as_slice()));
    assert_eq!(header(letter, "kafka_dlt-exception-fqcn"), b"orderpipeline.messaging.Rejected");
    assert_eq!(header(letter, "kafka_dlt-exception-message"), b"no such product");
    assert_eq!(shop.committed().await, 128);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_error_is_tried_again_until_it_passes() {
    let shop = Shop::open("transient").await;
    shop.publish(&[event("key", 0), event("key", 1)]).await;
    let failures = Arc::new(AtomicU32::new(0));
    let handler = Recorder::failing(move |_| match failures.fetch_add(1, Ordering::SeqCst) {
        0..2 => Err(HandleError::transient("not yet")),
        _ => Ok(()),
    });

    let running = shop.consume(handler);
    shop.wait_for_effects(2).await;
    running.stop().await;

    assert_in_order(&shop.effects().await);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_error_that_stays_costs_one_event_after_its_last_attempt() {
    let shop = Shop::open("exhausted").await;
    shop.publish(&[event("bad", 0), event("good", 0)]).await;
    let handler = Recorder::failing(|delivery| match delivery.key.as_str() {
        "bad" => Err(HandleError::transient("still locked")),
        _ => Ok(()),
    });

    let running = shop.consume(handler);
    shop.wait_for_effects(1).await;
    let letters = shop.records(DEAD_LETTERS, 1).await;
    running.stop().await;

    assert_eq!(header(&letters[0], "kafka_dlt-exception-fqcn"), b"orderpipeline.messaging.RetriesExhausted");
    assert_eq!(shop.metric("kafka_dead_letters_total", &[("reason", "retries_exhausted")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_the_events_fault_and_the_consumer_lives_on() {
    let shop = Shop::open("panic").await;
    shop.publish(&[event("bad", 0), event("good", 0)]).await;
    let handler = Recorder::failing(|delivery| {
        assert_ne!(delivery.key, "bad", "as the test wants it");
        Ok(())
    });

    let running = shop.consume(handler);
    shop.wait_for_effects(1).await;
    let letters = shop.records(DEAD_LETTERS, 1).await;
    running.stop().await;

    let message = String::from_utf8_lossy(header(&letters[0], "kafka_dlt-exception-message"));
    assert!(message.contains("as the test wants it"), "{message}");
}
