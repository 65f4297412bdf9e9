//! The system under test: broker, database, and the services as processes of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use contract::{Service, Topic};
use devcluster::kafka::{Kafka, KafkaOptions, Tuning};
use devcluster::ports;
use devcluster::postgres::{Durability, Postgres, PostgresOptions};
use devcluster::process::{Launcher, Process, Spec};
use devcluster::tempdir::TempDir;
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin, Mode, NewTopic, TopicName};
use sqlx::PgPool;

use crate::usage::Watched;

/// Orders go through all of these.
pub(crate) const SERVICES: [Service; 4] =
    [Service::Order, Service::Inventory, Service::Payment, Service::Shipping];

/// The products that orders name, and how many there are: more than any run can sell.
pub(crate) const PRODUCTS: [&str; 5] = ["burger", "pizza", "salad", "fries", "soda"];
const STOCK: &str = "burger=1000000000,pizza=1000000000,salad=1000000000,fries=1000000000,soda=1000000000";

/// How long a service may take to become ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The release build of `orders`.
pub(crate) fn binary(given: Option<&Path>) -> Result<PathBuf> {
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("orders"));
    let binary = given.map_or_else(beside, |path| Ok(path.to_owned()))?;
    ensure!(
        binary.exists(),
        "{} is missing; build it with: cargo build --release --workspace --bins",
        binary.display()
    );
    Ok(binary)
}

/// Broker and database, as in production.
pub(crate) struct Backends {
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    // Dropped last: the others have their data in it.
    dir: TempDir,
}

impl Backends {
    pub(crate) fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let mut kafka = KafkaOptions::for_tests(dir.path().join("kafka"), 1)?;
        kafka.tuning = Tuning::Throughput;
        let mut postgres = PostgresOptions::for_tests(dir.path().join("postgres"))?;
        postgres.durability = Durability::Full;
        Ok(Self { kafka: Kafka::start(kafka)?, postgres: Postgres::start(postgres)?, dir })
    }

    pub(crate) async fn create_topics(&self, topics: &[Topic]) -> Result<()> {
        let admin = KafkaAdmin::connect(&ConnectOptions::plaintext(self.kafka.bootstrap()))?;
        let topics = topics
            .iter()
            .map(|topic| Ok(NewTopic::named(topic.name().parse::<TopicName>()?).partitions(3).replicas(1)))
            .collect::<Result<Vec<_>>>()?;
        for created in admin.create_topics(&topics, Mode::Apply).await {
            created?;
        }
        Ok(())
    }

    pub(crate) async fn database(&self, name: &str) -> Result<(String, PgPool)> {
        let url = self.postgres.server().create_database(name)?;
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(2).connect(&url).await?;
        Ok((url, pool))
    }
}

/// The whole system.
pub(crate) struct System {
    backends: Backends,
    services: Vec<(Service, Process)>,
    /// The order service's database.
    pub(crate) orders: PgPool,
    /// `127.0.0.1:PORT` of the order API.
    pub(crate) api: String,
    /// `127.0.0.1:PORT` of the order service's administration.
    admin: String,
}

impl System {
    pub(crate) async fn start(binary: &Path) -> Result<Self> {
        let backends = Backends::start()?;
        backends.create_topics(Topic::ALL).await?;
        let (mut services, mut api, mut order_admin, mut orders) =
            (Vec::new(), String::new(), String::new(), None);
        for service in SERVICES {
            let (url, pool) = backends.database(service.name()).await?;
            let (http, admin) = (ports::free([127, 0, 0, 1].into())?, ports::free([127, 0, 0, 1].into())?);
            let process = Launcher::host().spawn(
                Spec::new(service.name(), binary, backends.dir.path().join(format!("{service}.log")))
                    .arg(service.name())
                    .env("DATABASE_URL", url)
                    .env("KAFKA_BOOTSTRAP_SERVERS", backends.kafka.bootstrap())
                    .env("HTTP_ADDR", format!("127.0.0.1:{http}"))
                    .env("ADMIN_ADDR", format!("127.0.0.1:{admin}"))
                    .env("SAGA_STEPS", "inventory,payment,shipping")
                    // A backlog that the load builds up must not cancel orders.
                    .env("SAGA_STEP_TIMEOUT", "5m")
                    .env("INVENTORY_INITIAL_STOCK", STOCK)
                    // The simulated carrier arrives at once: what is measured is the system, not the journey.
                    .env("SHIPPING_TRANSIT", "0s"),
            )?;
            services.push((service, process));
            wait_ready(service, admin).await?;
            if service == Service::Order {
                (api, orders) = (format!("127.0.0.1:{http}"), Some(pool));
                order_admin = format!("127.0.0.1:{admin}");
            }
        }
        let orders = orders.context("the order service is one of them")?;
        Ok(Self { backends, services, orders, api, admin: order_admin })
    }

    /// How many orders have ended. By the metrics, because whoever counts rows ten times a second becomes a load.
    pub(crate) async fn ended(&self) -> Result<u64> {
        let metrics = reqwest::get(format!("http://{}/metrics", self.admin)).await?.text().await?;
        let is_end = |line: &&str| {
            line.starts_with("saga_transitions_total{")
                && (line.contains("to=\"COMPLETED\"") || line.contains("to=\"CANCELLED\""))
        };
        metrics.lines().filter(is_end).try_fold(0, |sum, line| {
            let count = line.rsplit(' ').next().unwrap_or_default();
            Ok(sum + count.parse::<u64>().with_context(|| format!("the metric {line:?}"))?)
        })
    }

    /// The processes whose use of the machine is reported.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let named = |name: &str, pid: u32| Watched { name: name.to_owned(), pid };
        let services =
            self.services.iter().map(|(service, process)| named(service.name(), pid(process.id())));
        let kafka = self.backends.kafka.process_ids().into_iter().map(|id| named("kafka", pid(id)));
        let postgres = self.backends.postgres.process_id().map(|id| named("postgres", pid(id)));
        services.chain(kafka).chain(postgres).chain([named("load", std::process::id())]).collect()
    }
}

async fn wait_ready(service: Service, admin: u16) -> Result<()> {
    let ready = async {
        loop {
            let answer = reqwest::get(format!("http://127.0.0.1:{admin}/readyz")).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(READY_LIMIT, ready)
        .await
        .with_context(|| format!("the {service} service did not become ready within {READY_LIMIT:?}"))
}

fn pid(id: devcluster::process::ProcessId) -> u32 {
    id.pid.unsigned_abs()
}
