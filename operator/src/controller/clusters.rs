//! One admin client per Kafka cluster and identity, shared by every object that names it, and what is
//! known about the cluster's health.
//!
//! An unreachable cluster is asked by one probe, not by every object: passes fail at once with what the
//! probe found, and are woken when the cluster is back.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kafka_admin::{
    Admin, CoalesceOptions, Coalescing, ConnectOptions, Guarded, KafkaAdmin, RequestKind, UnavailableCause,
};
use kube::Client;

use super::connection::{Missing, Secrets, fingerprint};
use super::endpoint::{Endpoint, endpoint};
use super::error::Error;
use super::strimzi::{Key, Strimzi};
use crate::crd::kafka_ref::KafkaRef;
use crate::leader::fence::Fence;
use crate::leader::kafka::KafkaFence;
use crate::metrics::Metrics;

/// A client that nobody used for so long is closed: its object is gone or its Secret has changed.
const IDLE_LIMIT: Duration = Duration::from_secs(1800);

/// How long a pass waits for the first sign of a cluster. Some never answer, and a pass that waits keeps the
/// objects of others waiting; whoever gives up here is told by a later look.
const FIRST_SIGN: Duration = Duration::from_secs(2);

/// Opens a client.
pub type Connect = dyn Fn(&ConnectOptions) -> Result<Arc<dyn Admin>, kafka_admin::Error> + Send + Sync;

/// Where a cluster is and how one connects to it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where it is.
    pub endpoint: Endpoint,
    /// With what the operator connects.
    pub options: ConnectOptions,
}

/// What `spec.kafka` leads to.
#[derive(Debug)]
pub enum Resolved {
    /// A client; whether the cluster answers is another question.
    Cluster(Arc<Cluster>),
    /// Not all of it is there yet.
    Missing(Missing),
}

/// Every Kafka cluster that objects name.
pub struct Clusters {
    secrets: Secrets,
    strimzi: Arc<Strimzi>,
    connect: Box<Connect>,
    metrics: Arc<Metrics>,
    timeout: Duration,
    open: Mutex<HashMap<String, Open>>,
    /// What clients that are closed by now had sent: counts never go down.
    closed_requests: Mutex<BTreeMap<RequestKind, u64>>,
}

struct Open {
    cluster: Arc<Cluster>,
    used: Instant,
}

impl fmt::Debug for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clusters").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Clusters {
    /// Clusters whose clients `connect` opens, no call taking longer than `timeout`.
    pub fn new(
        client: Client,
        strimzi: Arc<Strimzi>,
        metrics: Arc<Metrics>,
        timeout: Duration,
        connect: Box<Connect>,
    ) -> Self {
        Self {
            secrets: Secrets::new(client),
            strimzi,
            connect,
            metrics,
            timeout,
            open: Mutex::default(),
            closed_requests: Mutex::default(),
        }
    }

    /// Where the cluster is that an object in `namespace` means by `kafka`, and how one connects to it. Makes no
    /// request to Kafka.
    ///
    /// # Errors
    /// [`Error::Kubernetes`] when a Secret cannot be read.
    pub async fn connection(
        &self,
        namespace: &str,
        kafka: &KafkaRef,
    ) -> Result<Result<Connection, Missing>, Error> {
        if matches!(kafka, KafkaRef::Strimzi(_)) {
            self.strimzi.until_known().await;
        }
        let endpoint = match endpoint(&self.strimzi, namespace, kafka) {
            Ok(endpoint) => endpoint,
            Err(unusable) => return Ok(Err(unusable.into())),
        };
        let options = self.secrets.options(&endpoint, self.timeout).await?;
        Ok(options.map(|options| Connection { endpoint, options }))
    }

    /// The cluster that an object in `namespace` means by `kafka`. Makes no request to Kafka.
    ///
    /// # Errors
    /// [`Error::Kubernetes`] when a Secret cannot be read, [`Error::Kafka`] when the options are no good.
    pub async fn resolve(&self, namespace: &str, kafka: &KafkaRef) -> Result<Resolved, Error> {
        match self.connection(namespace, kafka).await? {
            Ok(connection) => Ok(Resolved::Cluster(self.cluster(&connection.options)?)),
            Err(missing) => Ok(Resolved::Missing(missing)),
        }
    }

    /// The cluster that `options` connect to.
    ///
    /// # Errors
    /// [`Error::Kafka`] when they are no good.
    pub fn cluster(&self, options: &ConnectOptions) -> Result<Arc<Cluster>, Error> {
        let opened = self.open(options);
        opened.map_err(Error::kafka(format!("use Kafka at {}", options.bootstrap_servers)))
    }

    /// Somebody changed this Secret: whoever needs it next reads it anew.
    pub fn forget_secret(&self, secret: &Key) {
        self.secrets.forget(secret);
    }

    fn open(&self, options: &ConnectOptions) -> Result<Arc<Cluster>, kafka_admin::Error> {
        let key = fingerprint(options);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get_mut(&key) {
            known.used = Instant::now();
            return Ok(Arc::clone(&known.cluster));
        }
        let cluster = Arc::new(Cluster {
            key: key.clone(),
            servers: options.bootstrap_servers.clone(),
            admin: (self.connect)(options)?,
            metrics: Arc::clone(&self.metrics),
            health: Mutex::new(Health::Unknown),
            probing: tokio::sync::Mutex::default(),
        });
        open.insert(key, Open { cluster: Arc::clone(&cluster), used: Instant::now() });
        Ok(cluster)
    }

    /// Every cluster in use; closes those that are not.
    pub fn all(&self) -> Vec<Arc<Cluster>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, entry| {
            let keep = entry.used.elapsed() < IDLE_LIMIT || Arc::strong_count(&entry.cluster) > 1;
            if !keep {
                self.metrics.forget_cluster(&entry.cluster.servers);
                self.add_requests(&entry.cluster);
            }
            keep
        });
        open.values().map(|entry| Arc::clone(&entry.cluster)).collect()
    }

    /// Requests sent to all clusters so far, by kind.
    pub fn requests(&self) -> BTreeMap<RequestKind, u64> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.closed_requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        open.values().for_each(|entry| add(&mut all, entry.cluster.admin.request_counts()));
        all
    }

    /// Keeps the counts of a client that is closed.
    fn add_requests(&self, cluster: &Cluster) {
        let mut closed = self.closed_requests.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut closed, cluster.admin.request_counts());
    }

    /// What tells apart the clusters that objects in `namespace` mean by `kafka`, whatever their address: the cluster's
    /// own id where it is known, else its address, else its name in Strimzi.
    pub fn identity(&self, namespace: &str, kafka: &KafkaRef) -> String {
        let servers = match endpoint(&self.strimzi, namespace, kafka) {
            Ok(endpoint) => endpoint.servers,
            Err(unusable) => return unusable.to_string(),
        };
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.values().filter(|entry| entry.cluster.servers == servers);
        known.filter_map(|entry| entry.cluster.id()).next().unwrap_or(servers)
    }
}

