use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use contract::{Envelope, Event, InventoryReleased, OrderId, ReleaseReason, StockItem, Topic};
use jiff::Timestamp;
use messaging::{Messaging, Metrics};
use prometheus::Registry;
use rdkafka::message::{Message, OwnedMessage};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::handlers::Recorder;
use crate::harness::{INPUT, Shop, assert_in_order, event, events, eventually, metric, within};

/// A relay in a task of its own.
struct Relaying {
    registry: Registry,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Relaying {
    fn start(shop: &Shop) -> Self {
        Self::start_at(shop, &shop.kafka.bootstrap_servers)
    }

    /// One that reaches the broker at `bootstrap`.
    fn start_at(shop: &Shop, bootstrap: &str) -> Self {
        let registry = Registry::new();
        let messaging = shop.messaging_at(bootstrap, &Metrics::register(&registry).unwrap());
        let messaging = messaging.with_relay_patience(Duration::from_secs(1));
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { messaging.relay(shutdown).await }
        });
        Self { registry, shutdown, task }
    }

    fn buckets(&self) -> f64 {
        metric(&self.registry, "outbox_owned_buckets", &[])
    }

    async fn stop(self) {
        self.shutdown.cancel();
        within("the relay to stop", self.task).await.unwrap();
    }

    async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn append(shop: &Shop, messaging: &Messaging, events: &[Envelope]) {
    let mut tx = shop.pool.begin().await.unwrap();
    messaging.outbox().append(&mut tx, events).await.unwrap();
    tx.commit().await.unwrap();
    messaging.outbox().notify();
}

