//! What tests ask for: a broker, a database server, an apiserver, a schema registry, shared by all tests of a run.
//!
//! Under `devcluster with …` the components run already and their addresses stand in the environment; otherwise
//! each process starts what it asks for, once, and everything ends with the process. A test keeps apart from its
//! neighbours by names of its own: [`unique`], [`TestPostgres::create_database`].

use std::env;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::apiserver::{Apiserver, ApiserverOptions};
use crate::kafka::{Certificates, Kafka, KafkaOptions};
use crate::pki::Identity;
use crate::postgres::{Postgres, PostgresOptions, Server};
use crate::registry::{Registry, RegistryOptions};
use crate::tempdir::TempDir;

/// Names the broker that `devcluster with` has started.
pub const KAFKA_VARIABLE: &str = "DEVCLUSTER_KAFKA";
/// Names the database server that `devcluster with` has started.
pub const POSTGRES_VARIABLE: &str = "DEVCLUSTER_POSTGRES";
/// Names the apiserver that `devcluster with` has started.
pub const APISERVER_VARIABLE: &str = "DEVCLUSTER_APISERVER";
/// Names the schema registry that `devcluster with` has started.
pub const REGISTRY_VARIABLE: &str = "DEVCLUSTER_REGISTRY";

/// How the shared broker is reached.
#[derive(Clone, Serialize, Deserialize)]
pub struct KafkaAddress {
    pub(crate) bootstrap: String,
    pub(crate) sasl_bootstrap: String,
    pub(crate) sasl_tls_bootstrap: String,
    pub(crate) mtls_bootstrap: String,
    pub(crate) certificates: Certificates,
    pub(crate) admin_user: String,
    pub(crate) admin_password: String,
}

impl KafkaAddress {
    /// How `kafka` is reached.
    pub fn of(kafka: &Kafka) -> Self {
        Self {
            bootstrap: kafka.bootstrap(),
            sasl_bootstrap: kafka.sasl_bootstrap(),
            sasl_tls_bootstrap: kafka.sasl_tls_bootstrap(),
            mtls_bootstrap: kafka.mtls_bootstrap(),
            certificates: kafka.certificates(),
            admin_user: kafka.admin_user().to_owned(),
            admin_password: kafka.admin_password().to_owned(),
        }
    }
}

/// How the shared database server is reached.
#[derive(Clone, Serialize, Deserialize)]
pub struct PostgresAddress {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) password: String,
}

impl PostgresAddress {
    /// How `server` is reached.
    pub fn of(server: &Server) -> Self {
        Self { address: server.address(), port: server.port(), password: server.password().to_owned() }
    }
}

/// How the shared apiserver is reached.
#[derive(Clone, Serialize, Deserialize)]
pub struct ApiserverAddress {
    pub(crate) kubeconfig: PathBuf,
}

impl ApiserverAddress {
    /// How `apiserver` is reached.
    pub fn of(apiserver: &Apiserver) -> Self {
        Self { kubeconfig: apiserver.kubeconfig().to_owned() }
    }
}

/// How the shared schema registry is reached.
#[derive(Clone, Serialize, Deserialize)]
pub struct RegistryAddress {
    pub(crate) url: String,
}

impl RegistryAddress {
    /// How `registry` is reached.
    pub fn of(registry: &Registry) -> Self {
        Self { url: registry.url() }
    }
}

/// The shared broker. Tests must not stop it; for faults start a [`Kafka`] of one's own.
pub struct TestKafka {
    address: KafkaAddress,
    // Held for as long as the process lives: ours, when nobody had started one.
    _own: Option<(Kafka, TempDir)>,
}

impl TestKafka {
    /// `127.0.0.1:PORT` of the PLAINTEXT listener. Whoever comes in there is the administrator.
    pub fn bootstrap(&self) -> &str {
        &self.address.bootstrap
    }

    /// `127.0.0.1:PORT` of the SASL_PLAINTEXT listener (SCRAM-SHA-512).
    pub fn sasl_bootstrap(&self) -> &str {
        &self.address.sasl_bootstrap
    }

    /// `127.0.0.1:PORT` of the SASL_SSL listener (SCRAM-SHA-512).
    pub fn sasl_tls_bootstrap(&self) -> &str {
        &self.address.sasl_tls_bootstrap
    }

    /// `127.0.0.1:PORT` of the SSL listener, which asks for a client certificate; see [`TestKafka::issue_client`].
    pub fn mtls_bootstrap(&self) -> &str {
        &self.address.mtls_bootstrap
    }

    /// The authority that signed the broker's certificate, as PEM.
    ///
    /// # Panics
    /// When it cannot be read: a test has nothing to do without it.
    #[expect(clippy::panic, reason = "a test ends here, with the cause")]
    pub fn ca_pem(&self) -> String {
        self.address.certificates.ca_pem().unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// A client certificate with which one is `User:CN=<common_name>` to the broker, whose ACLs say what that one may
    /// do: nothing at first.
    ///
    /// # Panics
    /// When it cannot be made: a test has nothing to do without it.
    #[expect(clippy::panic, reason = "a test ends here, with the cause")]
    pub fn issue_client(&self, common_name: &str) -> Identity {
        self.address.certificates.issue_client(common_name).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The user of the SASL listeners that may do everything.
    pub fn admin_user(&self) -> &str {
        &self.address.admin_user
    }

    /// The password of [`TestKafka::admin_user`].
    pub fn admin_password(&self) -> &str {
        &self.address.admin_password
    }

    fn get() -> Result<Self> {
        if let Some(address) = from_environment(KAFKA_VARIABLE)? {
            return Ok(Self { address, _own: None });
        }
        let dir = TempDir::new()?;
        let kafka = Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1)?.with_tls()?)?;
        Ok(Self { address: KafkaAddress::of(&kafka), _own: Some((kafka, dir)) })
    }
}

