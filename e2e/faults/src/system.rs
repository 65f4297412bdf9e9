//! The services, each the real binary in a process of its own, with a database of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use contract::{Event, Service, Step, Topic, avro, headers};
use devcluster::process::{Launcher, Process, Spec};
use devcluster::{ports, testing};
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin, Mode, NewTopic, Record, TopicName, read_topics};
use secrecy::SecretString;
use verify::{RegistryConfig, Source};

use crate::Format;
use crate::machine::{LOOPBACK, Machine};

/// From a start to the first request that is served, on a busy machine and beside broken parts.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// Several, so that work moves when members come and go.
const PARTITIONS: u32 = 3;
/// How long a group waits for a member that died: short, because most scenarios wait for it several times.
pub(crate) const SESSION: Duration = Duration::from_secs(4);
/// Each product with the units that were ever put into stock: one that there is enough of, one that runs out.
pub(crate) const STOCK: &[(&str, u64)] = &[("burger", 1_000_000), ("pizza", 1_000_000), ("truffle", 40)];

/// The running order system of one scenario.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) prefix: String,
    pub(crate) steps: Vec<Step>,
    format: Format,
    /// How the checker, and who breaks things, reach Kafka: past the links.
    pub(crate) kafka: ConnectOptions,
    services: BTreeMap<Service, Running>,
    logs: PathBuf,
}

#[derive(Debug)]
struct Running {
    process: Option<Process>,
    http: u16,
    admin: u16,
    environment: Vec<(&'static str, String)>,
    /// Past the link.
    database_url: String,
}

impl System {
    /// Creates topics and databases and starts every service that takes part in `steps`.
    pub(crate) async fn start(machine: &Machine, steps: &[Step], format: &Format) -> Result<Self> {
        let name = testing::unique("faults");
        let prefix = format!("{name}-");
        let kafka = ConnectOptions::plaintext(machine.kafka.bootstrap());
        create_topics(&kafka, &prefix).await?;
        let logs = std::env::temp_dir().join(&name);
        let (steps, format) = (steps.to_vec(), format.clone());
        let mut system = Self { prefix, steps, format, kafka, services: BTreeMap::new(), logs };
        // One without a database only watches orders.
        let takes_part = |service: &Service| {
            let spec = service.spec();
            spec.has_database && spec.saga_step.is_none_or(|step| system.steps.contains(&step))
        };
        let services: Vec<Service> = Service::ALL.iter().copied().filter(takes_part).collect();
        for service in services {
            let running = system.prepare(machine, service)?;
            system.services.insert(service, running);
            system.spawn(service)?;
        }
        system.wait_ready().await?;
        Ok(system)
    }

