//! What a service is to the runtime, and the one list of all services.

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use contract::Service;
use futures::future::BoxFuture;
use messaging::streams::{Application, Streams};
use messaging::{Handler, Messaging};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tokio_util::sync::CancellationToken;

use crate::admin::Exposition;
use crate::config::{Config, ServiceParts};
use crate::health::Health;
use crate::provider::simulator::Simulators;
use crate::runtime::{Running, Start};

/// A service that keeps its state in a database, as the runtime sees it. Its consumer, its relay, its probes and
/// its HTTP server are the runtime's; what it does with events and requests is its own.
pub trait Role {
    /// Which service of the roster this is: topics, group, port and names follow from it.
    const SERVICE: Service;

    /// Acts on the service's events.
    type Handler: Handler;

    /// The service's own tables (`migrations/<service>`, numbered from 100). Those of messaging come before.
    fn migrations() -> Migrator;

    /// Wires the service. The database is migrated; nothing is consumed or served yet.
    ///
    /// # Errors
    /// The process does not start.
    fn build(context: &Context) -> impl Future<Output = Result<Parts<Self::Handler>>> + Send;
}

/// What a service is built from.
pub struct Context {
    /// The configuration of the process, validated.
    pub config: Arc<Config>,
    /// The service's database.
    pub pool: PgPool,
    /// The service's messaging; `outbox()` is for code with a transaction of its own.
    pub messaging: Messaging,
    /// Metrics are registered and derived here.
    pub exposition: Exposition,
    /// Loops report their progress here.
    pub health: Health,
    /// Simulated providers are made known here, so that the admin port can change how they behave.
    pub simulators: Simulators,
    /// Asks requests that wait for something to be answered now, because the process stops.
    pub closing: CancellationToken,
    /// Ends the service's [`Task`]s. Fires after requests and events have come to rest.
    pub shutdown: CancellationToken,
}

/// A service that turns events into events in Kafka transactions, as the runtime sees it. It has no database: its
/// state is in its changelog.
pub trait StreamRole {
    /// Which service of the roster this is.
    const SERVICE: Service;

    /// Folds the service's events.
    type Application: Application;

    /// Wires the service. Nothing is consumed or served yet.
    ///
    /// # Errors
    /// The process does not start.
    fn build(context: &StreamContext) -> Result<Parts<Self::Application>>;
}

/// What a service of streams is built from.
pub struct StreamContext {
    /// The configuration of the process, validated.
    pub config: Arc<Config>,
    /// The service's streams; `read_table()` is for what it shows.
    pub streams: Streams,
    /// Readiness may depend on what the service reads.
    pub health: Health,
    /// Ends the service's [`Task`]s.
    pub shutdown: CancellationToken,
}

/// A service, wired.
pub struct Parts<H> {
    /// Acts on the service's events: a [`Handler`] or an [`Application`].
    pub handler: H,
    /// The service's public API; none: no HTTP server is started.
    pub routes: Option<Router>,
    /// Loops that run as long as the service.
    pub tasks: Tasks,
}

/// The loops of a service, of which a process runs those that belong to its parts.
pub struct Tasks {
    parts: ServiceParts,
    all: Vec<Task>,
}

impl Tasks {
    /// None yet, in a process that runs `parts`.
    pub fn of(parts: ServiceParts) -> Self {
        Self { parts, all: Vec::new() }
    }

    /// Adds a loop that requests need. It is not made where there is no API.
    #[must_use]
    pub fn api<F>(self, name: &'static str, run: impl FnOnce() -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let is_ours = self.parts.has_api();
        self.with(is_ours, name, run)
    }

    /// Adds a loop that belongs to what happens to events. It is not made where nothing does, nor is its pulse.
    #[must_use]
    pub fn events<F>(self, name: &'static str, run: impl FnOnce() -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let is_ours = self.parts.has_events();
        self.with(is_ours, name, run)
    }

    fn with<F>(mut self, is_ours: bool, name: &'static str, run: impl FnOnce() -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if is_ours {
            self.all.push(Task { name, run: Box::pin(run()) });
        }
        self
    }
}

impl IntoIterator for Tasks {
    type Item = Task;
    type IntoIter = std::vec::IntoIter<Task>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

/// A loop of a service. It ends when [`Context::shutdown`] fires, and never before.
pub struct Task {
    /// What the logs call it.
    pub name: &'static str,
    /// The loop.
    pub run: BoxFuture<'static, ()>,
}

/// Starts `service`: the one place that knows which type is which service.
///
/// # Errors
/// The service cannot start.
pub async fn start(service: Service, start: &Start) -> Result<Running> {
    match service {
        Service::Order => start.role::<crate::order::Order>().await,
        Service::Inventory => start.role::<crate::inventory::Inventory>().await,
        Service::Payment => start.role::<crate::payment::Payment>().await,
        Service::Shipping => start.role::<crate::shipping::Shipping>().await,
        Service::Notification => start.role::<crate::notification::Notification>().await,
        Service::OrderAnalytics => start.stream::<crate::order_analytics::OrderAnalytics>().await,
    }
}
