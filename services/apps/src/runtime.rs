//! Boots services and takes them down again, the same way for every role.
//!
//! Up: configuration → admin port → database → migrations (sqlx's advisory lock makes replicas wait for each
//! other) → schemas, where events are in Avro → messaging → service → HTTP → ready. Down: not ready → requests
//! and events come to rest → loops end → the outbox is published → the group and the process are left. A failure
//! of any part takes the process down, so that Kubernetes starts it again and says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contract::Service;
use futures::FutureExt;
use messaging::streams::{self, Streams};
use messaging::{ConsumerState, Messaging};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Exposition};
use crate::auth::Guard;
use crate::config::{Config, ServiceParts};
use crate::database;
use crate::health::{self, Check, Health, Phase};
use crate::http;
use crate::provider::simulator::{self, Simulators};
use crate::service::{self, Context, Parts, Role, StreamContext, StreamRole};
use crate::stage::Stage;
use crate::telemetry::LogLevel;

/// How long a query waits for a connection: shorter than any caller waits for an answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two attempts to reach a database that is not there yet.
const CONNECT_RETRY: Duration = Duration::from_secs(1);

/// How long the outbox may take to empty on the way down. What is left is published by another replica, or
/// by the next process.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// How often the runtime says that it is alive, and how long it may be silent.
const TICK: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(30);

/// What every service of a process shares while it is started.
pub struct Start {
    config: Arc<Config>,
    health: Health,
    exposition: Exposition,
    simulators: Simulators,
    messaging_metrics: messaging::Metrics,
    streams_metrics: streams::Metrics,
    http_metrics: http::Metrics,
    guard: Option<Guard>,
    /// Several services in this process: each has its own port and database.
    together: bool,
}

/// A service that runs.
pub struct Running {
    service: Service,
    http: Option<SocketAddr>,
    /// None: a service of streams, which has no database.
    pool: Option<PgPool>,
    front: Stage,
    loops: Stage,
    relay: Stage,
}

/// A process with its services, ready for work.
pub struct Process {
    config: Arc<Config>,
    health: Health,
    services: Vec<Running>,
    admin: Stage,
    admin_address: SocketAddr,
}

impl Process {
    /// Starts `services` in this process and waits until they take work.
    ///
    /// # Errors
    /// The configuration is invalid, an address is taken, or a database cannot be migrated. A database or a
    /// broker that is not there yet is waited for.
    pub async fn start(config: Config, services: &[Service], log_level: LogLevel) -> Result<Self> {
        messaging::install_tls_provider();
        config.validate(services).context("the configuration is invalid")?;
        let config = Arc::new(config);
        let (health, exposition) = (Health::default(), Exposition::default());
        let simulators = Simulators::default();
        let mut admin = Stage::default();
        let listener = bind(config.admin_addr).await?;
        let admin_address = listener.local_addr()?;
        let routes = admin::router(health.clone(), exposition.clone(), log_level)
            .merge(simulator::routes(simulators.clone()));
        let serving = http::serve(listener, routes, admin.stop.clone());
        admin.spawn("admin port".to_owned(), async move { Ok(serving.await?) });
        admin.spawn("ticker".to_owned(), tick(health.clone(), admin.stop.clone()));
        tracing::info!(address = %admin_address, "probes and metrics are served at {admin_address}");

        let start = Start {
            messaging_metrics: messaging::Metrics::register(exposition.registry())?,
            streams_metrics: streams::Metrics::register(exposition.registry())?,
            http_metrics: http::Metrics::register(exposition.registry())?,
            guard: config.jwt.trust()?.map(|trust| Guard::new(&trust)).transpose()?,
            together: services.len() > 1,
            config: config.clone(),
            health: health.clone(),
            exposition,
            simulators,
        };
        let mut running = Vec::new();
        for service in services {
            let started = service::start(*service, &start).await;
            running.push(started.with_context(|| format!("could not start the {service} service"))?);
        }
        health.enter(Phase::Serving);
        tracing::info!("the process is ready for work");
        Ok(Self { config, health, services: running, admin, admin_address })
    }

    /// Where the public API of `service` is served.
    pub fn http_address(&self, service: Service) -> Option<SocketAddr> {
        self.services.iter().find(|running| running.service == service)?.http
    }

