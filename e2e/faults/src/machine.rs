//! What the services stand on: three brokers, a database server, and the links that lead to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use devcluster::kafka::{External, ExternalSecurity, Kafka, KafkaOptions};
use devcluster::postgres::{Postgres, PostgresOptions, Server};
use devcluster::tempdir::TempDir;

use crate::link::{Flow, Link};

/// Three, so that one may be lost.
const BROKERS: usize = 3;

/// Brokers and database server, which any test may break: whoever uses it next heals it first.
#[derive(Debug)]
pub struct Machine {
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    broker_links: Vec<Link>,
    database_link: Link,
    // Last: what runs in it ends before it goes.
    _dir: TempDir,
}

impl Machine {
    /// Starts everything.
    ///
    /// # Errors
    /// When a part does not come up; the message ends with its log.
    pub fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let mut options = KafkaOptions::for_tests(dir.path().join("kafka"), BROKERS)?;
        let mut broker_links = Vec::new();
        for ports in &mut options.nodes {
            let listen = devcluster::ports::free(options.bind)?;
            let link = Link::to(SocketAddr::new(options.bind, listen))?;
            // The brokers tell the services the links' addresses, so that no connection goes past them.
            let advertised = link.address();
            ports.external = Some(External { listen, advertised, security: ExternalSecurity::Plaintext });
            broker_links.push(link);
        }
        let kafka = Kafka::start(options)?;
        let postgres = Postgres::start(PostgresOptions::for_tests(dir.path().join("postgres"))?)?;
        let server = postgres.server();
        let database_link = Link::to(SocketAddr::new(server.address(), server.port()))?;
        Ok(Self { kafka, postgres, broker_links, database_link, _dir: dir })
    }

    /// Starts what does not run and opens every link.
    pub(crate) fn heal(&mut self) -> Result<()> {
        self.cut_brokers(Flow::Open);
        self.cut_database(Flow::Open);
        self.kafka.resume();
        self.kafka.restart()?;
        self.postgres.restart()
    }

    /// Where the services find the brokers: the links.
    pub(crate) fn bootstrap(&self) -> String {
        self.kafka.external_bootstrap()
    }

    /// Creates a database; its URL for the services, through the link, and the one past it, for who checks.
    pub(crate) fn create_database(&self, name: &str) -> Result<(String, String)> {
        let direct = self.postgres.server().create_database(name)?;
        let link = self.database_link.address();
        let linked = Server::running(link.ip(), link.port(), self.postgres.server().password().to_owned())
            .context("find PostgreSQL's programs")?;
        Ok((linked.url(name), direct))
    }

    pub(crate) fn cut_brokers(&self, flow: Flow) {
        self.broker_links.iter().for_each(|link| link.set(flow));
    }

    pub(crate) fn cut_database(&self, flow: Flow) {
        self.database_link.set(flow);
    }
}

/// Where the services listen.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
