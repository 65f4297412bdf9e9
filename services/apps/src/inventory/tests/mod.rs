//! The inventory against a real database.

mod api;
mod backorders;
mod reactions;
mod replicas;
mod spoilt;

use std::time::Duration;

use contract::{
    CancelReason, Envelope, Event, OrderCancelled, OrderConfirmed, OrderCreated, OrderDetails, OrderId,
    OrderItem, ProductId, Service,
};
use devcluster::testing::postgres;
use domain::hold::HoldTerms;
use domain::stock::StockLevel;
use jiff::Timestamp;
use messaging::{HandleError, Messaging};
use prometheus::Registry;
use sqlx::PgPool;
use tokio::sync::watch;

use super::handler::{StockHandler, Terms};
use super::metrics::Metrics;
use super::store::{self, Ending};
use super::sweeper::Sweeper;
use super::waker::Waker;
use super::{Inventory, Role};
use crate::hold::Holder;
use crate::testing::{self, new_order, nowhere};

const TTL: Duration = Duration::from_secs(900);

/// One test's inventory, with ten burgers and one pizza.
#[derive(Clone)]
struct Shop {
    pool: PgPool,
    messaging: Messaging,
    metrics: Metrics,
    backorder_timeout: Option<Duration>,
}

impl Shop {
    async fn open() -> Self {
        let url = tokio::task::block_in_place(|| postgres().create_database("inventory"));
        let pool = PgPool::connect(&url).await.unwrap();
        messaging::migrate(&pool).await.unwrap();
        Inventory::migrations().run(&pool).await.unwrap();
        let registry = Registry::new();
        let metrics = messaging::Metrics::register(&registry).unwrap();
        let messaging = Messaging::new(nowhere(), Service::Inventory, pool.clone(), &metrics).unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let shop = Self { pool, messaging, metrics, backorder_timeout: None };
        shop.seed("burger=10,pizza=1").await;
        shop
    }

    async fn seed(&self, stock: &str) -> Vec<String> {
        let mut conn = self.pool.acquire().await.unwrap();
        let added = store::seed(&mut conn, &stock.parse().unwrap(), Timestamp::now()).await.unwrap();
        added.iter().map(|stock| stock.product_id.to_string()).collect()
    }

    /// Hands over `events` in one batch, and returns what was emitted.
    async fn react(&self, events: &[Event]) -> Vec<Envelope> {
        self.try_react(events).await.unwrap()
    }

    async fn try_react(&self, events: &[Event]) -> Result<Vec<Envelope>, HandleError> {
        let terms = Terms { reservation_ttl: TTL, backorder_timeout: self.backorder_timeout };
        let handler = StockHandler::new(terms, Waker::default(), self.metrics.clone());
        testing::react(&handler, &self.pool, events).await
    }

    /// On hand, reserved, sold.
    async fn level(&self, product: &str) -> (u64, u64, u64) {
        let mut conn = self.pool.acquire().await.unwrap();
        let stock = store::read(&mut conn, &product.parse().unwrap()).await.unwrap().unwrap();
        let StockLevel { on_hand, reserved, sold, backordered: _ } = stock.level;
        (on_hand, reserved, sold)
    }

    async fn status(&self, order: OrderId) -> String {
        sqlx::query_scalar("SELECT status FROM reservations WHERE order_id = $1")
            .bind(order.as_uuid())
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// What waits in the outbox: topic, key, correlation id.
    async fn outbox(&self) -> Vec<(String, String, String)> {
        let mut conn = self.pool.acquire().await.unwrap();
        let pending = self.messaging.outbox().pending(&mut conn).await.unwrap();
        let summary = |envelope: Envelope| {
            let Envelope { event, correlation_id, .. } = envelope;
            (event.topic().name().to_owned(), event.key(), correlation_id.to_string())
        };
        // Between keys there is no order.
        let mut summaries: Vec<_> = pending.into_iter().map(summary).collect();
        summaries.sort();
        summaries
    }

    fn sweeper(&self) -> Sweeper {
        let outbox = self.messaging.outbox().clone();
        let (pool, metrics) = (self.pool.clone(), self.metrics.clone());
        let terms = HoldTerms { patience: TTL, limit: TTL * 10 };
        let holder = Holder::new(pool.clone(), terms, watch::channel(true).1);
        Sweeper { pool, outbox, waker: Waker::default(), metrics, holder }
    }
}

fn items(list: &[(&str, u32)]) -> Vec<OrderItem> {
    let item = |(product, quantity): &(&str, u32)| OrderItem {
        product_id: product.parse().unwrap(),
        quantity: *quantity,
        unit_price_minor: 100,
    };
    list.iter().map(item).collect()
}

fn details(list: &[(&str, u32)]) -> OrderDetails {
    testing::details("C-1", items(list))
}

fn created(order_id: OrderId, list: &[(&str, u32)]) -> Event {
    OrderCreated { order_id, details: details(list) }.into()
}

fn confirmed(order_id: OrderId, list: &[(&str, u32)]) -> Event {
    OrderConfirmed { order_id, details: details(list) }.into()
}

fn cancelled(order_id: OrderId, list: &[(&str, u32)]) -> Event {
    let (reason, detail) = (CancelReason::StepTimedOut, String::new());
    OrderCancelled { order_id, details: details(list), reason, detail }.into()
}

fn product(name: &str) -> ProductId {
    name.parse().unwrap()
}
