use std::sync::Arc;

use contract::Topic;

use super::*;

fn partition(partition: i32) -> Source {
    Source { topic: Topic::OrdersCreated, name: "orders.created".into(), partition }
}

fn record(partition_id: i32, offset: i64) -> Incoming {
    Incoming {
        source: partition(partition_id),
        offset,
        timestamp: None,
        key: None,
        value: Some(vec![0; 10]),
        headers: Vec::new(),
    }
}

fn push(inbound: &Inbound, records: impl IntoIterator<Item = Incoming>) {
    records.into_iter().for_each(|record| inbound.push(record));
    inbound.announce();
}

fn inbound() -> Inbound {
    let inbound = Inbound::new(2);
    inbound.assigned(&[partition(0), partition(1)]);
    inbound
}

#[tokio::test]
async fn batches_come_in_order_and_bounded() {
    let inbound = inbound();
    push(&inbound, [record(0, 5), record(0, 6), record(1, 9)]);

    let first = inbound.take(2).await;
    let second = inbound.take(2).await;

    assert_eq!(first, [record(0, 5), record(0, 6)]);
    assert_eq!(second, [record(1, 9)]);
}

#[tokio::test]
async fn only_what_is_done_is_committed_and_only_once() {
    let inbound = inbound();
    push(&inbound, [record(0, 5)]);
    inbound.take(2).await;
    assert_eq!(inbound.ask_for_commits(), []);

    inbound.finish(&[(partition(0), 6)]);

    assert_eq!(inbound.ask_for_commits(), [(partition(0), 6)]);
    assert_eq!(inbound.ask_for_commits(), []);
}

#[test]
fn a_failed_commit_is_asked_for_again() {
    let inbound = inbound();
    inbound.finish(&[(partition(0), 6)]);
    inbound.ask_for_commits();

    inbound.commit_failed(&[partition(0)]);

    assert_eq!(inbound.ask_for_commits(), [(partition(0), 6)]);
}

#[tokio::test]
async fn a_revoked_partition_is_forgotten_and_the_others_stay() {
    let inbound = inbound();
    inbound.finish(&[(partition(0), 6), (partition(1), 3)]);
    push(&inbound, [record(0, 6), record(1, 3)]);

    let last = inbound.revoke(&[partition(0)], Duration::ZERO);
    inbound.finish(&[(partition(0), 7)]);

    assert_eq!(last, [(partition(0), 6)]);
    assert_eq!(inbound.take(10).await, [record(1, 3)]);
    assert!(inbound.ask_for_commits().iter().all(|(source, _)| *source == partition(1)));
}

#[tokio::test]
async fn revoking_waits_for_the_batch_in_hand() {
    let inbound = Arc::new(inbound());
    push(&inbound, [record(0, 5)]);
    inbound.take(1).await;

    let revoking = std::thread::spawn({
        let inbound = inbound.clone();
        move || inbound.revoke(&[partition(0)], Duration::from_secs(60))
    });
    inbound.finish(&[(partition(0), 6)]);

    assert_eq!(revoking.join().unwrap(), [(partition(0), 6)]);
}

#[tokio::test]
async fn revoking_does_not_wait_for_a_stalled_handler() {
    let inbound = inbound();
    push(&inbound, [record(0, 5)]);
    inbound.take(1).await;
    inbound.set_stalled(true);

    let last = inbound.revoke(&[partition(0)], Duration::from_secs(3600));

    assert_eq!(last, []);
}

#[tokio::test]
async fn a_full_queue_has_room_again_once_a_batch_was_taken() {
    let inbound = inbound();
    push(&inbound, (0..4).map(|offset| record(0, offset)));
    assert!(!inbound.room_within(Duration::ZERO));

    inbound.take(2).await;

    assert!(inbound.room_within(Duration::ZERO));
}

#[test]
fn a_few_large_records_fill_the_queue_too() {
    let inbound = inbound();

    push(&inbound, [Incoming { value: Some(vec![0; BYTES_MAX]), ..record(0, 0) }]);

    assert!(!inbound.room_within(Duration::ZERO));
}
