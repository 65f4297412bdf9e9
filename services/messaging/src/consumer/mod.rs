//! The consumer: a thread that fetches and commits, a task that handles, a bounded queue between them, and
//! workers that try parked events again.
//!
//! librdkafka is touched by the fetch thread alone. It polls all the time, so that the group never takes a
//! busy consumer for a dead one, and blocks nobody but itself. The task knows nothing of Kafka: it takes
//! batches and says which are done.

mod attempt;
mod dead_letters;
pub(crate) mod decode;
mod fetch;
mod inbound;
mod process;
mod retrier;
mod standing;
mod verdict;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use contract::{Service, Topic};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::attempt::Attempt;
use self::dead_letters::DeadLetters;
use self::inbound::{Inbound, Stop};
use self::process::Processor;
use self::retrier::Retrier;
use self::waits::{Shown, Waits};
use crate::backoff::Backoff;
use crate::codec::Codec;
use crate::metrics::ServiceMetrics;
use crate::parking::Parking;
use crate::producer::{ClientError, SetupError};
use crate::{Handler, KafkaConfig, Outbox, Producer, inbox};

/// How long leaving the group may take after the last commit. It is a courtesy: others would otherwise wait
/// for the session to end.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What engineers decide about a consumer; the defaults are meant for production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// Most records per batch. Batches are as large as what arrived while the last one was handled, so this
    /// only bounds a transaction's size under backlog.
    pub batch_max: usize,
    /// How long one attempt at a batch may take before it is rolled back: a connection that hangs, a lock
    /// that is never released.
    pub attempt_timeout: Duration,
    /// How many attempts an event gets whose error is transient, before it is dead-lettered. Between them it
    /// is parked, and its key with it.
    pub transient_attempts: u32,
    /// The wait after its first attempt; doubled after each further one.
    pub parked_first: Duration,
    /// The longest wait between two of its attempts.
    pub parked_most: Duration,
    /// The first wait for a dependency that is unavailable; doubled after each further one.
    pub retry_first: Duration,
    /// The longest wait for a dependency that is unavailable.
    pub retry_most: Duration,
    /// How long a shutdown waits for the batch in hand before it is rolled back and left to others.
    pub drain_timeout: Duration,
    /// How long handled events are remembered. Longer than any topic keeps them (seven days; dead letters
    /// fourteen), so that whatever can still arrive is still known.
    pub inbox_retention: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            batch_max: 500,
            attempt_timeout: Duration::from_secs(30),
            // With the waits below about 80 s in all: over a deployment or the failover of whatever is at
            // fault. Only events of the same key wait for it.
            transient_attempts: 10,
            parked_first: Duration::from_millis(200),
            parked_most: Duration::from_secs(60),
            retry_first: Duration::from_millis(100),
            retry_most: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(15),
            inbox_retention: Duration::from_secs(21 * 24 * 3600),
        }
    }
}

impl ConsumerOptions {
    /// How long an event is parked after its `attempts`th attempt (from 1).
    pub(crate) fn parked_wait(&self, attempts: u32) -> Duration {
        Backoff::after(self.parked_first, self.parked_most, attempts.saturating_sub(1))
    }
}

/// What a consumer is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerState {
    /// It has not joined its group yet.
    Starting,
    /// It handles what arrives.
    Running,
    /// It waits for something without which no event can be handled.
    Waiting {
        /// What for.
        reason: String,
    },
    /// It has ended.
    Stopped,
}

