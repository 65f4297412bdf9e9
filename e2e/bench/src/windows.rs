//! Windowed counts: confirmed orders that stand in their topic already, counted by hour and product through Kafka
//! transactions, state and changelog to committed offsets.

use std::time::{Duration, Instant};

use anyhow::Result;
use contract::{Envelope, Service};
use domain::windows::Tumbling;
use jiff::SignedDuration;
use messaging::streams::{self, Streams};
use messaging::{ConsumerState, KafkaConfig, Messaging, Metrics};
use orders::order_analytics::SalesCounting;
use prometheus::Registry;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::events;
use crate::report::{Better, Figure};
use crate::system::Backends;

/// Orders per measurement, and published so many at a time.
const ORDERS: usize = 300_000;
const BATCH: usize = 2_000;

/// Counts, `repeat` times, on a fresh broker each.
pub(crate) async fn measure(repeat: usize) -> Result<Vec<Figure>> {
    let mut rates = Vec::new();
    for round in 1..=repeat {
        eprintln!("windowed counts, round {round} of {repeat}: publishing {ORDERS} orders");
        let rate = rate(count().await?);
        eprintln!("  {rate:.0} orders/s");
        rates.push(rate);
    }
    Ok(vec![Figure::median("windowed counts", "orders/s", rates, Better::Higher)])
}

#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn rate(took: Duration) -> f64 {
    ORDERS as f64 / took.as_secs_f64()
}

/// How long it takes to count all orders.
async fn count() -> Result<Duration> {
    let backends = Backends::start()?;
    let spec = Service::OrderAnalytics.spec();
    backends.create_topics(&[spec.consumes, spec.produces].concat()).await?;
    let kafka = KafkaConfig::plaintext(backends.kafka.bootstrap(), "bench", "");
    publish(&kafka).await?;

    let registry = Registry::new();
    let metrics = streams::Metrics::register(&registry)?;
    let streams = Streams::new(kafka, Service::OrderAnalytics, "bench", &metrics);
    let hours = Tumbling::new(SignedDuration::from_hours(1), SignedDuration::from_hours(1))?;
    let (stop, mut state) = (CancellationToken::new(), streams.state());
    let counted = async {
        // Joining the group takes seconds and is no work.
        state.wait_for(|state| *state == ConsumerState::Running).await?;
        let started = Instant::now();
        while committed(&registry) < ORDERS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        Ok(started.elapsed())
    };
    let (ran, took) = tokio::join!(streams.run(SalesCounting::new(hours), stop.clone()), counted);
    ran?;
    took
}

/// How many records were committed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of records")]
fn committed(registry: &Registry) -> usize {
    let families = registry.gather();
    let records = families.iter().filter(|family| family.name() == "kafka_streams_records_total");
    let counts =
        records.flat_map(|family| family.get_metric()).map(|metric| metric.get_counter().get_value());
    counts.sum::<f64>() as usize
}

async fn publish(kafka: &KafkaConfig) -> Result<()> {
    // Only its producer is used, and that needs no database.
    let pool = PgPool::connect_lazy("postgres://unused")?;
    let messaging =
        Messaging::new(kafka.clone(), Service::Order, pool, &Metrics::register(&Registry::new())?)?;
    for first in (0..ORDERS).step_by(BATCH) {
        let numbers = first..ORDERS.min(first + BATCH);
        let batch = numbers.map(events::confirmed).collect::<Result<Vec<Envelope>>>()?;
        messaging.producer().publish(&batch).await?;
    }
    Ok(())
}
