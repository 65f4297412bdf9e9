//! Streams: consume, transform and produce in Kafka transactions, with state that survives.
//!
//! # The contract
//! **Exactly once, from Kafka to Kafka.** What an [`Application`] makes of a record, the events it emits, the
//! state it keeps and the offset behind the record, all become visible together or not at all. A crash at any
//! point repeats the work and not the effect. Readers must read committed records only (librdkafka's default;
//! Java's is the other one). The contract ends at Kafka's edge: an application does no I/O.
//!
//! # How it goes
//! ```text
//! input ─▶ application ─▶ state in memory, per partition of the input
//!                             │ every 100 ms or 5,000 records, in one transaction:
//!                             ├─▶ changelog (compacted; the same partition number as the input's)
//!                             ├─▶ events
//!                             ├─▶ dead letters: what cannot be decoded
//!                             └─▶ offsets, fenced by the group's generation
//! ```
//! - A partition that is assigned is *restored* before it is read: its changelog is read to the end, and only
//!   then does it go on behind the last committed offset. An aborted transaction ends in the same way: all
//!   partitions are dropped and restored, so that memory is never ahead of what was committed.
//! - A partition that is taken away is committed first. One that is *lost* belongs to somebody else already:
//!   what was not committed is forgotten.
//! - Transactions are opened when there is something to commit and take milliseconds, so what a reader has to
//!   wait for is short, and a crash seldom leaves one open.
//!
//! # Names of instances
//! Each instance has a `transactional.id` of its own, made from its name. A name that survives a restart (of a
//! StatefulSet's pod) fences the transaction that its predecessor left open at once. With a name that is new at
//! every start (a Deployment's pod) nothing is counted twice either, because offsets are fenced by the group's
//! generation; but a transaction that was left open stands until the broker's coordinator gives it up
//! (`transaction.timeout.ms`, 30 s, and up to 10 s for the coordinator to look), and readers and the next owner
//! of its partitions wait for so long. Two instances of one name end each other.

mod application;
mod metrics;
mod rebalance;
mod restore;
mod schemas;
mod table;
mod task;
mod transaction;
mod watchdog;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use contract::{Envelope, Service, Topic};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::metrics::ServiceMetrics;
use self::schemas::Schemas;
use self::watchdog::Watchdog;
use self::worker::{Wiring, Worker};
use crate::EncodeError;
use crate::codec::{Codec, JsonCodec};
use crate::producer::{ClientError, SetupError};
use crate::record::Source;
use crate::{ConsumerState, KafkaConfig};

pub use self::application::{Application, Fate, StateChange, Yield};
pub use self::metrics::Metrics;

/// How long the last transaction may take at the end, before it is left for the next owner to repeat.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What engineers decide about a stream; the defaults are meant for production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsOptions {
    /// Most records per transaction. A transaction costs some 6 ms whatever is in it.
    pub batch_max: usize,
    /// The longest that a record waits for its transaction: what streams add to the latency.
    pub commit_interval: Duration,
    /// How long a partition must have been silent for its application to be told so ([`Application::rest`]).
    pub idle_after: Duration,
    /// How long one call of the Kafka client may block before it is taken for hung, which ends the stream. The
    /// time-outs of the calls themselves are shorter, but `rd_kafka_send_offsets_to_transaction` is known to
    /// overlook its own while the group's coordinator is away (librdkafka issue 5456).
    pub hung_after: Duration,
}

impl Default for StreamsOptions {
    fn default() -> Self {
        Self {
            batch_max: 5_000,
            commit_interval: Duration::from_millis(100),
            idle_after: Duration::from_secs(30),
            hung_after: Duration::from_secs(60),
        }
    }
}

