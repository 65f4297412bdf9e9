//! The outbox alone: events written in transactions of some hundreds, then published by one relay. Once packed, as a
//! busy handler's batch leaves them, and once in a row each, as events leave that have a transaction to themselves.

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
/// Rows of one event per measurement. They are written in larger transactions, which the relay does not see.
const ROWS: usize = 50_000;

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
    let (mut written, mut published, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeat {
        written.push(rate(EVENTS, append(&messaging, &pool, EVENTS, PER_TRANSACTION).await?));
        published.push(rate(EVENTS, publish(&messaging, &pool).await?));
        append(&messaging, &pool, ROWS, 1).await?;
        rows.push(rate(ROWS, publish(&messaging, &pool).await?));
        let (written, published, rows) = (last(&written), last(&published), last(&rows));
        eprintln!("  written {written:.0}/s, published {published:.0}/s, rows of one event {rows:.0}/s");
    }
    Ok(vec![
        Figure::median("outbox, events written", "events/s", written, Better::Higher),
        Figure::median("outbox, events published and deleted", "events/s", published, Better::Higher),
        Figure::median("outbox, rows of one event published", "rows/s", rows, Better::Higher),
    ])
}

fn last(rates: &[f64]) -> f64 {
    rates.last().copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Writes `count` events, `together` at a time.
async fn append(messaging: &Messaging, pool: &PgPool, count: usize, together: usize) -> Result<Duration> {
    let started = Instant::now();
    for _ in 0..count.div_ceil(PER_TRANSACTION) {
        let batch: Vec<Envelope> =
            (0..PER_TRANSACTION).map(|_| events::completed()).collect::<Result<_>>()?;
        let mut tx = pool.begin().await?;
        for some in batch.chunks(together) {
            messaging.outbox().append(&mut tx, some).await?;
        }
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
