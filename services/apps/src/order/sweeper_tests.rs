//! The sweep against a real database: when deadlines count, and what stands in nobody's way.

use std::time::Duration;

use contract::{OrderId, Service};
use devcluster::testing::postgres;
use domain::hold::HoldTerms;
use jiff::Timestamp;
use messaging::Messaging;
use prometheus::Registry;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::request::NewOrder;
use super::store::{self, Draft, Ending};
use super::sweeper::Sweeper;
use super::tests::{details, order};
use super::watch::Watch;
use super::{Order, Role};
use crate::hold::Holder;
use crate::testing::{new_order, nowhere};

/// As long as the orders' step may take.
const PATIENCE: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_secs(1);

/// One test's orders.
struct Orders {
    pool: PgPool,
    sweeper: Sweeper,
    current: watch::Sender<bool>,
}

impl Orders {
    async fn open() -> Self {
        let url = tokio::task::block_in_place(|| postgres().create_database("sweep"));
        let pool = PgPool::connect(&url).await.unwrap();
        messaging::migrate(&pool).await.unwrap();
        Order::migrations().run(&pool).await.unwrap();
        let registry = Registry::new();
        let metrics = messaging::Metrics::register(&registry).unwrap();
        let messaging = Messaging::new(nowhere(), Service::Order, pool.clone(), &metrics).unwrap();
        let current = watch::Sender::new(true);
        let terms = HoldTerms { patience: PATIENCE, limit: PATIENCE * 10 };
        let sweeper = Sweeper {
            pool: pool.clone(),
            outbox: messaging.outbox().clone(),
            metrics: Metrics::register(&registry).unwrap(),
            watch: Watch::new(CancellationToken::new()),
            holder: Holder::new(pool.clone(), terms, current.subscribe()),
        };
        Self { pool, sweeper, current }
    }

    /// Takes an order, which is due at `due`.
    async fn take(&self, due: Timestamp) -> OrderId {
        let (id, mut saga) = (new_order(), order().saga);
        saga.deadline = Some(due);
        let draft = Draft {
            id,
            correlation_id: order().correlation_id,
            traceparent: None,
            request: NewOrder { order_id: None, details: details() },
            fingerprint: Vec::new(),
            saga,
            created_at: due,
        };
        store::insert(&mut self.pool.acquire().await.unwrap(), &[&draft]).await.unwrap();
        id
    }

    async fn status(&self, order: OrderId) -> String {
        sqlx::query_scalar("SELECT status FROM sagas WHERE order_id = $1")
            .bind(order.as_uuid())
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Has an event wait in `bucket` of the outbox for longer than a broker that is there lets it.
    async fn wait_in_outbox(&self, bucket: i16) {
        let event = "INSERT INTO outbox (bucket, events, records, created_at)
                     VALUES ($1, 1, '', now() - interval '11 seconds')";
        sqlx::query(event).bind(bucket).execute(&self.pool).await.unwrap();
    }

    async fn spoil(&self, statement: &'static str, order: OrderId) {
        sqlx::query(statement).bind(order.as_uuid()).execute(&self.pool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_gives_waiting_answers_time_to_be_heard() {
    let orders = Orders::open().await;
    let now = Timestamp::now();
    let order = orders.take(now).await;

    orders.sweeper.take_turn(now).await.unwrap();
    orders.sweeper.take_turn(now + PATIENCE - MOMENT).await.unwrap();
    assert_eq!(orders.status(order).await, "PENDING");

    orders.sweeper.take_turn(now + PATIENCE + MOMENT).await.unwrap();
    assert_eq!(orders.status(order).await, "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_broker_refuses_holds_no_deadline() {
    let orders = Orders::open().await;
    let begin = Timestamp::now();
    let order = orders.take(begin).await;
    orders.wait_in_outbox(-1).await;

    for turn in 0..=2 {
        orders.sweeper.take_turn(begin + turn * (PATIENCE + MOMENT)).await.unwrap();
    }

    assert_eq!(orders.status(order).await, "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_is_late_while_answers_go_unheard_or_nothing_leaves_but_none_waits_for_ever() {
    for is_cut_off in [true, false] {
        let orders = Orders::open().await;
        let begin = Timestamp::now();
        let order = orders.take(begin).await;
        match is_cut_off {
            true => orders.wait_in_outbox(0).await,
            false => drop(orders.current.send_replace(false)),
        }

        for turn in 0..=10 {
            orders.sweeper.take_turn(begin + turn * (PATIENCE - MOMENT)).await.unwrap();
            assert_eq!(orders.status(order).await, "PENDING", "{turn}");
        }
        orders.sweeper.take_turn(begin + PATIENCE * 10 + MOMENT).await.unwrap();

        assert_eq!(orders.status(order).await, "CANCELLED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_behind_holds_the_deadlines_for_all() {
    let orders = Orders::open().await;
    let begin = Timestamp::now();
    let order = orders.take(begin).await;
    orders.sweeper.take_turn(begin).await.unwrap();
    let terms = HoldTerms { patience: PATIENCE, limit: PATIENCE * 10 };
    let other = Holder::new(orders.pool.clone(), terms, watch::channel(false).1);

    assert!(!other.allows(begin + PATIENCE - MOMENT).await.unwrap());
    orders.sweeper.take_turn(begin + PATIENCE + MOMENT).await.unwrap();

    assert_eq!(orders.status(order).await, "PENDING");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_cannot_be_read_keep_no_other_from_ending() {
    let orders = Orders::open().await;
    let now = Timestamp::now();
    let (spoilt, lost, sound) = (orders.take(now).await, orders.take(now).await, orders.take(now).await);
    orders.spoil("UPDATE sagas SET steps = '7' WHERE order_id = $1", spoilt).await;
    orders.spoil("UPDATE orders SET details = '7' WHERE order_id = $1", lost).await;

    let first = orders.sweeper.sweep(now, Ending::All).await.unwrap();
    let second = orders.sweeper.sweep(now, Ending::All).await.unwrap();

    assert_eq!((first, second), (2, 0), "they are not looked at again at once");
    assert_eq!(orders.status(sound).await, "CANCELLED");
    assert_eq!(
        (orders.status(spoilt).await, orders.status(lost).await),
        ("PENDING".into(), "PENDING".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn old_keys_are_forgotten_without_a_pause_until_none_is_left() {
    let orders = Orders::open().await;
    sqlx::query(
        "INSERT INTO idempotency_keys (key, fingerprint, order_id, created_at_us)
         SELECT n::text, '', gen_random_uuid(), 0 FROM generate_series(1, 450) AS n",
    )
    .execute(&orders.pool)
    .await
    .unwrap();

    let mut again = Vec::new();
    for _ in 0..3 {
        again.push(orders.sweeper.take_turn(Timestamp::now()).await.unwrap());
    }

    assert_eq!(again, [true, true, false]);
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM idempotency_keys").fetch_one(&orders.pool).await.unwrap();
    assert_eq!(left, 0);
}
