//! The consumer: a thread that fetches and commits, a task that handles, and a bounded queue between them.
//!
//! librdkafka is touched by the fetch thread alone. It polls all the time, so that the group never takes a
//! busy consumer for a dead one, and blocks nobody but itself. The task knows nothing of Kafka: it takes
//! batches and says which are done.

mod attempt;
mod decode;
mod fetch;
mod inbound;
mod process;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use contract::{Service, Topic};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::inbound::{Inbound, Stop};
use self::process::Processor;
use crate::codec::Codec;
use crate::metrics::ServiceMetrics;
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
    /// How many attempts an event gets whose error is transient, before it is dead-lettered.
    pub transient_attempts: u32,
    /// The wait after its first attempt; doubled after each further one.
    pub retry_first: Duration,
    /// The longest wait between two attempts, also while a dependency is unavailable.
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
            // With the waits below about 14 s in all: over a deployment's hiccup, and short of a saga's
            // deadline of 30 s.
            transient_attempts: 8,
            retry_first: Duration::from_millis(100),
            retry_most: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(15),
            inbox_retention: Duration::from_secs(21 * 24 * 3600),
        }
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
    let mut fetching = fetch::start(&wiring, topics, inbound.clone())?;
    let (pool, metrics, state) = (wiring.pool.clone(), wiring.metrics.clone(), wiring.state.clone());
    let retention = wiring.options.inbox_retention;
    let processor = Processor::new(wiring, handler, inbound.clone(), shutdown);

    let ended = tokio::select! {
        () = processor.run() => None,
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
