//! A Kafka cluster and what is known about its health.
//!
//! An unreachable cluster is asked by one probe, not by every object: passes fail at once with what the
//! probe found, and are woken when the cluster is back.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_admin::{Admin, UnavailableCause};

use crate::controller::error::Error;
use crate::metrics::Metrics;

/// How long a pass waits for the first sign of a cluster. Some never answer, and a pass that waits keeps the
/// objects of others waiting; whoever gives up here is told by a later look.
const FIRST_SIGN: Duration = Duration::from_secs(2);

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
    /// Its id as it was told last: an outage makes no other cluster of it.
    id: Mutex<Option<String>>,
    /// Whether its first sign was waited for in vain.
    silent: AtomicBool,
    probing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("servers", &self.servers).field("health", &self.health()).finish()
    }
}

impl Cluster {
    /// A cluster that nobody has looked at yet.
    pub(super) fn new(key: String, servers: String, admin: Arc<dyn Admin>, metrics: Arc<Metrics>) -> Self {
        Self {
            key,
            servers,
            admin,
            metrics,
            health: Mutex::new(Health::Unknown),
            id: Mutex::default(),
            silent: AtomicBool::default(),
            probing: tokio::sync::Mutex::default(),
        }
    }

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

    /// The cluster's own id, once it has answered; also while it is away.
    pub fn id(&self) -> Option<String> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The cluster's own id, asked for if nobody has yet. For those that are not about this cluster: where it keeps
    /// silent, only the first of them wait for it.
    pub async fn first_told_id(&self) -> Option<String> {
        if !self.silent.load(Ordering::Relaxed) {
            // An outage is found out by those that it concerns.
            let _ = self.reachable().await;
        }
        self.id()
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
        tokio::time::timeout(FIRST_SIGN, answer).await.unwrap_or_else(|_| {
            self.silent.store(true, Ordering::Relaxed);
            late()
        })
    }

    /// Looks now.
    pub async fn probe(&self) -> Health {
        let health = match self.admin.cluster_id().await {
            Ok(id) => Health::Up { id },
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
        if let Health::Up { id } = &health {
            *self.id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.clone());
        }
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
    use kafka_admin::{MemoryAdmin, RequestKind};

    use super::*;

    fn cluster() -> (Arc<Cluster>, Arc<MemoryAdmin>) {
        let memory = Arc::new(MemoryAdmin::new());
        let metrics = Arc::new(Metrics::new().unwrap());
        let admin = Arc::clone(&memory) as Arc<dyn Admin>;
        let cluster = Cluster::new("key".to_owned(), "kafka:9092".to_owned(), admin, metrics);
        (Arc::new(cluster), memory)
    }

    fn asked(memory: &MemoryAdmin) -> u64 {
        memory.request_counts().get(&RequestKind::ClusterId).copied().unwrap_or_default()
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
    async fn a_cluster_that_is_away_is_still_the_one_that_it_was() {
        let (cluster, memory) = cluster();
        assert_eq!(cluster.id(), None);
        cluster.probe().await;
        let told = cluster.id();

        memory.go_down();
        cluster.probe().await;

        assert!(matches!(cluster.health(), Health::Down(_)));
        assert!(told.is_some() && cluster.id() == told);
    }

    #[tokio::test]
    async fn an_error_about_one_topic_says_nothing_about_the_cluster() {
        let (cluster, _memory) = cluster();
        cluster.probe().await;

        cluster.note(&kafka_admin::Error::NotAuthorized { message: "topic orders".to_owned() });

        assert!(cluster.reachable().await.is_ok());
    }
}
