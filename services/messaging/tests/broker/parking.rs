use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::Envelope;
use messaging::{ConsumerOptions, ConsumerState, Delivery, Effects, HandleError, Handler};
use rdkafka::message::{Headers, Message, OwnedMessage};
use uuid::Uuid;

use crate::handlers::{Ledger, Recorder};
use crate::harness::{
    DEAD_LETTERS, INPUT, OUTPUT, Running, Shop, assert_in_order, event, events, eventually, number_of, within,
};

/// Fails at every event of `key` until it is opened.
fn gate_at(key: &'static str) -> (Arc<AtomicBool>, Recorder) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let handler = Recorder::failing(move |delivery| match delivery.key == key {
        true if !gate.load(Ordering::SeqCst) => Err(HandleError::transient("still closed")),
        _ => Ok(()),
    });
    (open, handler)
}

/// Fails at each event, as often as its id says: not at all, once, or twice.
fn fickle() -> Recorder {
    let failures = Mutex::new(HashMap::<Uuid, u128>::new());
    Recorder::failing(move |delivery| {
        let id = delivery.envelope.event_id;
        let mut failures = failures.lock().unwrap();
        let failed = failures.entry(id).or_default();
        if *failed >= id.as_u128() % 3 {
            return Ok(());
        }
        *failed += 1;
        Err(HandleError::transient("not this time"))
    })
}

/// Notes whether two calls had events of one key in hand at once.
#[derive(Clone)]
struct Alone {
    recorder: Recorder,
    busy: Arc<Mutex<HashSet<String>>>,
    met: Arc<AtomicBool>,
}

impl Handler for Alone {
    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let keys: HashSet<String> = batch.iter().map(|delivery| delivery.key.clone()).collect();
        for key in &keys {
            if !self.busy.lock().unwrap().insert(key.clone()) {
                self.met.store(true, Ordering::SeqCst);
            }
        }
        // A moment in which others can be met.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let result = self.recorder.handle(fx, batch).await;
        self.busy.lock().unwrap().retain(|key| !keys.contains(key));
        result
    }
}

fn headers(record: &OwnedMessage) -> Vec<(String, Vec<u8>)> {
    let all = record.headers().unwrap().iter();
    all.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
}

impl Shop {
    /// Starts a consumer that does not give up.
    fn consume_patiently(&self, handler: Recorder) -> Running {
        let options = ConsumerOptions { transient_attempts: u32::MAX, ..Self::options() };
        Running::start(self.messaging().with_options(options), handler)
    }