/// Why a consumer ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// It could not be set up.
    #[error("could not set up the consumer")]
    Setup(#[from] SetupError),
    /// The system gave no thread to fetch with.
    #[error("could not start the fetch thread")]
    Thread(#[source] std::io::Error),
    /// The client is in a state from which it cannot recover.
    #[error("the Kafka client failed for good")]
    Fatal(#[source] ClientError),
    /// The fetch thread is gone without having said why.
    #[error("the fetch thread ended unexpectedly")]
    Lost,
}

/// Everything a consumer is connected to.
pub(crate) struct Wiring {
    pub(crate) group: String,
    pub(crate) kafka: KafkaConfig,
    pub(crate) service: Service,
    pub(crate) pool: PgPool,
    pub(crate) codec: Arc<dyn Codec>,
    pub(crate) producer: Producer,
    pub(crate) outbox: Outbox,
    pub(crate) metrics: ServiceMetrics,
    pub(crate) options: ConsumerOptions,
    pub(crate) state: watch::Sender<ConsumerState>,
    pub(crate) current: watch::Sender<bool>,
}

/// Consumes until `shutdown`, or until the client fails for good.
pub(crate) async fn run<H: Handler>(
    wiring: Wiring,
    topics: &[Topic],
    handler: H,
    shutdown: CancellationToken,
) -> Result<(), ConsumeError> {
    let inbound = Arc::new(Inbound::new(wiring.options.batch_max));
    // If this future is dropped, the thread must not outlive it, and must not commit either.
    let abort = AbortOnDrop(inbound.clone());
    let parking = Arc::new(Parking::new(wiring.pool.clone(), wiring.service.name(), topics));
    let mut fetching = fetch::start(&wiring, topics, inbound.clone(), parking.clone())?;
    let (pool, metrics, state) = (wiring.pool.clone(), wiring.metrics.clone(), wiring.state.clone());
    let retention = wiring.options.inbox_retention;
    let (processor, retrier) = workers(wiring, handler, inbound.clone(), parking, &shutdown);

    let ended = tokio::select! {
        _ = async { tokio::join!(processor.run(), retrier.run()) } => None,
        never = inbox::keep_clean(&pool, retention, &metrics) => match never {},
        ended = &mut fetching => Some(ended),
    };
    let result = match ended {
        Some(ended) => ended.unwrap_or(Err(ConsumeError::Lost)),
        None => {
            inbound.stop(Stop::Committing);
            match tokio::time::timeout(LEAVE_TIMEOUT, fetching).await {
                Ok(ended) => ended.unwrap_or(Err(ConsumeError::Lost)),
                Err(_) => {
                    tracing::warn!("the consumer could not leave its group in time; others take over later");
                    Ok(())
                }
            }
        }
    };
    drop(abort);
    state.send_replace(ConsumerState::Stopped);
    result
}

/// Those that see events to their end: as they come, and once more.
fn workers<H: Handler>(
    wiring: Wiring,
    handler: H,
    inbound: Arc<Inbound>,
    parking: Arc<Parking>,
    shutdown: &CancellationToken,
) -> (Processor<H>, Retrier<H>) {
    let Wiring { pool, codec, producer, metrics, options, .. } = wiring;
    let attempt = Arc::new(Attempt {
        handler,
        pool,
        outbox: wiring.outbox,
        parking,
        consumer: wiring.service.name(),
        timeout: options.attempt_timeout,
    });
    let dead_letters = Arc::new(DeadLetters {
        producer: producer.clone(),
        topic: producer.full_name(wiring.service.dead_letter_topic().name()),
        group: wiring.group,
        metrics: metrics.clone(),
        waits: (options.retry_first, options.retry_most),
    });
    let shown = Shown { inbound: inbound.clone(), metrics: metrics.clone(), state: wiring.state };
    let processor = Processor {
        attempt: attempt.clone(),
        dead_letters: dead_letters.clone(),
        waits: Waits::shown(shutdown.clone(), shown),
        inbound,
        codec: codec.clone(),
        metrics: metrics.clone(),
        options: options.clone(),
    };
    let waits = Waits::aside(shutdown.clone());
    (processor, Retrier { attempt, dead_letters, waits, codec, producer, metrics, options })
}

struct AbortOnDrop(Arc<Inbound>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.stop(Stop::Aborting);
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
