//! The front door: everything one service needs, wired once.

use std::sync::Arc;
use std::time::Duration;

use contract::{Service, Topic};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::codec::{Codec, JsonCodec};
use crate::consumer::{self, ConsumeError, ConsumerOptions, ConsumerState, Wiring};
use crate::metrics::ServiceMetrics;
use crate::outbox::{Relay, bell, relay};
use crate::producer::SetupError;
use crate::replay::{self, ReplayError};
use crate::{Handler, KafkaConfig, Metrics, Outbox, Producer};

/// The messaging of one service. Clones share everything.
#[derive(Clone)]
pub struct Messaging {
    kafka: KafkaConfig,
    service: Service,
    pool: PgPool,
    codec: Arc<dyn Codec>,
    producer: Producer,
    outbox: Outbox,
    metrics: ServiceMetrics,
    options: ConsumerOptions,
    state: watch::Sender<ConsumerState>,
    current: watch::Sender<bool>,
    relay_patience: Duration,
}

impl std::fmt::Debug for Messaging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messaging").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Messaging {
    /// Messaging in JSON for `service`, whose database is `pool`. Connects in the background: a broker that is
    /// away does not keep a service from starting. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The Kafka client refuses the configuration.
    pub fn new(
        kafka: KafkaConfig,
        service: Service,
        pool: PgPool,
        metrics: &Metrics,
    ) -> Result<Self, SetupError> {
        Self::with_codec(kafka, service, pool, Arc::new(JsonCodec), metrics)
    }

    /// As [`Messaging::new`], with events written and read by `codec`.
    ///
    /// # Errors
    /// The Kafka client refuses the configuration.
    pub fn with_codec(
        kafka: KafkaConfig,
        service: Service,
        pool: PgPool,
        codec: Arc<dyn Codec>,
        metrics: &Metrics,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            producer: Producer::new(&kafka, codec.clone())?,
            outbox: Outbox::new(codec.clone()),
            metrics: metrics.of(service),
            options: ConsumerOptions::default(),
            state: watch::Sender::new(ConsumerState::Starting),
            current: watch::Sender::new(false),
            relay_patience: relay::PATIENCE,
            kafka,
            service,
            pool,
            codec,
        })
    }

    /// The same, with other options for the consumer.
    #[must_use]
    pub fn with_options(mut self, options: ConsumerOptions) -> Self {
        self.options = options;
        self
    }

    /// The same, whose relay leaves its share to others when the broker has not answered it for so long.
    #[must_use]
    pub fn with_relay_patience(mut self, patience: Duration) -> Self {
        self.relay_patience = patience;
        self
    }

    /// Where code with a transaction of its own appends events.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// For events that belong to no transaction.
    #[must_use]
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// What the consumer is doing, for readiness.
    #[must_use]
    pub fn consumer_state(&self) -> watch::Receiver<ConsumerState> {
        self.state.subscribe()
    }

    /// Whether the consumer hears what happens: it has its place in the group, its brokers answer, and what was
    /// there some seconds ago is handled. Looked at every five seconds; false until then.
    #[must_use]
    pub fn is_current(&self) -> watch::Receiver<bool> {
        self.current.subscribe()
    }

    /// Hands the events of `topics` to `handler`, as the delivery contract says, until `shutdown`. Then it
    /// stops fetching, finishes the batch in hand (for at most [`ConsumerOptions::drain_timeout`]), commits
    /// and leaves the group. Inbox rows that are too old are removed meanwhile.
    ///
    /// # Errors
    /// Only what cannot be mended by waiting; the process should end and be started again.
    pub async fn consume<H: Handler>(
        &self,
        topics: &[Topic],
        handler: H,
        shutdown: CancellationToken,
    ) -> Result<(), ConsumeError> {
        let wiring = Wiring {
            group: self.service.consumer_group(&self.kafka.topic_prefix),
            kafka: self.kafka.clone(),
            service: self.service,
            pool: self.pool.clone(),
            codec: self.codec.clone(),
            producer: self.producer.clone(),
            outbox: self.outbox.clone(),
            metrics: self.metrics.clone(),
            options: self.options.clone(),
            state: self.state.clone(),
            current: self.current.clone(),
        };
        consumer::run(wiring, topics, handler, shutdown).await
    }

    /// Replays dead letters of the service; see [`replay`].
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn replay(&self, request: &replay::Request) -> Result<replay::Report, ReplayError> {
        let wiring = replay::Wiring {
            kafka: self.kafka.clone(),
            service: self.service,
            pool: self.pool.clone(),
            producer: self.producer.clone(),
        };
        replay::run(&wiring, request).await
    }

    /// Publishes the outbox until `shutdown`; it then finishes the rows in hand. Survives every outage. Run
    /// it in every replica: they share the work and take over from each other, also from one that the broker does not
    /// answer. End it after
    /// [`Messaging::consume`], so that what the last batch emitted leaves as well.
    pub async fn relay(&self, shutdown: CancellationToken) {
        self.new_relay().run(shutdown).await;
    }

    /// As [`Messaging::relay`], where processes that do not publish write to the outbox as well: what they
    /// [ring](Messaging::ring) for is published at once. It costs a connection to the database.
    pub async fn relay_for_others(&self, shutdown: CancellationToken) {
        self.new_relay().run_for_others(shutdown).await;
    }

    /// In place of [`Messaging::relay`], in a process that writes to the outbox and does not publish: tells those that
    /// do ([`Messaging::relay_for_others`]) of what was written, until `shutdown`.
    pub async fn ring(&self, shutdown: CancellationToken) {
        bell::ring_until(&self.pool, &self.outbox, &shutdown).await;
    }

    fn new_relay(&self) -> Relay {
        let (pool, metrics) = (self.pool.clone(), self.metrics.clone());
        Relay::new(pool, self.producer.clone(), self.outbox.clone(), metrics, self.relay_patience)
    }
}