    /// Where probes and metrics are served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Runs until `stop`, then drains.
    ///
    /// # Errors
    /// A part of the process failed; the rest was drained.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let outcome = tokio::select! {
            () = stop => Ok(()),
            error = self.failure() => Err(error),
        };
        self.drain().await;
        outcome
    }

    async fn failure(&mut self) -> anyhow::Error {
        let stages = self
            .services
            .iter_mut()
            .flat_map(|running| [&mut running.front, &mut running.loops, &mut running.relay])
            .chain([&mut self.admin]);
        let failures: Vec<_> = stages.map(|stage| stage.failure().boxed()).collect();
        futures::future::select_all(failures).await.0
    }

    async fn drain(&mut self) {
        let drain = self.config.drain;
        tracing::info!("the process stops taking work");
        self.health.enter(Phase::Draining);
        tokio::time::sleep(drain.delay).await;
        let deadline = Instant::now() + drain.timeout;
        // Requests and events first: what they write still needs the loops (which answer them) and the relay.
        self.drain_each(|running| &mut running.front, deadline).await;
        self.drain_each(|running| &mut running.loops, deadline).await;
        let pools = self.services.iter().filter_map(|running| running.pool.as_ref());
        // Where others publish, there is nothing to wait for.
        let published = pools.clone().filter(|_| self.config.parts.has_events());
        futures::future::join_all(published.map(|pool| flush(pool, deadline))).await;
        self.drain_each(|running| &mut running.relay, deadline).await;
        let pools = self.services.iter().filter_map(|running| running.pool.as_ref());
        futures::future::join_all(pools.map(PgPool::close)).await;
        self.admin.drain(deadline).await;
        tracing::info!("the process has stopped");
    }

    async fn drain_each(&mut self, stage: fn(&mut Running) -> &mut Stage, deadline: Instant) {
        let stages = self.services.iter_mut().map(|running| stage(running).drain(deadline));
        futures::future::join_all(stages).await;
    }
}

