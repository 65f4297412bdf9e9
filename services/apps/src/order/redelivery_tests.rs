//! Events that arrive again, against a real database: the orders' own rows tell that they were handled.

use contract::{InventoryReserved, NotificationKind, NotificationSent};
use devcluster::testing;
use messaging::{Delivery, Effects, Handler};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::handler::OrderHandler;
use super::metrics::Metrics;
use super::request::NewOrder;
use super::store::{self, Draft};
use super::tests::{delivery, details, now, order, order_id};
use super::watch::Watch;
use super::{Order, Role};

/// A service with one order whose only step is the inventory's.
async fn service() -> (PgPool, OrderHandler) {
    let url = tokio::task::block_in_place(|| testing::postgres().create_database("redelivery"));
    let pool = PgPool::connect(&url).await.unwrap();
    Order::migrations().run(&pool).await.unwrap();
    let order = order();
    let draft = Draft {
        id: order.id,
        correlation_id: order.correlation_id,
        traceparent: None,
        request: NewOrder { order_id: None, details: order.details },
        fingerprint: Vec::new(),
        saga: order.saga,
        created_at: now(),
    };
    store::insert(&mut pool.acquire().await.unwrap(), &[&draft]).await.unwrap();
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    (pool, OrderHandler::new(metrics, Watch::new(CancellationToken::new())))
}

/// The types of the events that `batch` leads to.
async fn handle(pool: &PgPool, handler: &OrderHandler, batch: &[Delivery]) -> Vec<&'static str> {
    let mut tx = pool.begin().await.unwrap();
    let mut fx = Effects::new(&mut tx, now());
    handler.handle(&mut fx, batch).await.unwrap();
    let emitted = fx.into_outgoing();
    tx.commit().await.unwrap();
    emitted.iter().map(|envelope| envelope.event.event_type()).collect()
}

fn reserved() -> Delivery {
    delivery(InventoryReserved {
        order_id: order_id(),
        items: Vec::new(),
        expires_at: now(),
        details: details(),
    })
}

fn told() -> Delivery {
    delivery(NotificationSent {
        order_id: order_id(),
        kind: NotificationKind::Confirmed,
        channels: Vec::new(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_again_has_no_second_effect() {
    let (pool, handler) = service().await;
    let (reserved, told) = (reserved(), told());

    assert_eq!(handle(&pool, &handler, std::slice::from_ref(&reserved)).await, ["OrderConfirmed"]);
    assert_eq!(handle(&pool, &handler, std::slice::from_ref(&reserved)).await, [""; 0]);
    let batch = [reserved.clone(), told.clone()];
    assert_eq!(handle(&pool, &handler, &batch).await, ["OrderCompleted"]);

    assert_eq!(handle(&pool, &handler, &[told, reserved]).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_two_replicas_have_at_once_has_one_effect() {
    let (pool, handler) = service().await;
    let batch = [reserved()];

    let replicas: Vec<_> = (0..8)
        .map(|_| {
            let (pool, handler, batch) = (pool.clone(), handler.clone(), batch.clone());
            tokio::spawn(async move { handle(&pool, &handler, &batch).await })
        })
        .collect();
    let mut emitted = Vec::new();
    for replica in replicas {
        emitted.extend(replica.await.unwrap());
    }

    assert_eq!(emitted, ["OrderConfirmed"]);
}
