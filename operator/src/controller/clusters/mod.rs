//! One admin client per Kafka cluster and identity, shared by every object that names it.

mod cluster;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kafka_admin::{Admin, CoalesceOptions, Coalescing, ConnectOptions, Guarded, KafkaAdmin, RequestKind};

pub use self::cluster::{Cluster, Health};
use crate::controller::connection::{Missing, fingerprint};
use crate::controller::endpoint::{Endpoint, endpoint};
use crate::controller::error::Error;
use crate::controller::secrets::Secrets;
use crate::controller::strimzi::Strimzi;
use crate::crd::kafka_ref::KafkaRef;
use crate::leader::fence::Fence;
use crate::leader::kafka::KafkaFence;
use crate::metrics::Metrics;

/// A client that nobody used for so long is closed: its object is gone or its Secret has changed.
const IDLE_LIMIT: Duration = Duration::from_secs(1800);

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
    secrets: Arc<Secrets>,
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
        secrets: Arc<Secrets>,
        strimzi: Arc<Strimzi>,
        metrics: Arc<Metrics>,
        timeout: Duration,
        connect: Box<Connect>,
    ) -> Self {
        Self {
            secrets,
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

    fn open(&self, options: &ConnectOptions) -> Result<Arc<Cluster>, kafka_admin::Error> {
        let key = fingerprint(options);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get_mut(&key) {
            known.used = Instant::now();
            return Ok(Arc::clone(&known.cluster));
        }
        let (servers, metrics) = (options.bootstrap_servers.clone(), Arc::clone(&self.metrics));
        let cluster = Arc::new(Cluster::new(key.clone(), servers, (self.connect)(options)?, metrics));
        open.insert(key, Open { cluster: Arc::clone(&cluster), used: Instant::now() });
        Ok(cluster)
    }

    /// Every cluster in use; closes those that are not.
    pub fn all(&self) -> Vec<Arc<Cluster>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, entry| {
            let keep = entry.used.elapsed() < IDLE_LIMIT || Arc::strong_count(&entry.cluster) > 1;
            if !keep {
                self.metrics.forget_cluster(entry.cluster.servers());
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
        open.values().for_each(|entry| add(&mut all, entry.cluster.admin().request_counts()));
        all
    }

    /// Keeps the counts of a client that is closed.
    fn add_requests(&self, cluster: &Cluster) {
        let mut closed = self.closed_requests.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut closed, cluster.admin().request_counts());
    }

    /// What tells apart the clusters that objects in `namespace` mean by `kafka`, whatever their address: the cluster's
    /// own id where it is known, else its address, else its name in Strimzi.
    pub fn identity(&self, namespace: &str, kafka: &KafkaRef) -> String {
        let servers = match endpoint(&self.strimzi, namespace, kafka) {
            Ok(endpoint) => endpoint.servers,
            Err(unusable) => return unusable.to_string(),
        };
        self.told_id(&servers).unwrap_or(servers)
    }

    /// The id of the cluster that an object in `namespace` means by `kafka`; the cluster is asked if nobody has yet.
    /// None where it cannot be told now.
    pub async fn id(&self, namespace: &str, kafka: &KafkaRef) -> Option<String> {
        let servers = endpoint(&self.strimzi, namespace, kafka).ok()?.servers;
        if let Some(told) = self.told_id(&servers) {
            return Some(told);
        }
        match self.resolve(namespace, kafka).await {
            Ok(Resolved::Cluster(cluster)) => cluster.first_told_id().await,
            Ok(Resolved::Missing(_)) | Err(_) => None,
        }
    }

    /// What the cluster at `servers` has told to any of its clients.
    fn told_id(&self, servers: &str) -> Option<String> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|entry| entry.cluster.servers() == servers).find_map(|entry| entry.cluster.id())
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
