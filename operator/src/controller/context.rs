//! What every reconcile pass has at hand.

use std::sync::Arc;
use std::time::Duration;

use kafka_admin::ConnectOptions;
use kube::api::{ApiResource, DynamicObject};
use kube::core::NamespaceResourceScope;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;

use super::clusters::{self, Clusters, Connect};
use super::error::Backoff;
use super::events::Events;
use super::owned::Owned;
use super::pipeline::principals::{PrincipalRegistry, ServiceUsers};
use super::pipeline::unwatched::UnwatchedOwners;
use super::secrets::Secrets;
use super::strimzi::Strimzi;
use super::superseded::Superseded;
use super::topic::registry::TopicRegistry;
use super::watches::Watches;
use crate::leader::fence::Fence;
use crate::metrics::Metrics;

/// Name of the operator where Kubernetes wants to know who did something: field manager, event source.
pub const MANAGER: &str = "orderpipeline";

/// What the deployment of the operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Only this namespace is looked at; all of them without it.
    pub namespace: Option<String>,
    /// Image of the order services.
    pub orders_image: String,
    /// Most passes under way per kind.
    pub concurrency: u16,
    /// How often an object is looked at when nothing happens; a safety net, not the way to notice drift.
    pub resync: Duration,
    /// How often the topics of a cluster are compared with their objects.
    pub drift_interval: Duration,
    /// How long the deletion of an object may wait for its Kafka cluster.
    pub cleanup_timeout: Duration,
    /// Longest time that a call to a Kafka cluster takes.
    pub kafka_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: None,
            orders_image: "orderpipeline/orders:dev".to_owned(),
            // A pass mostly waits for Kafka requests, which gather what comes within a third of a second: enough that a
            // thousand objects take a few of these rounds. Requests to the apiserver have a bound of their own.
            concurrency: 500,
            resync: Duration::from_secs(600),
            drift_interval: Duration::from_secs(30),
            cleanup_timeout: Duration::from_secs(60),
            kafka_timeout: Duration::from_secs(10),
        }
    }
}

/// What every reconcile pass has at hand; one per process.
pub struct Context {
    /// The apiserver.
    pub client: Client,
    /// Publishes events.
    pub events: Events,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// One client per Kafka cluster.
    pub clusters: Arc<Clusters>,
    /// Secrets that specs name.
    pub secrets: Arc<Secrets>,
    /// What belongs to pipelines.
    pub owned: Owned,
    /// Which pipelines may have objects of KEDA's.
    pub keda_owners: UnwatchedOwners,
    /// Which pipelines may have HTTPRoutes.
    pub route_owners: UnwatchedOwners,
    /// What is known about the topics of each cluster.
    pub topics: TopicRegistry,
    /// What Strimzi says of its clusters, topics and users.
    pub strimzi: Arc<Strimzi>,
    /// What is known about the services' users in each cluster.
    pub principals: PrincipalRegistry,
    /// Which users of Kafka are services'.
    pub service_users: ServiceUsers,
    /// Versions of objects that were written over by ourselves.
    pub superseded: Superseded,
    /// Waits after failures.
    pub backoff: Backoff,
    /// Whether the watches make progress.
    pub watches: Arc<Watches>,
    /// What the deployment decided.
    pub settings: Settings,
    /// Cancelled when the process shall end: no new pass begins, those under way end.
    pub shutdown: CancellationToken,
}

impl Context {
    /// A context that speaks to real Kafka clusters.
    pub fn new(
        client: Client,
        metrics: Arc<Metrics>,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> Self {
        let connect = Box::new(|options: &ConnectOptions| clusters::connect(options, Fence::alone().into()));
        Self::with_connect(client, metrics, settings, shutdown, connect)
    }

    /// A context whose Kafka clients `connect` opens.
    pub fn with_connect(
        client: Client,
        metrics: Arc<Metrics>,
        settings: Settings,
        shutdown: CancellationToken,
        connect: Box<Connect>,
    ) -> Self {
        let strimzi = Arc::<Strimzi>::default();
        let (known, counts) = (Arc::clone(&strimzi), Arc::clone(&metrics));
        let secrets = Arc::new(Secrets::new(client.clone()));
        let clusters = Clusters::new(Arc::clone(&secrets), known, counts, settings.kafka_timeout, connect);
        let recorder =
            Recorder::new(client.clone(), Reporter { controller: MANAGER.to_owned(), instance: None });
        Self {
            client,
            events: Events::new(recorder),
            metrics,
            clusters: Arc::new(clusters),
            secrets,
            owned: Owned::default(),
            keda_owners: UnwatchedOwners::default(),
            route_owners: UnwatchedOwners::default(),
            topics: TopicRegistry::default(),
            strimzi,
            principals: PrincipalRegistry::default(),
            service_users: ServiceUsers::default(),
            superseded: Superseded::default(),
            backoff: Backoff::default(),
            watches: Arc::default(),
            settings,
            shutdown,
        }
    }

    /// The objects of kind `K` that the operator looks at.
    pub fn watched<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.settings.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// The same of a kind that is known at run time only.
    pub fn watched_kind(&self, kind: &ApiResource) -> Api<DynamicObject> {
        match &self.settings.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, kind),
            None => Api::all_with(self.client.clone(), kind),
        }
    }
}