impl Start {
    /// Starts the service `R`.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn role<R: Role>(&self) -> Result<Running> {
        let service = R::SERVICE;
        let (mut front, mut loops, mut relay) = (Stage::default(), Stage::default(), Stage::default());
        let pool = self.connect(service).await?;
        messaging::migrate(&pool).await.context("could not migrate the tables of messaging")?;
        R::migrations().run(&pool).await.context("could not migrate the service's tables")?;
        let messaging = self.messaging(service, &pool).await?;
        let context = Context {
            config: self.config.clone(),
            pool: pool.clone(),
            messaging: messaging.clone(),
            exposition: self.exposition.clone(),
            health: self.health.clone(),
            simulators: self.simulators.clone(),
            closing: front.stop.clone(),
            shutdown: loops.stop.clone(),
        };
        let Parts { handler, routes, tasks } = R::build(&context).await?;
        for task in tasks {
            loops.spawn(format!("{service}: {}", task.name), task.run.map(Ok));
        }
        self.publish(service, messaging.clone(), &mut relay);
        if self.config.parts.has_events() {
            let (topics, stop) = (service.subscriptions(&self.config.saga_steps), front.stop.clone());
            front.spawn(format!("{service}: consumer"), async move {
                Ok(messaging.consume(&topics, handler, stop).await?)
            });
        }
        let http = self.serve(service, routes, &mut front).await?;
        Ok(Running { service, http, pool: Some(pool), front, loops, relay })
    }

    /// Has what is written to the outbox published, by this process or by one that runs what happens to events.
    fn publish(&self, service: Service, messaging: Messaging, relay: &mut Stage) {
        let stop = relay.stop.clone();
        match self.config.parts {
            ServiceParts::All => {
                relay.spawn(format!("{service}: relay"), async move { messaging.relay(stop).map(Ok).await });
            }
            ServiceParts::Events => {
                let publishing = async move { messaging.relay_for_others(stop).map(Ok).await };
                relay.spawn(format!("{service}: relay"), publishing);
            }
            ServiceParts::Api => {
                relay.spawn(format!("{service}: bell"), async move { messaging.ring(stop).map(Ok).await });
            }
        }
    }

    /// Starts the service `R` of streams.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn stream<R: StreamRole>(&self) -> Result<Running> {
        let service = R::SERVICE;
        let (mut front, mut loops) = (Stage::default(), Stage::default());
        let kafka = self.config.kafka.connection(&format!("orders-{service}"))?;
        let codec = self.config.events.codec(service, &kafka.topic_prefix, &self.health).await?;
        let streams =
            Streams::new(kafka, service, &self.config.instance(), &self.streams_metrics).with_codec(codec);
        let context = StreamContext {
            config: self.config.clone(),
            streams: streams.clone(),
            health: self.health.clone(),
            shutdown: loops.stop.clone(),
        };
        let Parts { handler, routes, tasks } = R::build(&context)?;
        for task in tasks {
            loops.spawn(format!("{service}: {}", task.name), task.run.map(Ok));
        }
        if self.config.parts.has_events() {
            self.health.depend_on(format!("{service}.stream"), consumer(streams.state()));
            let stop = front.stop.clone();
            front.spawn(format!("{service}: stream"), async move { Ok(streams.run(handler, stop).await?) });
        }
        let http = self.serve(service, routes, &mut front).await?;
        Ok(Running { service, http, pool: None, front, loops, relay: Stage::default() })
    }

    async fn connect(&self, service: Service) -> Result<PgPool> {
        let ca_file = self.config.database_ca_file.as_deref();
        let mut options = database::options(self.config.database_url()?, ca_file).context("DATABASE_URL")?;
        if self.together {
            let name = format!("{}_{service}", options.get_database().unwrap_or("orders"));
            crate::prepare_database::create_if_missing(&options, &name).await?;
            options = options.database(&name);
        }
        let options = options.application_name(&format!("orders {service}"));
        let pool = PgPoolOptions::new()
            .max_connections(self.config.database_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        while let Err(error) = pool.acquire().await {
            tracing::warn!(error = %error, "the database of the {service} service is not there yet");
            tokio::time::sleep(CONNECT_RETRY).await;
        }
        self.health.depend_on(format!("{service}.database"), health::database(pool.clone()));
        Ok(pool)
    }

    async fn messaging(&self, service: Service, pool: &PgPool) -> Result<Messaging> {
        let kafka = self.config.kafka.connection(&format!("orders-{service}"))?;
        let codec = self.config.events.codec(service, &kafka.topic_prefix, &self.health).await?;
        let messaging = Messaging::with_codec(kafka, service, pool.clone(), codec, &self.messaging_metrics)?;
        if self.config.parts.has_events() {
            self.health.depend_on(format!("{service}.consumer"), consumer(messaging.consumer_state()));
        }
        Ok(messaging)
    }

    /// Serves `routes`, where there are any and the API is this process's part; answers with the address.
    async fn serve(
        &self,
        service: Service,
        routes: Option<axum::Router>,
        front: &mut Stage,
    ) -> Result<Option<SocketAddr>> {
        let Some(routes) = routes.filter(|_| self.config.parts.has_api()) else { return Ok(None) };
        let mut address = self.config.http_addr;
        // Port 0 lets the system choose, for each service anew.
        if self.together && address.port() != 0 {
            address.set_port(service.spec().dev_port);
        }
        let listener = bind(address).await?;
        let address = listener.local_addr()?;
        let routes = http::public(service, routes, &self.http_metrics, self.guard.as_ref());
        let serving = http::serve(listener, routes, front.stop.clone());
        front.spawn(format!("{service}: http"), async move { Ok(serving.await?) });
        tracing::info!(address = %address, "the {service} service is served at {address}");
        Ok(Some(address))
    }
}

/// The consumer is ready once it has joined its group, and while nothing keeps it from handling events.
fn consumer(state: watch::Receiver<ConsumerState>) -> Check {
    Arc::new(move || {
        let state = state.borrow().clone();
        std::future::ready(match state {
            ConsumerState::Running => Ok(()),
            ConsumerState::Starting => Err("has not joined its group yet".to_owned()),
            ConsumerState::Waiting { reason } => Err(format!("waits: {reason}")),
            ConsumerState::Stopped => Err("has stopped".to_owned()),
        })
        .boxed()
    })
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("could not listen on {address}"))
}

/// Beats while the scheduler gives tasks their turn: a process whose threads are all blocked falls silent.
async fn tick(health: Health, stop: CancellationToken) -> Result<()> {
    let pulse = health.watch("scheduler", SILENCE);
    while !stop.is_cancelled() {
        pulse.beat();
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// Waits until the outbox is empty: the relay still runs and publishes what the last requests and events wrote.
async fn flush(pool: &PgPool, deadline: Instant) {
    let emptied = async {
        loop {
            let pending = sqlx::query_scalar("SELECT EXISTS (SELECT FROM outbox)").fetch_one(pool).await;
            if !pending.unwrap_or(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let deadline = deadline.min(Instant::now() + FLUSH_LIMIT);
    if tokio::time::timeout_at(deadline, emptied).await.is_err() {
        tracing::warn!("the outbox is not empty yet; the rest is published by another process");
    }
}