/// Why a stream ended by itself: nothing that waiting could mend. Nothing was lost; another process goes on from
/// the last committed transaction.
#[derive(Debug, thiserror::Error)]
pub enum StreamsError {
    /// Nothing can be sent or received at all.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Somebody else opened the transactional id: a second instance of the same name, or the broker gave up a
    /// transaction that took too long.
    #[error("transactional id {transactional_id} was fenced; every instance needs a name of its own")]
    Fenced {
        /// The id.
        transactional_id: String,
        /// The client's words.
        #[source]
        source: ClientError,
    },
    /// The client cannot go on.
    #[error("the Kafka client failed for good")]
    Fatal(#[source] ClientError),
    /// A call did not return.
    #[error("the Kafka client did not return from {call} for {seconds} s")]
    Hung {
        /// The call.
        call: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The changelog holds what the application cannot read: that of another version, or of another program.
    #[error("state in {topic} cannot be restored")]
    State {
        /// The changelog.
        topic: String,
        /// What the application says.
        #[source]
        source: crate::Cause,
    },
    /// The application emits an event that cannot be written, and will again.
    #[error("an event cannot be written")]
    Event(#[from] EncodeError),
    /// There is no thread for it.
    #[error("could not start the stream's thread")]
    Thread(#[source] io::Error),
    /// Its thread is gone.
    #[error("the stream's thread panicked")]
    Lost,
}

/// The streams of one service's instance. Clones share everything.
#[derive(Clone)]
pub struct Streams {
    kafka: KafkaConfig,
    service: Service,
    instance: String,
    codec: Arc<dyn Codec>,
    metrics: ServiceMetrics,
    options: StreamsOptions,
    state: watch::Sender<ConsumerState>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("service", &self.service)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Streams {
    /// Streams in JSON for `service`; `instance` names this one among all that run (see the module's text).
    #[must_use]
    pub fn new(kafka: KafkaConfig, service: Service, instance: &str, metrics: &Metrics) -> Self {
        Self {
            kafka,
            service,
            instance: instance.to_owned(),
            codec: Arc::new(JsonCodec),
            metrics: metrics.of(service),
            options: StreamsOptions::default(),
            state: watch::Sender::new(ConsumerState::Starting),
        }
    }

    /// The same, with events written and read by `codec`.
    #[must_use]
    pub fn with_codec(mut self, codec: Arc<dyn Codec>) -> Self {
        self.codec = codec;
        self
    }

    /// The same, with other options.
    #[must_use]
    pub fn with_options(mut self, options: StreamsOptions) -> Self {
        self.options = options;
        self
    }

    /// What [`Streams::run`] is doing, for readiness.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConsumerState> {
        self.state.subscribe()
    }

    /// Runs `application` until `shutdown`; it then commits what it has, and leaves the group.
    ///
    /// # Errors
    /// Only what cannot be mended by waiting; the process should end and be started again.
    pub async fn run<A: Application>(
        &self,
        application: A,
        shutdown: CancellationToken,
    ) -> Result<(), StreamsError> {
        let (stop, watchdog) = (Stop::default(), Watchdog::new(self.options.hung_after));
        // If this future is dropped, the thread must not outlive it, and must not commit either.
        let abort = AbortOnDrop(stop.clone());
        let full_name = |topic: Topic| format!("{}{topic}", self.kafka.topic_prefix);
        let input = application.input();
        let wiring = Wiring {
            input: Source { topic: input, name: full_name(input).into(), partition: 0 },
            changelog: full_name(application.changelog()),
            dead_letters: full_name(self.service.dead_letter_topic()),
            group: self.service.consumer_group(&self.kafka.topic_prefix),
            transactional_id: self.service.transactional_id(&self.kafka.topic_prefix, &self.instance),
            kafka: self.kafka.clone(),
            codec: self.codec.clone(),
            schemas: Schemas::new(self.codec.clone(), stop.clone()),
            metrics: self.metrics.clone(),
            options: self.options.clone(),
            state: self.state.clone(),
            stop: stop.clone(),
            watchdog: watchdog.clone(),
        };
        let mut thread = spawn(self.service, move || Worker::run(wiring, application))?;
        let ended = tokio::select! {
            ended = &mut thread => ended.unwrap_or(Err(StreamsError::Lost)),
            hung = watchdog.bark() => Err(hung),
            () = shutdown.cancelled() => {
                stop.ask(StopHow::Committing);
                tokio::time::timeout(DRAIN_TIMEOUT, thread).await.map_or_else(
                    |_elapsed| {
                        tracing::warn!("the last transaction did not end in time; another instance repeats it");
                        Ok(())
                    },
                    |ended| ended.unwrap_or(Err(StreamsError::Lost)),
                )
            }
        };
        drop(abort);
        self.state.send_replace(ConsumerState::Stopped);
        ended
    }

    /// Reads all of `topic`, from its first record on and as long as it runs, in every instance: `take` gets
    /// each event as it is committed, those of one key in order. `caught_up` becomes true once everything was
    /// read that was there at the start. What cannot be decoded is logged and left out.
    ///
    /// # Errors
    /// Only what cannot be mended by waiting.
    pub async fn read_table(
        &self,
        topic: Topic,
        take: impl FnMut(Envelope) + Send + 'static,
        caught_up: watch::Sender<bool>,
        shutdown: CancellationToken,
    ) -> Result<(), StreamsError> {
        let stop = Stop::default();
        let abort = AbortOnDrop(stop.clone());
        let reader = table::Reader::start(&self.kafka, self.service, topic, self.codec.clone(), stop)?;
        let thread = spawn(self.service, move || reader.run(take, &caught_up))?;
        let ended = tokio::select! {
            ended = thread => ended.unwrap_or(Err(StreamsError::Lost)),
            () = shutdown.cancelled() => Ok(()),
        };
        drop(abort);
        ended
    }
}

type Ended = oneshot::Receiver<Result<(), StreamsError>>;

/// Starts a thread of `service`: the client blocks whoever calls it.
fn spawn(
    service: Service,
    work: impl FnOnce() -> Result<(), StreamsError> + Send + 'static,
) -> Result<Ended, StreamsError> {
    let (ended, wait) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("streams-{service}"))
        // Nobody listens if the future was dropped.
        .spawn(move || drop(ended.send(work())))
        .map_err(StreamsError::Thread)?;
    Ok(wait)
}

/// How a thread is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopHow {
    /// Commit what there is, then leave.
    Committing,
    /// Leave as if the process had died.
    Aborting,
}

/// Tells a thread to end.
#[derive(Clone, Default)]
struct Stop(Arc<AtomicU8>);

impl Stop {
    fn ask(&self, how: StopHow) {
        let code = match how {
            StopHow::Committing => 1,
            StopHow::Aborting => 2,
        };
        // Aborting outdoes committing: nobody waits any more.
        self.0.fetch_max(code, Ordering::SeqCst);
    }

    fn asked(&self) -> Option<StopHow> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(StopHow::Committing),
            _ => Some(StopHow::Aborting),
        }
    }
}

struct AbortOnDrop(Stop);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.ask(StopHow::Aborting);
    }
}