fn add(all: &mut BTreeMap<RequestKind, u64>, more: BTreeMap<RequestKind, u64>) {
    more.into_iter().for_each(|(kind, sent)| *all.entry(kind).or_default() += sent);
}

/// A client over the network. Calls of many objects that come at about the same time become one request, and
/// no change leaves when `fence` is closed.
///
/// # Errors
/// When an option cannot be used, such as a certificate.
pub fn connect(options: &ConnectOptions, fence: Arc<Fence>) -> Result<Arc<dyn Admin>, kafka_admin::Error> {
    let admin = Arc::new(Guarded::new(Arc::new(KafkaAdmin::connect(options)?), KafkaFence(fence)));
    Ok(Arc::new(Coalescing::new(admin, CoalesceOptions::default())))
}

/// What the last look at a cluster found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nobody has looked yet.
    Unknown,
    /// It answered.
    Up {
        /// The cluster's own id.
        id: String,
    },
    /// It did not, or would not have us.
    Down(kafka_admin::Error),
}

/// A Kafka cluster as one identity sees it.
pub struct Cluster {
    key: String,
    servers: String,
    admin: Arc<dyn Admin>,
    metrics: Arc<Metrics>,
    health: Mutex<Health>,
    probing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("servers", &self.servers).field("health", &self.health()).finish()
    }
}

impl Cluster {
    /// Identifies the client: another one after a change of address or credentials.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Address as the spec gives it.
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// The client. Use [`Cluster::reachable`] first, and [`Cluster::note`] errors, so that an unreachable
    /// cluster is waited for once and not by every object.
    pub fn admin(&self) -> &dyn Admin {
        &*self.admin
    }

    /// The cluster's own id, once it has answered.
    pub fn id(&self) -> Option<String> {
        match self.health() {
            Health::Up { id } => Some(id),
            Health::Unknown | Health::Down(_) => None,
        }
    }

    /// What the last look found.
    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails at once while the cluster is known to be down; looks if nobody has yet.
    ///
    /// # Errors
    /// [`Error::Kafka`] with what was found.
    pub async fn reachable(&self) -> Result<(), Error> {
        let health = match self.health() {
            Health::Unknown => self.first_probe().await,
            known @ (Health::Up { .. } | Health::Down(_)) => known,
        };
        match health {
            Health::Down(source) => Err(Error::kafka(format!("reach Kafka at {}", self.servers))(source)),
            Health::Up { .. } | Health::Unknown => Ok(()),
        }
    }

