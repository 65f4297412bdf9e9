//! The outbox alone: events written in transactions of some hundreds, then published by one relay.

use std::time::{Duration, Instant};

use anyhow::Result;
use contract::{Envelope, Service, Topic};
use messaging::{KafkaConfig, Messaging, Metrics};
use prometheus::Registry;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::events;
use crate::report::{Better, Figure};
use crate::system::Backends;

/// Events per measurement, and per transaction: what a busy handler's batch leads to.
const EVENTS: usize = 200_000;
const PER_TRANSACTION: usize = 200;

/// Writes and publishes, `repeat` times.
pub(crate) async fn measure(repeat: usize) -> Result<Vec<Figure>> {
    eprintln!("outbox: starting a broker and a database");
    let backends = Backends::start()?;
    backends.create_topics(&[Topic::OrdersCompleted]).await?;
    let (_, pool) = backends.database("relay").await?;
    messaging::migrate(&pool).await?;
    let kafka = KafkaConfig::plaintext(backends.kafka.bootstrap(), "bench", "");
    let metrics = Metrics::register(&Registry::new())?;
    let messaging = Messaging::new(kafka, Service::Order, pool.clone(), &metrics)?;
    let (mut written, mut published) = (Vec::new(), Vec::new());
    for _ in 0..repeat {
        written.push(rate(append(&messaging, &pool).await?));
        published.push(rate(publish(&messaging, &pool).await?));
        eprintln!("  written {:.0}/s, published {:.0}/s", last(&written), last(&published));
    }
    Ok(vec![
        Figure::median("outbox, events written", "events/s", written, Better::Higher),
        Figure::median("outbox, events published and deleted", "events/s", published, Better::Higher),
    ])
}

fn last(rates: &[f64]) -> f64 {
    rates.last().copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn rate(took: Duration) -> f64 {
    EVENTS as f64 / took.as_secs_f64()
}

async fn append(messaging: &Messaging, pool: &PgPool) -> Result<Duration> {
    let started = Instant::now();
    for _ in 0..EVENTS.div_ceil(PER_TRANSACTION) {
        let batch: Vec<Envelope> =
            (0..PER_TRANSACTION).map(|_| events::completed()).collect::<Result<_>>()?;
        let mut tx = pool.begin().await?;
        messaging.outbox().append(&mut tx, &batch).await?;
        tx.commit().await?;
    }
    Ok(started.elapsed())
}

async fn publish(messaging: &Messaging, pool: &PgPool) -> Result<Duration> {
    let (started, shutdown) = (Instant::now(), CancellationToken::new());
    let emptied = async {
        while sqlx::query_scalar("SELECT EXISTS (SELECT FROM outbox)").fetch_one(pool).await? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shutdown.cancel();
        Ok::<Duration, sqlx::Error>(started.elapsed())
    };
    Ok(tokio::join!(messaging.relay(shutdown.clone()), emptied).1?)
}
