//! How fast the outbox is written and published, and how fast events are handled, each on its own, against a
//! broker and a database on this machine: `cargo run --release -p messaging --example rates -- [events]`.

use std::time::{Duration, Instant};

use contract::{Currency, Envelope, Money, OrderCompleted, OrderId, Service, Topic};
use devcluster::testing;
use jiff::Timestamp;
use messaging::{Delivery, Effects, HandleError, Handler, KafkaConfig, Messaging, Metrics, Security};
use prometheus::Registry;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Answers every event with its like: a step of a saga without rules.
struct Answering;

impl Handler for Answering {
    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        for delivery in batch {
            fx.emit(delivery.envelope.event.clone(), delivery);
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let events: usize = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse())?;
    let (bootstrap, url) = tokio::task::block_in_place(|| {
        (testing::kafka().bootstrap().to_owned(), testing::postgres().create_database("rates"))
    });
    let kafka = KafkaConfig {
        bootstrap_servers: bootstrap,
        security: Security::Plaintext,
        client_id: "rates".to_owned(),
        topic_prefix: format!("{}.", testing::unique("rates")),
    };
    create_topics(&kafka).await?;
    let pool = PgPool::connect(&url).await?;
    messaging::migrate(&pool).await?;
    let metrics = Metrics::register(&Registry::new())?;
    let messaging = Messaging::new(kafka, Service::Order, pool.clone(), &metrics)?;

    report("append to the outbox", events, append(&messaging, &pool, events).await?);
    report("publish from the outbox", events, publish(&messaging, &pool).await?);
    report("handle, each with one answer", events, handle(&messaging, &pool, events).await?);
    report("publish the answers", events, publish(&messaging, &pool).await?);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn report(what: &str, events: usize, took: Duration) {
    println!("{what}: {:.0} events/s ({events} in {took:.2?})", events as f64 / took.as_secs_f64());
}

async fn append(messaging: &Messaging, pool: &PgPool, events: usize) -> Result<Duration, Failure> {
    let started = Instant::now();
    for _ in 0..events.div_ceil(500) {
        let batch: Vec<Envelope> = (0..500).map(|_| envelope()).collect::<Result<_, _>>()?;
        let mut tx = pool.begin().await?;
        messaging.outbox().append(&mut tx, &batch).await?;
        tx.commit().await?;
    }
    Ok(started.elapsed())
}

fn envelope() -> Result<Envelope, Failure> {
    let order_id: OrderId = uuid::Uuid::now_v7().to_string().parse()?;
    let event = OrderCompleted { order_id, total: Money::new(5198, Currency::USD) };
    Ok(Envelope::new(event.into(), "rates".parse()?, Timestamp::now()))
}

async fn publish(messaging: &Messaging, pool: &PgPool) -> Result<Duration, Failure> {
    let (started, shutdown) = (Instant::now(), CancellationToken::new());
    let done = async {
        while sqlx::query_scalar("SELECT EXISTS (SELECT FROM outbox)").fetch_one(pool).await? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shutdown.cancel();
        Ok::<Duration, sqlx::Error>(started.elapsed())
    };
    Ok(tokio::join!(messaging.relay(shutdown.clone()), done).1?)
}

async fn handle(messaging: &Messaging, pool: &PgPool, events: usize) -> Result<Duration, Failure> {
    let (started, shutdown) = (Instant::now(), CancellationToken::new());
    let done = async {
        let all = i64::try_from(events).unwrap_or(i64::MAX);
        while sqlx::query_scalar::<_, i64>("SELECT coalesce(sum(events), 0) FROM outbox")
            .fetch_one(pool)
            .await?
            < all
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        shutdown.cancel();
        Ok::<Duration, sqlx::Error>(started.elapsed())
    };
    let consume = messaging.consume(&[Topic::OrdersCompleted], Answering, shutdown.clone());
    let (consumed, took) = tokio::join!(consume, done);
    consumed?;
    Ok(took?)
}

async fn create_topics(kafka: &KafkaConfig) -> Result<(), Failure> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &kafka.bootstrap_servers).create()?;
    let name = format!("{}{}", kafka.topic_prefix, Topic::OrdersCompleted.name());
    let topic = NewTopic::new(&name, 3, TopicReplication::Fixed(1));
    for result in admin.create_topics([&topic], &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    Ok(())
}
