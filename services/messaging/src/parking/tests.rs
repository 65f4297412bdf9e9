//! The queues against a real database, at the moments at which two meet.

use contract::{Envelope, InventoryUpdated};
use devcluster::testing;

use super::*;
use crate::record::Source;

const TOPIC: Topic = Topic::InventoryUpdated;

async fn parking() -> Parking {
    let url = tokio::task::block_in_place(|| testing::postgres().create_database("parking"));
    let pool = PgPool::connect(&url).await.unwrap();
    crate::migrate(&pool).await.unwrap();
    Parking::new(pool, "order", &[TOPIC])
}

fn arrival(key: &str, offset: i64) -> (Incoming, Delivery) {
    let event = InventoryUpdated {
        product_id: "burger".parse().unwrap(),
        on_hand: 0,
        reserved: 0,
        sold: 0,
        available: 0,
    };
    let envelope = Envelope::new(event.into(), "story".parse().unwrap(), jiff::Timestamp::now());
    let record = Incoming {
        source: Source { topic: TOPIC, name: TOPIC.name().into(), partition: 0 },
        offset,
        timestamp: Some(crate::record::Timestamp::Create(17)),
        key: Some(key.into()),
        value: Some(b"value".to_vec()),
        headers: vec![("one".into(), Some(b"\0\xff".to_vec())), ("none".into(), None)],
    };
    let delivery = Delivery { envelope, key: key.to_owned(), topic: TOPIC, partition: 0, offset };
    (record, delivery)
}

async fn park(parking: &Parking, arrival: &(Incoming, Delivery)) {
    parking.park(&arrival.0, &arrival.1, "why", Duration::ZERO).await.unwrap();
}

async fn queue_behind(parking: &Parking, (record, delivery): &(Incoming, Delivery)) -> bool {
    let (records, deliveries) = (std::slice::from_ref(record), std::slice::from_ref(delivery));
    !parking.queue_behind(Arrivals { records, deliveries }).await.unwrap().is_empty()
}

async fn claim(parking: &Parking, conn: &mut sqlx::PgConnection) -> Option<Head> {
    parking.claim(conn, Duration::from_secs(30), ToOwned::to_owned).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_comes_back_as_it_was() {
    let parking = parking().await;
    let arrival = arrival("k\0ey", 7);
    park(&parking, &arrival).await;

    let mut tx = parking.pool.begin().await.unwrap();
    let head = claim(&parking, &mut tx).await.unwrap();

    assert_eq!((head.record, head.attempts), (arrival.0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_while_the_last_of_its_key_is_removed_gets_its_turn() {
    let parking = parking().await;
    let (first, second) = (arrival("key", 0), arrival("key", 1));
    park(&parking, &first).await;
    let mut tx = parking.pool.begin().await.unwrap();
    let head = claim(&parking, &mut tx).await.unwrap();
    parking.remove(&mut tx, &head).await.unwrap();

    // The key still looks parked, though nobody will look after what comes behind.
    let appending = queue_behind(&parking, &second);
    let committing = async {
        let mut waits = false;
        while !waits {
            waits = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
                 WHERE locktype = 'advisory' AND NOT granted AND datname = current_database())",
            )
            .fetch_one(&parking.pool)
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
    };
    let (behind, ()) = tokio::join!(appending, committing);

    assert!(behind);
    let mut tx = parking.pool.begin().await.unwrap();
    assert_eq!(claim(&parking, &mut tx).await.unwrap().record, second.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_key_neither_goes_to_another_nor_keeps_events_from_queueing() {
    let parking = parking().await;
    let (first, second, other) = (arrival("key", 0), arrival("key", 1), arrival("other", 2));
    park(&parking, &first).await;
    let mut tx = parking.pool.begin().await.unwrap();
    let head = claim(&parking, &mut tx).await.unwrap();

    assert!(queue_behind(&parking, &second).await);
    let mut elsewhere = parking.pool.begin().await.unwrap();
    assert!(claim(&parking, &mut elsewhere).await.is_none());
    park(&parking, &other).await;
    let mut elsewhere = parking.pool.begin().await.unwrap();
    assert_eq!(claim(&parking, &mut elsewhere).await.unwrap().record, other.0);

    parking.remove(&mut tx, &head).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = parking.pool.begin().await.unwrap();
    assert_eq!(claim(&parking, &mut tx).await.unwrap().record, second.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_tried_one_head_in_turn_one_gives_it_up() {
    let parking = parking().await;
    park(&parking, &arrival("key", 0)).await;
    let attempt = async || {
        let mut tx = parking.pool.begin().await.unwrap();
        let head = claim(&parking, &mut tx).await.unwrap();
        // A handler that fails takes the transaction with it, and the claim.
        tx.rollback().await.unwrap();
        head
    };
    let (mut ours, theirs) = (attempt().await, attempt().await);

    let mut tx = parking.pool.begin().await.unwrap();
    assert!(parking.reclaim(&mut tx, &ours).await.unwrap());
    parking.postpone(&mut tx, &mut ours, Duration::from_secs(60)).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = parking.pool.begin().await.unwrap();
    assert!(!parking.reclaim(&mut tx, &theirs).await.unwrap(), "it is being given up already");
    parking.failed(&theirs, "too late", Duration::ZERO).await.unwrap();
    assert!(parking.reclaim(&mut tx, &ours).await.unwrap(), "what the other says changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_parked_during_a_survey_is_not_overlooked() {
    let parking = parking().await;
    assert_eq!(parking.survey().await.unwrap().events, 0);
    assert!(parking.known().borrow().empty);

    // A survey that began before, and answers after, something was parked.
    let doubts = parking.known.borrow().doubts;
    park(&parking, &arrival("key", 0)).await;
    parking.found_nothing(doubts);

    assert!(queue_behind(&parking, &arrival("key", 1)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_casts_doubt_on_what_is_known() {
    let (parking, first) = (parking().await, arrival("key", 0));
    let former = Parking::new(parking.pool.clone(), "order", &[TOPIC]);
    parking.survey().await.unwrap();
    park(&former, &first).await;
    assert!(!queue_behind(&parking, &arrival("key", 1)).await, "knows of nothing");

    parking.doubt();

    assert!(queue_behind(&parking, &arrival("key", 1)).await);
}
