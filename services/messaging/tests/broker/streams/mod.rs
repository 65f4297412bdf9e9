//! Exactly once from Kafka to Kafka, through crashes, rebalances, fencing and a broker that goes away.

mod harness;

use std::sync::{Arc, Once};
use std::time::Duration;

use devcluster::kafka::{Kafka, KafkaOptions};
use messaging::ConsumerState;
use messaging::streams::{StreamsError, StreamsOptions};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use self::harness::{Brook, CHANGELOG, Counting, DEAD_LETTERS, options};
use crate::harness::{DEADLINE, eventually, within};

#[tokio::test(flavor = "multi_thread")]
async fn crashes_and_rebalances_count_every_event_once() {
    let brook = Brook::open("stream-crashes").await;
    let mut stays = brook.start("stays");

    for round in 1..=4 {
        let crashes = brook.start("crashes");
        brook.publish(30, 25).await;
        brook.assert_whole().await;
        // Alternately: one of two with work under way crashes, and one that has all of it.
        if round % 2 == 0 {
            crashes.ready().await;
            stays.crash().await;
            stays = brook.start("stays");
        }
        brook.publish(30, 25).await;
        crashes.crash().await;
        brook.assert_whole().await;
    }

    brook.wait_for_counts(30, 200).await;
    brook.assert_whole().await;
    stays.stop().await;
    assert_eq!(brook.metric("kafka_streams_dead_letters_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_commits_what_was_read_and_the_next_goes_on_with_the_state() {
    let brook = Brook::open("stream-stop").await;
    let first = brook.start("first");
    brook.publish(10, 10).await;
    eventually("some to be counted", async || !brook.counts().await.is_empty()).await;
    first.stop().await;

    brook.publish(10, 10).await;
    let next = brook.start("next");

    brook.wait_for_counts(10, 20).await;
    next.stop().await;
    assert_eq!(brook.metric("kafka_streams_transactions_total", &[("outcome", "aborted")]), 0.0);
    assert_eq!(brook.metric("kafka_streams_records_total", &[("fate", "processed")]), 200.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_of_the_same_name_ends_the_first() {
    let brook = Brook::open("stream-fenced").await;
    let first = brook.start("same");
    brook.publish(10, 10).await;
    brook.wait_for_counts(10, 10).await;

    let second = brook.start("same");
    second.ready().await;
    // It is fenced at its next transaction; keys for all partitions, so that it has one.
    brook.publish(10, 10).await;
    let error = first.ended().await.unwrap_err();

    assert!(matches!(error, StreamsError::Fenced { .. }), "{error:?}");
    assert!(error.to_string().contains("order-analytics-same was fenced"), "{error}");
    brook.wait_for_counts(10, 20).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_dead_lettered_once_and_passed() {
    let brook = Brook::open("stream-poison").await;
    brook.publish(5, 2).await;
    brook.send_raw(harness::INPUT, 1, b"not json");
    brook.publish(5, 2).await;

    let flow = brook.start("only");
    brook.wait_for_counts(5, 4).await;
    eventually("the letter", async || brook.committed(DEAD_LETTERS).await.len() == 1).await;
    flow.stop().await;

    let letter = brook.committed(DEAD_LETTERS).await.remove(0);
    assert_eq!((letter.key(), letter.payload()), (Some(&b"raw"[..]), Some(&b"not json"[..])));
    let headers = letter.headers().unwrap();
    let partition = headers.iter().find(|header| header.key == "kafka_dlt-original-partition").unwrap();
    assert_eq!(partition.value, Some(&1_i32.to_be_bytes()[..]));
    assert_eq!(brook.metric("kafka_streams_dead_letters_total", &[("reason", "malformed")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_not_restored_before_every_transaction_in_it_is_decided() {
    let brook = Brook::open("stream-undecided").await;
    let first = brook.start("first");
    brook.publish(10, 10).await;
    brook.wait_for_counts(10, 10).await;
    first.stop().await;
    // A transaction that somebody who died left open in the changelog.
    let (client, changelog) =
        (brook.client().set("transactional.id", "dead").clone(), brook.topic(CHANGELOG));
    let dead: ThreadedProducer<_> = tokio::task::spawn_blocking(move || {
        let producer: ThreadedProducer<_> = client.create().unwrap();
        producer.init_transactions(DEADLINE).unwrap();
        producer.begin_transaction().unwrap();
        let record = BaseRecord::to(&changelog).key("key-0").payload(&[0xff; 8]).partition(0);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
        producer
    })
    .await
    .unwrap();

    let next = brook.start("next");
    brook.publish(10, 10).await;
    eventually("it to be restoring", async || matches!(next.state(), ConsumerState::Waiting { .. })).await;
    assert_eq!(brook.counts().await.values().max(), Some(&10), "it does not count without its state");
    tokio::task::spawn_blocking(move || dead.abort_transaction(DEADLINE).unwrap()).await.unwrap();

    brook.wait_for_counts(10, 20).await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_costs_no_event_and_repeats_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap()).unwrap();
    let brook = Brook::open_at("stream-restart", kafka.bootstrap()).await;
    let flow = brook.start("only");
    brook.publish(20, 50).await;
    eventually("some to be counted", async || !brook.counts().await.is_empty()).await;

    kafka.kill();
    kafka.restart().unwrap();
    brook.publish(20, 50).await;

    brook.wait_for_counts(20, 100).await;
    brook.assert_whole().await;
    flow.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_return_ends_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let broker = KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap();
    let kafka = Arc::new(Kafka::start(broker).unwrap());
    let brook = Brook::open_at("stream-hung", kafka.bootstrap()).await;
    // The first has the broker create what it needs for groups and transactions, which takes long.
    let first = brook.start("only");
    brook.publish(20, 50).await;
    brook.wait_for_counts(20, 50).await;
    first.stop().await;

    // The broker stops while an event is applied: its transaction is open and can be neither filled nor ended.
    let (stopped, once) = (kafka.clone(), Once::new());
    let stopping = Counting::that(move || once.call_once(|| stopped.pause()));
    // Shorter than the time-outs of the calls, as if those were overlooked.
    let impatient = StreamsOptions { hung_after: Duration::from_secs(3), ..options() };
    let flow = brook.start_with("only", stopping, impatient);
    flow.ready().await;
    let hanging = async {
        let error = flow.ended().await.unwrap_err();
        kafka.resume();
        error
    };
    // It is not told of each that it was written until the broker goes on.
    let ((), error) = tokio::join!(brook.publish(20, 50), hanging);

    assert!(matches!(error, StreamsError::Hung { .. }), "{error:?}");
    let next = brook.start("only");
    brook.wait_for_counts(20, 100).await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_told_of_silence() {
    let brook = Brook::open("stream-idle").await;
    let counting = Counting::default();
    let flow = brook.start_with("only", counting.clone(), options());

    eventually("every partition to have been told twice", async || counting.rests() >= 6).await;

    within("the stop", flow.stop()).await;
}