    /// Many objects meet a new cluster at once: the first asks, the others wait for its answer.
    async fn first_probe(&self) -> Health {
        let answer = async {
            let _first = self.probing.lock().await;
            match self.health() {
                Health::Unknown => self.probe().await,
                known @ (Health::Up { .. } | Health::Down(_)) => known,
            }
        };
        let late = || {
            let message = format!("no answer within {FIRST_SIGN:?}, still waiting for one");
            Health::Down(kafka_admin::Error::Unavailable { cause: UnavailableCause::Timeout, message })
        };
        tokio::time::timeout(FIRST_SIGN, answer).await.unwrap_or_else(|_| late())
    }

    /// Looks now.
    pub async fn probe(&self) -> Health {
        let health = match self.admin.describe_cluster().await {
            Ok(cluster) => Health::Up { id: cluster.id },
            Err(error) => Health::Down(error),
        };
        self.set(health.clone());
        health
    }

    /// Takes note of an error of a call: one that concerns the whole cluster spares the others the wait.
    pub fn note(&self, error: &kafka_admin::Error) {
        match error {
            // A timeout or a lost connection concerns everyone; "this broker cannot now" need not.
            kafka_admin::Error::Unavailable { cause: UnavailableCause::Broker, .. } => {}
            kafka_admin::Error::Unavailable { .. } | kafka_admin::Error::NotAuthenticated { .. } => {
                self.set(Health::Down(error.clone()));
            }
            kafka_admin::Error::NotFound { .. }
            | kafka_admin::Error::AlreadyExists { .. }
            | kafka_admin::Error::InvalidConfig { .. }
            | kafka_admin::Error::InvalidPartitions { .. }
            | kafka_admin::Error::InvalidReplication { .. }
            | kafka_admin::Error::InvalidRequest { .. }
            | kafka_admin::Error::NotAuthorized { .. }
            | kafka_admin::Error::PolicyViolation { .. }
            | kafka_admin::Error::SecurityDisabled { .. }
            | kafka_admin::Error::Other { .. } => {}
        }
    }

    fn set(&self, health: Health) {
        self.metrics.set_cluster_up(&self.servers, matches!(health, Health::Up { .. }));
        let mut current = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*current, &health) {
            (Health::Down(_), Health::Up { id }) => {
                tracing::info!(servers = self.servers, id, "Kafka cluster is back");
            }
            (Health::Up { .. } | Health::Unknown, Health::Down(error)) => {
                tracing::warn!(servers = self.servers, %error, "Kafka cluster does not serve us");
            }
            _ => {}
        }
        *current = health;
    }
}

#[cfg(test)]
mod tests {
    use kafka_admin::MemoryAdmin;

    use super::*;

    fn cluster() -> (Arc<Cluster>, Arc<MemoryAdmin>) {
        let memory = Arc::new(MemoryAdmin::new());
        let cluster = Cluster {
            key: "key".to_owned(),
            servers: "kafka:9092".to_owned(),
            admin: Arc::clone(&memory) as Arc<dyn Admin>,
            metrics: Arc::new(Metrics::new().unwrap()),
            health: Mutex::new(Health::Unknown),
            probing: tokio::sync::Mutex::default(),
        };
        (Arc::new(cluster), memory)
    }

    fn asked(memory: &MemoryAdmin) -> u64 {
        memory.request_counts().get(&RequestKind::DescribeCluster).copied().unwrap_or_default()
    }

    #[tokio::test]
    async fn many_objects_ask_a_new_cluster_once() {
        let (cluster, memory) = cluster();

        let all = futures::future::join_all((0..50).map(|_| cluster.reachable())).await;

        assert!(all.iter().all(Result::is_ok));
        assert_eq!(asked(&memory), 1);
        assert!(cluster.id().is_some());
    }

    #[tokio::test]
    async fn a_cluster_that_is_down_is_asked_by_probes_only() {
        let (cluster, memory) = cluster();
        memory.go_down();
        cluster.probe().await;

        for _ in 0..10 {
            assert_eq!(cluster.reachable().await.unwrap_err().reason(), "BrokerUnreachable");
        }
        let asked_while_down = asked(&memory);
        memory.come_up();
        cluster.probe().await;

        assert_eq!(asked_while_down, 1);
        assert!(cluster.reachable().await.is_ok());
    }

    #[tokio::test]
    async fn an_error_about_one_topic_says_nothing_about_the_cluster() {
        let (cluster, _memory) = cluster();
        cluster.probe().await;

        cluster.note(&kafka_admin::Error::NotAuthorized { message: "topic orders".to_owned() });

        assert!(cluster.reachable().await.is_ok());
    }
}
