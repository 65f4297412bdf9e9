//! How many orders per second the sales analytics count: from the topic, through transactions with state and rows,
//! to committed offsets, against a broker on this machine.
//! `cargo run --release -p orders --example streams_rate -- [orders] [json]`

use std::time::{Duration, Instant};

use contract::{
    Address, Contact, Currency, Envelope, Money, OrderConfirmed, OrderDetails, OrderId, OrderItem, Service,
};
use devcluster::testing;
use domain::windows::Tumbling;
use jiff::{SignedDuration, Timestamp};
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin, Mode, NewTopic, TopicName};
use messaging::streams::{self, Streams};
use messaging::{KafkaConfig, Messaging};
use orders::order_analytics::SalesCounting;
use prometheus::Registry;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const PRODUCTS: usize = 100;
const PARTITIONS: u32 = 3;
const BATCH: usize = 2_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let orders: usize = std::env::args().nth(1).map_or(Ok(300_000), |count| count.parse())?;
    let as_json = std::env::args().nth(2).is_some_and(|form| form == "json");
    let took = measure(orders).await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let rate = orders as f64 / took.as_secs_f64();
    if as_json {
        let detail = serde_json::json!({"orders": orders, "seconds": took.as_secs_f64()});
        let (name, unit) = ("streams windowed counts", "orders/s");
        let entry = serde_json::json!(
            {"name": name, "unit": unit, "value": rate.round(), "better": "higher", "detail": detail}
        );
        println!("{entry}");
    } else {
        println!("windowed counts: {rate:.0} orders/s ({orders} in {took:.2?})");
    }
    Ok(())
}

/// How long it takes to count `orders` that stand in the topic already.
async fn measure(orders: usize) -> Result<Duration, Failure> {
    let kafka = KafkaConfig::plaintext(
        tokio::task::block_in_place(|| testing::kafka().bootstrap().to_owned()),
        "streams-rate",
        format!("{}.", testing::unique("streams-rate")),
    );
    create_topics(&kafka).await?;
    publish(&kafka, orders).await?;

    let registry = Registry::new();
    let streams =
        Streams::new(kafka, Service::OrderAnalytics, "rate", &streams::Metrics::register(&registry)?);
    let hours = Tumbling::new(SignedDuration::from_hours(1), SignedDuration::from_hours(1))?;
    let (stop, mut state) = (CancellationToken::new(), streams.state());
    let done = async {
        // Joining the group takes seconds and is no work.
        state.wait_for(|state| *state == messaging::ConsumerState::Running).await?;
        let started = Instant::now();
        while counted(&registry) < orders {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        Ok::<Duration, Failure>(started.elapsed())
    };
    let (ran, took) = tokio::join!(streams.run(SalesCounting::new(hours), stop.clone()), done);
    ran?;
    took
}

/// How many records were committed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of records")]
fn counted(registry: &Registry) -> usize {
    let families = registry.gather();
    let records = families.iter().filter(|family| family.name() == "kafka_streams_records_total");
    records.flat_map(|family| family.get_metric()).map(|metric| metric.get_counter().get_value()).sum::<f64>()
        as usize
}

async fn create_topics(kafka: &KafkaConfig) -> Result<(), Failure> {
    let admin = KafkaAdmin::connect(&ConnectOptions::plaintext(&kafka.bootstrap_servers))?;
    let spec = Service::OrderAnalytics.spec();
    let mut topics = Vec::new();
    for topic in spec.consumes.iter().chain(spec.produces) {
        let name: TopicName = format!("{}{topic}", kafka.topic_prefix).parse()?;
        topics.push(NewTopic::named(name).partitions(PARTITIONS).replicas(1));
    }
    for created in admin.create_topics(&topics, Mode::Apply).await {
        created?;
    }
    Ok(())
}

async fn publish(kafka: &KafkaConfig, orders: usize) -> Result<(), Failure> {
    // Only its producer is used, and that needs no database.
    let pool = PgPool::connect_lazy("postgres://unused")?;
    let metrics = messaging::Metrics::register(&Registry::new())?;
    let messaging = Messaging::new(kafka.clone(), Service::Order, pool, &metrics)?;
    for first in (0..orders).step_by(BATCH) {
        let batch: Vec<Envelope> =
            (first..orders.min(first + BATCH)).map(confirmed).collect::<Result<_, _>>()?;
        messaging.producer().publish(&batch).await?;
    }
    Ok(())
}

fn confirmed(number: usize) -> Result<Envelope, Failure> {
    let items = vec![OrderItem {
        product_id: format!("product-{}", number % PRODUCTS).parse()?,
        quantity: 2,
        unit_price_minor: 899,
    }];
    let customer = Contact {
        customer_id: "C-1".parse()?,
        first_name: "Ada".to_owned(),
        last_name: "Lovelace".to_owned(),
        email: Some("ada@example.com".to_owned()),
        phone: None,
    };
    let total = Money::new(1798, Currency::USD);
    let details = OrderDetails { customer, ship_to: Address::default(), items, total };
    let order_id = OrderId::new(uuid::Uuid::now_v7());
    Ok(Envelope::new(OrderConfirmed { order_id, details }.into(), "rate".parse()?, Timestamp::now()))
}