    pub(crate) async fn parked(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM parked_events").fetch_one(&self.pool).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_fails_waits_in_order_and_delays_no_other() {
    let shop = Shop::open("parking").await;
    let (open, handler) = gate_at("key-3");
    shop.publish(&events(10, 20)).await;

    let running = shop.consume_patiently(handler);
    shop.wait_for_effects(180).await;
    eventually("all offsets to be committed", async || shop.committed().await == 200).await;
    assert_eq!(shop.parked().await, 20);
    eventually("the parked events to be seen", async || {
        shop.metric("parked_events", &[]) == 20.0 && shop.metric("parked_oldest_age_seconds", &[]) > 0.0
    })
    .await;
    open.store(true, Ordering::SeqCst);

    shop.wait_for_effects(200).await;
    assert_in_order(&shop.effects().await);
    eventually("nothing to be parked", async || shop.metric("parked_events", &[]) == 0.0).await;
    running.stop().await;
    assert_eq!(shop.parked().await, 0);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
    assert_eq!(shop.metric("kafka_messages_handled_total", &[("outcome", "handled")]), 200.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_event_is_given_up_the_next_of_its_key_gets_its_turn() {
    let shop = Shop::open("turn").await;
    shop.publish(&events(2, 5)).await;
    let handler = Recorder::failing(|delivery| match (delivery.key.as_str(), number_of(delivery)) {
        ("key-0", 0 | 2) => Err(HandleError::transient("never")),
        _ => Ok(()),
    });

    let running = shop.consume(handler);
    shop.wait_for_effects(8).await;
    let letters = shop.records(DEAD_LETTERS, 2).await;
    eventually("nothing to be parked", async || shop.parked().await == 0).await;
    running.stop().await;

    let of_key: Vec<i64> = shop
        .effects()
        .await
        .into_iter()
        .filter(|(key, _)| key == "key-0")
        .map(|(_, number)| number)
        .collect();
    assert_eq!(of_key, [1, 3, 4]);
    assert_eq!(letters.len(), 2);
    let sources = shop.records(INPUT, 10).await;
    for letter in &letters {
        let source = sources.iter().find(|source| source.payload() == letter.payload()).unwrap();
        assert_eq!((letter.key(), letter.timestamp()), (source.key(), source.timestamp()));
        let (kept, given) = (headers(letter), headers(source));
        assert_eq!(kept.get(..given.len()), Some(given.as_slice()));
    }
    assert_eq!(shop.metric("parked_retries_total", &[("outcome", "dead_lettered")]), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_spends_no_attempt_of_a_parked_event() {
    let shop = Shop::open("parked-outage").await;
    shop.publish(&[event("key", 0), event("key", 1)]).await;
    let calls = Arc::new(AtomicU32::new(0));
    let handler = Recorder::failing(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        // The batch, and its first event alone.
        0..2 => Err(HandleError::transient("not yet")),
        // More often than the attempts that an event has.
        2..10 => Err(HandleError::unavailable("no warehouse")),
        _ => Ok(()),
    });

    let running = shop.consume(handler);
    shop.wait_for_effects(2).await;
    running.stop().await;

    assert_in_order(&shop.effects().await);
    assert_eq!(shop.metric("parked_retries_total", &[("outcome", "unavailable")]), 8.0);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_outlive_their_process_and_are_parked_once() {
    let shop = Shop::open("parked-crash").await;
    let (_closed, handler) = gate_at("key-1");
    shop.publish(&events(3, 10)).await;
    let running = shop.consume_patiently(handler.clone());
    shop.wait_for_effects(20).await;
    eventually("all of the key to be parked", async || shop.parked().await == 10).await;
    running.crash().await;

    // Everything comes again, to a process that does not know what is parked.
    shop.rewind().await;
    let running = shop.consume_patiently(handler);
    eventually("everything to have come again", async || shop.committed().await == 30).await;
    // The other keys' events are recognised; the key's own are in its queue already.
    assert_eq!(shop.parked().await, 10);
    running.crash().await;
    let running = shop.consume(Recorder::new());

    shop.wait_for_effects(30).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
    assert_eq!(shop.parked().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_arrive_while_their_keys_are_worked_off_stay_in_order() {
    let shop = Shop::open("parked-race").await;
    let handler = fickle();
    let running = [shop.consume(handler.clone()), shop.consume(handler)];
    for one in &running {
        let mut joined = one.messaging.consumer_state();
        joined.wait_for(|state| *state == ConsumerState::Running).await.unwrap();
    }

    // In small portions, so that each arrives at some moment of its key's queue being worked off.
    for portion in events(5, 120).chunks(10) {
        shop.publish(portion).await;
        tokio::task::yield_now().await;
    }

    shop.wait_for_effects(600).await;
    for one in running {
        one.stop().await;
    }
    assert_in_order(&shop.effects().await);
    assert_eq!(shop.parked().await, 0);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_never_work_at_one_parked_key_at_once() {
    let shop = Shop::open("parked-alone").await;
    let handler = Alone { recorder: fickle(), busy: Arc::default(), met: Arc::default() };
    shop.publish(&events(4, 40)).await;

    let running = [shop.consume(handler.clone()), shop.consume(handler.clone())];
    shop.wait_for_effects(160).await;
    for one in running {
        one.stop().await;
    }

    assert_in_order(&shop.effects().await);
    assert!(shop.metric("parked_retries_total", &[("outcome", "handled")]) > 0.0);
    assert!(!handler.met.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_and_rebalances_while_keys_are_parked_lose_and_repeat_nothing() {
    let shop = Shop::open("parked-chaos").await;
    let handler = fickle();
    let all: Vec<Envelope> = events(10, 60);
    let mut running = shop.consume(Ledger(handler.clone()));

    for (portion, some) in all.chunks(200).zip([100, 250, 450]) {
        shop.publish(portion).await;
        eventually("some effects", async || shop.effects().await.len() >= some).await;
        let next = shop.consume(Ledger(handler.clone()));
        let mut joined = next.messaging.consumer_state();
        within("a replica to join", joined.wait_for(|state| *state == ConsumerState::Running)).await.unwrap();
        running.crash().await;
        running = next;
    }

    shop.wait_for_effects(600).await;
    eventually("nothing to be parked", async || shop.parked().await == 0).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_of_a_topic_that_is_no_longer_consumed_does_not_block_its_key() {
    let shop = Shop::open("unconsumed").await;
    let (_closed, handler) = gate_at("key-1");
    shop.publish(&events(2, 3)).await;
    let running = shop.consume_patiently(handler.clone());
    shop.wait_for_effects(3).await;
    eventually("all of the key to be parked", async || shop.parked().await == 3).await;
    eventually("all offsets to be committed", async || shop.committed().await == 6).await;
    running.crash().await;
    // As if the first had come from a topic of other settings, first just now, then long ago.
    let move_head = |age: &'static str| {
        let sql =
            "UPDATE parked_events SET topic = $1, due_at = now() - $2::interval WHERE due_at IS NOT NULL";
        sqlx::query(sql).bind(OUTPUT.name()).bind(age).execute(&shop.pool)
    };
    move_head("1 second").await.unwrap();
    let running = shop.consume(Recorder::new());
    shop.publish(&[event("key-0", 3)]).await;
    shop.wait_for_effects(4).await;
    assert_eq!(shop.parked().await, 3, "it is left to a build that consumes it");

    move_head("1 day").await.unwrap();

    shop.wait_for_effects(6).await;
    let letters = shop.records(DEAD_LETTERS, 1).await;
    running.stop().await;
    assert_eq!(shop.parked().await, 0);
    assert_eq!(letters.len(), 1);
    let cause = (
        "kafka_dlt-exception-cause-fqcn".to_owned(),
        b"orderpipeline.messaging.Rejected.unconsumed".to_vec(),
    );
    assert!(headers(&letters[0]).contains(&cause));
}