/// Asserts that the first copies of each key's records are its events from 0 on, in order.
fn assert_published_in_order(records: &[OwnedMessage]) {
    let mut next = HashMap::<Vec<u8>, u64>::new();
    for record in records {
        let envelope = contract::codec::decode_json(record.payload().unwrap()).unwrap();
        let contract::Event::InventoryUpdated(updated) = envelope.event else { panic!("unexpected event") };
        let expected = next.entry(record.key().unwrap().to_vec()).or_default();
        assert!(updated.on_hand <= *expected, "{} came before {expected}", updated.on_hand);
        *expected = (*expected).max(updated.on_hand + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_committed_is_published_in_order_and_what_was_rolled_back_is_not() {
    let shop = Shop::open("outbox").await;
    let messaging = shop.messaging();
    append(&shop, &messaging, &events(50, 40)).await;
    let mut undone = shop.pool.begin().await.unwrap();
    messaging.outbox().append(&mut undone, &[event("undone", 0)]).await.unwrap();
    undone.rollback().await.unwrap();

    let relay = Relaying::start(&shop);
    let records = shop.records(INPUT, 2000).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    relay.stop().await;

    assert_eq!(records.len(), 2000);
    assert_published_in_order(&records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_commits_late_is_not_skipped() {
    let shop = Shop::open("late").await;
    let messaging = shop.messaging();
    let relay = Relaying::start(&shop);
    let mut late = shop.pool.begin().await.unwrap();
    messaging.outbox().append(&mut late, &[event("late", 0)]).await.unwrap();

    append(&shop, &messaging, &[event("early", 0)]).await;
    assert_eq!(shop.records(INPUT, 1).await[0].key(), Some(b"early".as_slice()));
    late.commit().await.unwrap();

    assert_eq!(shop.records(INPUT, 2).await.len(), 2);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_share_the_buckets_and_take_over_from_one_that_died() {
    let shop = Shop::open("takeover").await;
    let messaging = shop.messaging();
    let one = Relaying::start(&shop);
    eventually("one relay to own all", async || one.buckets() == 8.0).await;

    let two = Relaying::start(&shop);
    eventually("two relays to share", async || one.buckets() == 4.0 && two.buckets() == 4.0).await;
    append(&shop, &messaging, &events(50, 10)).await;
    one.crash().await;
    append(&shop, &messaging, &(10..20).flat_map(tail).collect::<Vec<_>>()).await;

    eventually("the other to own all", async || two.buckets() == 8.0).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    assert_published_in_order(&shop.records(INPUT, 1000).await);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_without_a_relay_wrote_is_published_by_another() {
    let shop = Shop::open("apart").await;
    let (writing, publishing) = (shop.messaging(), shop.messaging());
    let shutdown = CancellationToken::new();
    let (ring, relay) = (shutdown.clone(), shutdown.clone());
    let ringing = tokio::spawn({
        let writing = writing.clone();
        async move { writing.ring(ring).await }
    });
    let relaying = tokio::spawn(async move { publishing.relay_for_others(relay).await });

    for number in 0..20 {
        append(&shop, &writing, &[event("key", number)]).await;
        eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    }

    assert_published_in_order(&shop.records(INPUT, 20).await);
    shutdown.cancel();
    within("both to stop", futures::future::join(ringing, relaying)).await.0.unwrap();
}

/// A way to the broker on which nothing gets through until it is opened.
struct Link {
    address: SocketAddr,
    broker: String,
}

impl Link {
    async fn cut(shop: &Shop) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: free.local_addr().unwrap(), broker: shop.kafka.bootstrap_servers.clone() }
    }

    async fn open(self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let mut to = TcpStream::connect(&self.broker).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut from, &mut to).await });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_does_not_reach_the_broker_leaves_its_buckets_to_others_until_it_does() {
    let shop = Shop::open("cut-off").await;
    let messaging = shop.messaging();
    let link = Link::cut(&shop).await;
    let cut_off = Relaying::start_at(&shop, &link.address.to_string());
    eventually("it to own all", async || cut_off.buckets() == 8.0).await;
    // Nobody is there to whom it could leave them.
    append(&shop, &messaging, &events(50, 10)).await;

    let other = Relaying::start(&shop);
    eventually("the other to own all", async || (cut_off.buckets(), other.buckets()) == (0.0, 8.0)).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    assert_eq!(shop.records(INPUT, 500).await.len(), 500);
    append(&shop, &messaging, &tail(10)).await;
    assert_eq!(shop.records(INPUT, 550).await.len(), 550);
    link.open().await;

    eventually("both to share", async || (cut_off.buckets(), other.buckets()) == (4.0, 4.0)).await;
    append(&shop, &messaging, &tail(11)).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    // What it had in hand came as well.
    assert_published_in_order(&shop.records(INPUT, 601).await);
    cut_off.stop().await;
    other.stop().await;
}

/// On a topic that the tests' shops do not have by themselves.
const EXTRA: Topic = Topic::InventoryReleased;

/// The event number `number` of an order, on [`EXTRA`].
fn released(order_id: OrderId, number: u32) -> Envelope {
    let items = vec![StockItem { product_id: "burger".parse().unwrap(), quantity: number }];
    let event: Event = InventoryReleased { order_id, items, reason: ReleaseReason::OrderCancelled }.into();
    Envelope::new(event, "corr".parse().unwrap(), Timestamp::now())
}

fn orders(count: usize) -> Vec<OrderId> {
    (0..count).map(|_| OrderId::new(Uuid::now_v7())).collect()
}

/// Asserts that `records` are, in order and once each, the events of `orders` from 0 on, `each` of them.
fn assert_released_in_order(records: &[OwnedMessage], orders: &[OrderId], each: u32) {
    let mut seen = HashMap::<OrderId, Vec<u32>>::new();
    for record in records {
        let envelope = contract::codec::decode_json(record.payload().unwrap()).unwrap();
        let Event::InventoryReleased(released) = envelope.event else { panic!("unexpected event") };
        seen.entry(released.order_id).or_default().extend(released.items.iter().map(|item| item.quantity));
    }
    let expected = orders.iter().map(|order| (*order, (0..each).collect())).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_holds_up_no_other_and_gets_its_events_in_order() {
    let shop = Shop::open("missing").await;
    let messaging = shop.messaging();
    let orders = orders(40);
    let relay = Relaying::start(&shop);
    // More rows than a round reads, each with an event that can be published and one that cannot.
    for number in 0..10 {
        for order in &orders {
            let both = [released(*order, number), event(&order.to_string(), number.into())];
            append(&shop, &messaging, &both).await;
        }
    }

    assert_published_in_order(&shop.records(INPUT, 400).await);
    eventually("the rest to be left", async || shop.outbox_len().await == 400).await;
    // The next relay has to find out what is aside before it goes on.
    relay.stop().await;
    append(&shop, &messaging, &orders.iter().map(|order| released(*order, 10)).collect::<Vec<_>>()).await;
    append(&shop, &messaging, &[event("key", 0)]).await;
    let relay = Relaying::start(&shop);
    assert_eq!(shop.records(INPUT, 401).await.len(), 401);
    shop.create_topic(EXTRA, &[]).await;

    let records = shop.records(EXTRA, 440).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    append(&shop, &messaging, &[released(orders[0], 11)]).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    relay.stop().await;
    assert_released_in_order(&records, &orders, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_for_its_topic_holds_up_only_its_key() {
    let shop = Shop::open("small").await;
    let messaging = shop.messaging();
    shop.create_topic(EXTRA, &[("max.message.bytes", "2000")]).await;
    let orders = orders(30);
    let mut first: Vec<Envelope> = orders.iter().map(|order| released(*order, 0)).collect();
    // It must not shrink by compression.
    let padding: String = (0..200).map(|_| OrderId::new(Uuid::now_v7()).to_string()).collect();
    first[0].metadata.insert("padding".to_owned(), padding);
    append(&shop, &messaging, &first).await;

    let relay = Relaying::start(&shop);
    assert_eq!(shop.records(EXTRA, 29).await.len(), 29);
    append(&shop, &messaging, &orders.iter().map(|order| released(*order, 1)).collect::<Vec<_>>()).await;
    assert_eq!(shop.records(EXTRA, 58).await.len(), 58);
    eventually("those of its key to be left", async || shop.outbox_len().await == 2).await;
    shop.configure_topic(EXTRA, "max.message.bytes", "1000000").await;

    let records = shop.records(EXTRA, 60).await;
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    relay.stop().await;
    assert_released_in_order(&records, &orders, 2);
}

fn tail(number: i64) -> Vec<Envelope> {
    (0..50).map(|key| event(&format!("key-{key}"), number)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_loses_its_connection_comes_back() {
    let shop = Shop::open("connection").await;
    let messaging = shop.messaging();
    let relay = Relaying::start(&shop);
    eventually("the relay to own all", async || relay.buckets() == 8.0).await;

    let killed: Vec<bool> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'outbox-relay' AND datname = current_database()",
    )
    .fetch_all(&shop.pool)
    .await
    .unwrap();
    append(&shop, &messaging, &events(10, 10)).await;

    assert_eq!(killed, [true]);
    eventually("the outbox to be empty", async || shop.outbox_len().await == 0).await;
    assert_published_in_order(&shop.records(INPUT, 100).await);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_publishing_and_deleting_is_absorbed_by_the_inbox() {
    let shop = Shop::open("republish").await;
    let messaging = shop.messaging();
    let all = events(10, 10);
    // What such a crash leaves behind: the records on the topic, and their rows still in the outbox.
    append(&shop, &messaging, &all).await;
    messaging.producer().publish(&all).await.unwrap();

    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(100).await;
    assert_eq!(shop.records(INPUT, 200).await.len(), 200);
    eventually("the second copies to be recognised", async || {
        shop.metric("kafka_messages_handled_total", &[("outcome", "duplicate")]) >= 100.0
    })
    .await;
    running.stop().await;

    assert_in_order(&shop.effects().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_relays_never_own_more_than_there_is() {
    let shop = Shop::open("thirds").await;

    let relays = [Relaying::start(&shop), Relaying::start(&shop), Relaying::start(&shop)];
    eventually("all buckets to be owned, none by more than its share", async || {
        let owned: Vec<f64> = relays.iter().map(Relaying::buckets).collect();
        owned.iter().sum::<f64>() == 8.0 && owned.iter().all(|owned| *owned <= 3.0)
    })
    .await;

    for relay in relays {
        relay.stop().await;
    }
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (
             SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_one(&shop.pool)
    .await
    .unwrap();
    assert_eq!(left, 0, "a relay that stops leaves its buckets at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_is_refused_before_anything_is_written() {
    let shop = Shop::open("large").await;
    let mut large = event("large", 0);
    large.metadata.insert("padding".to_owned(), "x".repeat(messaging::outbox::MAX_EVENT_BYTES));
    let mut tx = shop.pool.begin().await.unwrap();

    let refused = shop.messaging().outbox().append(&mut tx, &[event("small", 0), large]).await;

    assert!(matches!(refused, Err(messaging::AppendError::TooLarge { .. })), "{refused:?}");
    tx.commit().await.unwrap();
    assert_eq!(shop.outbox_len().await, 0);
}