/// The shared database server. Tests must not stop it; for faults start a [`Postgres`] of one's own.
pub struct TestPostgres {
    server: Server,
    _own: Option<(Postgres, TempDir)>,
}

impl TestPostgres {
    /// The administrator's URL, with the database `postgres`.
    pub fn admin_url(&self) -> String {
        self.server.admin_url()
    }

    /// The server, for SQL as the administrator.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Creates an empty database whose name starts with `prefix`, and returns the administrator's URL of it.
    ///
    /// # Panics
    /// When it cannot be created: a test has nothing to do without it.
    #[expect(clippy::panic, reason = "a test ends here, with the cause")]
    pub fn create_database(&self, prefix: &str) -> String {
        let name = unique(prefix).replace('-', "_");
        self.server.create_database(&name).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn get() -> Result<Self> {
        if let Some(PostgresAddress { address, port, password }) = from_environment(POSTGRES_VARIABLE)? {
            return Ok(Self { server: Server::running(address, port, password)?, _own: None });
        }
        let dir = TempDir::new()?;
        let postgres = Postgres::start(PostgresOptions::for_tests(dir.path().join("postgres"))?)?;
        Ok(Self { server: postgres.server().clone(), _own: Some((postgres, dir)) })
    }
}

/// The shared apiserver: no controllers, no nodes. For faults start an [`Apiserver`] of one's own.
pub struct TestApiserver {
    address: ApiserverAddress,
    _own: Option<(Apiserver, TempDir)>,
}

impl TestApiserver {
    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.address.kubeconfig
    }

    fn get() -> Result<Self> {
        if let Some(address) = from_environment(APISERVER_VARIABLE)? {
            return Ok(Self { address, _own: None });
        }
        let dir = TempDir::new()?;
        let apiserver = Apiserver::start(ApiserverOptions::for_tests(dir.path().join("apiserver"))?)?;
        Ok(Self { address: ApiserverAddress::of(&apiserver), _own: Some((apiserver, dir)) })
    }
}

/// The shared schema registry. For faults start a [`Registry`] of one's own; a test keeps apart by the names of
/// its subjects.
pub struct TestRegistry {
    address: RegistryAddress,
    _own: Option<(Registry, TempDir)>,
}

impl TestRegistry {
    /// Where Confluent's API begins.
    pub fn url(&self) -> &str {
        &self.address.url
    }

    fn get() -> Result<Self> {
        if let Some(address) = from_environment(REGISTRY_VARIABLE)? {
            return Ok(Self { address, _own: None });
        }
        let dir = TempDir::new()?;
        let registry = Registry::start(RegistryOptions::for_tests(dir.path().join("registry"))?)?;
        Ok(Self { address: RegistryAddress::of(&registry), _own: Some((registry, dir)) })
    }
}

/// The broker shared by the tests of this run.
///
/// # Panics
/// When it cannot be started: a test has nothing to do without it.
#[expect(clippy::panic, reason = "a test ends here, with the cause")]
pub fn kafka() -> &'static TestKafka {
    static KAFKA: LazyLock<TestKafka> =
        LazyLock::new(|| TestKafka::get().unwrap_or_else(|error| panic!("{error:#}")));
    &KAFKA
}

/// The database server shared by the tests of this run.
///
/// # Panics
/// When it cannot be started: a test has nothing to do without it.
#[expect(clippy::panic, reason = "a test ends here, with the cause")]
pub fn postgres() -> &'static TestPostgres {
    static POSTGRES: LazyLock<TestPostgres> =
        LazyLock::new(|| TestPostgres::get().unwrap_or_else(|error| panic!("{error:#}")));
    &POSTGRES
}

/// The apiserver shared by the tests of this run.
///
/// # Panics
/// When it cannot be started: a test has nothing to do without it.
#[expect(clippy::panic, reason = "a test ends here, with the cause")]
pub fn apiserver() -> &'static TestApiserver {
    static APISERVER: LazyLock<TestApiserver> =
        LazyLock::new(|| TestApiserver::get().unwrap_or_else(|error| panic!("{error:#}")));
    &APISERVER
}

/// The schema registry shared by the tests of this run.
///
/// # Panics
/// When it cannot be started: a test has nothing to do without it.
#[expect(clippy::panic, reason = "a test ends here, with the cause")]
pub fn registry() -> &'static TestRegistry {
    static REGISTRY: LazyLock<TestRegistry> =
        LazyLock::new(|| TestRegistry::get().unwrap_or_else(|error| panic!("{error:#}")));
    &REGISTRY
}

/// `name` with a suffix that no other call has, in this process or another: for topics, groups, databases.
///
/// Lower case letters, digits and `-` after what `name` holds.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The pid tells test processes apart, the random part runs apart.
    static RUN: LazyLock<String> =
        LazyLock::new(|| format!("{:x}{:04x}", std::process::id(), rand::random::<u16>()));
    format!("{name}-{}-{:x}", *RUN, COUNT.fetch_add(1, Ordering::Relaxed))
}

fn from_environment<T: DeserializeOwned>(variable: &str) -> Result<Option<T>> {
    let Ok(value) = env::var(variable) else { return Ok(None) };
    serde_json::from_str(&value).map(Some).with_context(|| format!("{variable} does not hold an address"))
}
