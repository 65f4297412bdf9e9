//! The notification service against a real database and a real (small) mail server.

mod mail;
mod trouble;

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{
    Address, CancelReason, ChannelOutcome, Contact, Currency, Envelope, Event, Money, NotificationKind,
    NotificationSent, OrderCancelled, OrderConfirmed, OrderCreated, OrderDetails, OrderId, OrderItem,
    Service,
};
use devcluster::testing;
use jiff::Timestamp;
use messaging::{Delivery, Effects, Handler, KafkaConfig, Messaging};
use prometheus::Registry;
use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;

use super::channels::{Channels, Email, Sms};
use super::handler::RecordingHandler;
use super::metrics::Metrics;
use super::sender::{RetryPolicy, Sender};
use super::{Notification, Role};

/// Long enough for a machine that does many things at once.
const DEADLINE: Duration = Duration::from_secs(30);

/// One test's notification service.
struct Desk {
    pool: PgPool,
    messaging: Messaging,
    metrics: Metrics,
}

impl Desk {
    async fn open() -> Self {
        let url = tokio::task::block_in_place(|| testing::postgres().create_database("notification"));
        let pool = PgPool::connect(&url).await.unwrap();
        messaging::migrate(&pool).await.unwrap();
        Notification::migrations().run(&pool).await.unwrap();
        let registry = Registry::new();
        let metrics = messaging::Metrics::register(&registry).unwrap();
        // A broker that nobody needs: what is emitted stays in the outbox.
        let kafka = KafkaConfig::plaintext("127.0.0.1:1", "test", "");
        let messaging = Messaging::new(kafka, Service::Notification, pool.clone(), &metrics).unwrap();
        Self { pool, messaging, metrics: Metrics::register(&registry).unwrap() }
    }

    /// Hands over `events` in one batch.
    async fn record(&self, events: &[Event]) {
        let batch: Vec<Delivery> = events.iter().map(delivery).collect();
        let mut tx = self.pool.begin().await.unwrap();
        let mut effects = Effects::new(&mut tx, Timestamp::now());
        RecordingHandler::new(Arc::default()).handle(&mut effects, &batch).await.unwrap();
        tx.commit().await.unwrap();
    }

    fn sender(&self, channels: Channels) -> Sender {
        Sender {
            pool: self.pool.clone(),
            outbox: self.messaging.outbox().clone(),
            channels,
            retry: RetryPolicy { attempts: 3, first_wait: Duration::from_millis(5) },
            recorded: Arc::new(Notify::new()),
            metrics: self.metrics.clone(),
        }
    }

    /// Lets `sender` work until nothing is left to do.
    async fn finish(&self, sender: &Sender) {
        let deadline = Instant::now() + DEADLINE;
        while self.open_tasks().await > 0 {
            assert!(Instant::now() < deadline, "notifications are left over");
            sender.work_once().await.unwrap();
        }
    }

    async fn open_tasks(&self) -> i64 {
        self.count("SELECT count(*) FROM notifications WHERE finished_at_us IS NULL").await
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// What was emitted.
    async fn outbox(&self) -> Vec<Envelope> {
        let mut conn = self.pool.acquire().await.unwrap();
        self.messaging.outbox().pending(&mut conn).await.unwrap()
    }

    /// What became of e-mail and SMS, per notification in the order of their end.
    async fn outcomes(&self) -> Vec<(NotificationKind, ChannelOutcome, ChannelOutcome)> {
        let outbox = self.outbox().await;
        let outcomes = outbox.iter().map(|envelope| match &envelope.event {
            Event::NotificationSent(NotificationSent { kind, channels, .. }) => match channels.as_slice() {
                [email, sms] => (*kind, email.outcome, sms.outcome),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        });
        outcomes.collect()
    }
}

fn by_mail(port: u16) -> Channels {
    let url = format!("smtp://127.0.0.1:{port}").into();
    Channels { email: Some(Email::new(&url, "Orders <orders@shop.test>").unwrap()), sms: None }
}

fn by_sms(port: u16) -> Channels {
    let url = format!("http://127.0.0.1:{port}/sms").into();
    Channels { email: None, sms: Some(Sms::new(&url).unwrap()) }
}

fn delivery(event: &Event) -> Delivery {
    let envelope = Envelope::new(event.clone(), "req-7".parse().unwrap(), Timestamp::now());
    Delivery { key: event.key(), topic: event.topic(), envelope, partition: 0, offset: 0 }
}

fn new_order() -> OrderId {
    OrderId::new(Uuid::now_v7())
}

fn ada() -> Contact {
    Contact {
        customer_id: "C-1".parse().unwrap(),
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: Some("ada@example.com".into()),
        phone: Some("+15550100".into()),
    }
}

fn items() -> Vec<OrderItem> {
    vec![OrderItem { product_id: "burger".parse().unwrap(), quantity: 2, unit_price_minor: 2599 }]
}

fn details(customer: Contact) -> OrderDetails {
    let total = Money::new(5198, Currency::USD);
    OrderDetails { customer, ship_to: Address::default(), items: items(), total, steps: None }
}

fn created(order_id: OrderId, customer: Contact) -> Event {
    OrderCreated { order_id, details: details(customer) }.into()
}

fn confirmed(order_id: OrderId, customer: Contact) -> Event {
    OrderConfirmed { order_id, details: details(customer) }.into()
}

fn cancelled(order_id: OrderId, customer: Contact) -> Event {
    let (reason, detail) = (CancelReason::OutOfStock, "2 burger ordered, 1 available".to_owned());
    OrderCancelled { order_id, details: details(customer), reason, detail }.into()
}