    fn prepare(&self, machine: &Machine, service: Service) -> Result<Running> {
        let name = format!("{}{service}", self.prefix).replace('-', "_");
        let (linked, direct) = machine.create_database(&name)?;
        let (http, admin) = (ports::free(LOOPBACK)?, ports::free(LOOPBACK)?);
        let steps: Vec<String> = self.steps.iter().map(Step::to_string).collect();
        let stock: Vec<String> = STOCK.iter().map(|(product, units)| format!("{product}={units}")).collect();
        let mut environment = vec![
            ("KAFKA_BOOTSTRAP_SERVERS", machine.bootstrap()),
            ("TOPIC_PREFIX", self.prefix.clone()),
            ("DATABASE_URL", linked),
            ("HTTP_ADDR", format!("{LOOPBACK}:{http}")),
            ("ADMIN_ADDR", format!("{LOOPBACK}:{admin}")),
            ("SAGA_STEPS", steps.join(",")),
            ("KAFKA_SESSION_TIMEOUT", format!("{}ms", SESSION.as_millis())),
            // Shorter than an outage, and not held for it, so that deadlines pass and steps that were done are undone.
            ("SAGA_STEP_TIMEOUT", "12s".to_owned()),
            ("SAGA_OUTAGE_LIMIT", "1s".to_owned()),
            ("SAGA_NOTIFICATION_TIMEOUT", "5s".to_owned()),
            ("INVENTORY_INITIAL_STOCK", stock.join(",")),
            // Some calls get no answer, half of these with an effect; long before the step's deadline it is given up.
            ("PAYMENT_SIMULATOR", r#"{"failureRate": 0.05, "refusedCustomers": "refused-"}"#.to_owned()),
            ("PAYMENT_BUDGET", "6s".to_owned()),
            ("SHIPPING_SIMULATOR", r#"{"failureRate": 0.05, "refusedCustomers": "remote-"}"#.to_owned()),
            ("SHIPPING_BUDGET", "6s".to_owned()),
            ("SHIPPING_TRANSIT", "500ms".to_owned()),
        ];
        if let Format::Avro { registry } = &self.format {
            environment.push(("EVENTS_FORMAT", "avro".to_owned()));
            environment.push(("SCHEMA_REGISTRY_URL", registry.clone()));
        }
        Ok(Running { process: None, http, admin, environment, database_url: direct })
    }

    /// The services, in the order of the roster.
    pub(crate) fn services(&self) -> Vec<Service> {
        self.services.keys().copied().collect()
    }

    /// The full name of a topic.
    pub(crate) fn topic(&self, topic: Topic) -> Result<TopicName> {
        Ok(TopicName::new(format!("{}{}", self.prefix, topic.name()))?)
    }

    /// The address of a service's HTTP API.
    pub(crate) fn url(&self, service: Service) -> Result<String> {
        Ok(format!("http://{LOOPBACK}:{}", self.running(service)?.http))
    }

    /// The URL of a service's database, past the link.
    pub(crate) fn database_url(&self, service: Service) -> Result<&str> {
        Ok(&self.running(service)?.database_url)
    }

    /// The folder with each service's log.
    pub(crate) fn logs(&self) -> &PathBuf {
        &self.logs
    }

    /// What the checker reads.
    pub(crate) fn source(&self) -> Result<Source> {
        let url = |(service, running): (&Service, &Running)| {
            (*service, SecretString::from(running.database_url.clone()))
        };
        let databases = self.services.iter().map(url).collect();
        let source = Source::new(self.kafka.clone(), &self.prefix, self.steps.clone(), &databases)?;
        Ok(match &self.format {
            Format::Json => source,
            Format::Avro { registry } => source.with_registry(RegistryConfig::at(registry))?,
        })
    }

    /// Every topic of events.
    pub(crate) fn topics_of_events(&self) -> Result<Vec<TopicName>> {
        let topics = Topic::ALL.iter().filter(|topic| !topic.is_dead_letter());
        topics.map(|topic| self.topic(*topic)).collect()
    }

    /// How many events are not in the format in which the services write.
    pub(crate) async fn count_in_other_format(&self) -> Result<u64> {
        let (in_avro, prefix) = (matches!(self.format, Format::Avro { .. }), self.prefix.clone());
        let count = move |others: &mut u64, record: Record| {
            let framed = record.value.as_deref().is_some_and(|value| avro::unframe(value).is_some());
            *others += u64::from(is_event(&prefix, &record) && framed != in_avro);
        };
        Ok(read_topics(&self.kafka, &self.topics_of_events()?, 0, count).await?)
    }

    /// Ends a service at once.
    pub(crate) fn kill(&mut self, service: Service) -> Result<()> {
        let process = self.services.get_mut(&service).and_then(|running| running.process.as_mut());
        process.with_context(|| format!("{service} does not run"))?.kill();
        Ok(())
    }

    /// Starts a service that does not run; see [`System::wait_ready`].
    pub(crate) fn spawn(&mut self, service: Service) -> Result<()> {
        let log = self.logs.join(format!("{service}.log"));
        let running =
            self.services.get_mut(&service).with_context(|| format!("{service} is not prepared"))?;
        let environment = running.environment.iter().map(|(name, value)| (*name, value));
        let mut spec = Spec::new(service.name(), orders_binary()?, log).arg(service.name());
        for (name, value) in environment {
            spec = spec.env(name, value);
        }
        running.process = Some(Launcher::host().spawn(spec)?);
        Ok(())
    }

    /// Freezes a service.
    pub(crate) fn pause(&self, service: Service) -> Result<()> {
        self.running(service)?.process.iter().for_each(Process::pause);
        Ok(())
    }

    /// Lets a service go on.
    pub(crate) fn resume(&self, service: Service) -> Result<()> {
        self.running(service)?.process.iter().for_each(Process::resume);
        Ok(())
    }

    /// Starts what has ended by itself, and waits until every service is ready. As Kubernetes would.
    pub(crate) async fn wait_ready(&mut self) -> Result<()> {
        let client = http_client(Duration::from_secs(2))?;
        let deadline = tokio::time::Instant::now() + READY_TIMEOUT;
        for service in self.services() {
            let url = format!("http://{LOOPBACK}:{}/readyz", self.running(service)?.admin);
            while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                let logs = self.logs.display();
                anyhow::ensure!(tokio::time::Instant::now() < deadline, "{service} is not ready; see {logs}");
                self.restart_if_ended(service)?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    fn restart_if_ended(&mut self, service: Service) -> Result<()> {
        let process = self.services.get_mut(&service).and_then(|running| running.process.as_mut());
        if process.is_none_or(|process| process.is_running()) {
            return Ok(());
        }
        self.spawn(service)
    }

    fn running(&self, service: Service) -> Result<&Running> {
        self.services.get(&service).with_context(|| format!("{service} takes no part"))
    }

    /// Ends the services and removes their topics, which brokers would have to recover after the next crash, and
    /// their logs.
    pub(crate) async fn discard(self) -> Result<()> {
        drop(self.services);
        let admin = KafkaAdmin::connect(&self.kafka)?;
        for deleted in admin.delete_topics(&topic_names(&self.prefix)?).await {
            deleted.context("delete the topics")?;
        }
        std::fs::remove_dir_all(&self.logs).context("remove the logs")
    }
}

async fn create_topics(kafka: &ConnectOptions, prefix: &str) -> Result<()> {
    let admin = KafkaAdmin::connect(kafka)?;
    let topic = |name: TopicName| NewTopic::named(name).partitions(PARTITIONS).replicas(3);
    let topics: Vec<NewTopic> = topic_names(prefix)?.into_iter().map(topic).collect();
    for created in admin.create_topics(&topics, Mode::Apply).await {
        created.context("create the topics")?;
    }
    Ok(())
}

/// Whether a service wrote `record`, as an event of its topic: poison has no headers.
pub(crate) fn is_event(prefix: &str, record: &Record) -> bool {
    let header = record.headers.iter().find(|(name, _)| name == headers::CE_TYPE);
    let said = header.and_then(|(_, value)| value.as_deref());
    let topic = record.topic.as_str().strip_prefix(prefix);
    let mut events = Event::TYPES.iter();
    events.any(|event| Some(event.topic.name()) == topic && Some(event.name.as_bytes()) == said)
}

/// A client that waits for an answer for as long as `timeout`.
pub(crate) fn http_client(timeout: Duration) -> Result<reqwest::Client> {
    // Made even for plain HTTP; whoever comes second finds it there.
    rustls::crypto::ring::default_provider().install_default().ok();
    Ok(reqwest::Client::builder().timeout(timeout).build()?)
}

fn topic_names(prefix: &str) -> Result<Vec<TopicName>> {
    let name = |topic: &Topic| Ok(TopicName::new(format!("{prefix}{}", topic.name()))?);
    Topic::ALL.iter().map(name).collect()
}

/// The binary under test lies beside the ones of the same build: `target/<profile>/`, or one folder above for a test
/// binary in `deps/`.
fn orders_binary() -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let beside = me.ancestors().skip(1).take(2).map(|folder| folder.join("orders"));
    beside.into_iter().find(|path| path.is_file()).context("run `cargo build --workspace --bins` first")
}
