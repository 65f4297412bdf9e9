//! Where the facts come from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::Service;
use contract::Step;
use kafka_admin::{ConnectOptions, KafkaAdmin, Retry};
use messaging::{AvroCodec, Codec, JsonCodec, Registry, RegistryConfig, RegistryError};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::facts::{Expected, Facts};
use crate::{Report, check, databases, topics};

/// How long a database may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often facts are gathered while Kafka or the registry cannot answer, and the pause between: longer than a
/// coordinator takes to move, with a broker's session of some seconds.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(500);

/// Why the facts could not be gathered. No verdict follows from it.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// Kafka did not answer, or not as expected.
    #[error("could not read from Kafka")]
    Kafka(#[from] kafka_admin::Error),
    /// A database did not answer, or has not the tables that its service should have made.
    #[error("could not read the database of {service}")]
    Database {
        /// Whose database.
        service: Service,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A row that no service can have written.
    #[error("the database of {service} holds {what}")]
    Unreadable {
        /// Whose database.
        service: Service,
        /// What is wrong.
        what: String,
    },
    /// The prefix makes a name that Kafka does not take.
    #[error("the topic prefix is not usable")]
    Prefix(#[from] kafka_admin::InvalidTopicName),
    /// Without their schemas nobody knows what the events in Avro say.
    #[error("could not fetch the schemas of events")]
    Registry(#[from] RegistryError),
}

impl GatherError {
    /// Whether it may be otherwise soon, with nothing done about it.
    fn is_temporary(&self) -> bool {
        match self {
            Self::Kafka(error) => error.retry() == Retry::Transient,
            Self::Registry(error) => error.is_temporary(),
            Self::Database { .. } | Self::Unreadable { .. } | Self::Prefix(_) => false,
        }
    }
}

/// A running order system, as far as the checker has to reach it. Its services need not run.
pub struct Source {
    pub(crate) kafka: ConnectOptions,
    pub(crate) codec: Arc<dyn Codec>,
    pub(crate) admin: KafkaAdmin,
    pub(crate) prefix: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) databases: BTreeMap<Service, PgPool>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { prefix, steps, .. } = self;
        f.debug_struct("Source").field("prefix", prefix).field("steps", steps).finish_non_exhaustive()
    }
}

impl Source {
    /// The system whose topics begin with `prefix` and whose orders go through `steps`, with the URL of each
    /// service's database. A service without one is left out. Events are in JSON; see [`Source::with_registry`].
    ///
    /// # Errors
    /// When a URL cannot be parsed or a setting of Kafka cannot be used; nothing is connected yet.
    pub fn new(
        kafka: ConnectOptions,
        prefix: impl Into<String>,
        steps: Vec<Step>,
        databases: &BTreeMap<Service, SecretString>,
    ) -> Result<Self, GatherError> {
        let pool = |(&service, url): (&Service, &SecretString)| {
            // Two connections: an auditor must not take from the services what the server has.
            let options = PgPoolOptions::new().max_connections(2).acquire_timeout(CONNECT_TIMEOUT);
            let pool = options.connect_lazy(url.expose_secret());
            pool.map(|pool| (service, pool)).map_err(|source| GatherError::Database { service, source })
        };
        let databases = databases.iter().map(pool).collect::<Result<_, _>>()?;
        let admin = KafkaAdmin::connect(&kafka)?;
        Ok(Self { kafka, codec: Arc::new(JsonCodec), admin, prefix: prefix.into(), steps, databases })
    }

    /// The same system, whose events may also be in Avro, with their schemas in this registry.
    ///
    /// # Errors
    /// When a setting of the registry cannot be used; it is not asked yet.
    pub fn with_registry(self, registry: RegistryConfig) -> Result<Self, GatherError> {
        // Of the services' codecs the one that reads both formats. Nothing is written.
        let codec = Arc::new(AvroCodec::writing_json(Registry::new(registry)?));
        Ok(Self { codec, ..self })
    }
}

/// Reads everything that is checked.
///
/// # Errors
/// [`GatherError`]; there is no verdict on half of the facts.
pub async fn gather(source: &Source) -> Result<Facts, GatherError> {
    let mut facts = topics::read(source).await?;
    databases::read(source, &mut facts).await?;
    for (service, lag) in topics::lag(source).await? {
        facts.waiting.entry(service).or_default().lag = lag;
    }
    Ok(facts)
}

/// Gathers anew while Kafka, or the registry, will soon be able to answer: after the loss of a broker, leaders and the
/// groups' coordinators move for some seconds.
async fn gather_patiently(source: &Source) -> Result<Facts, GatherError> {
    for _ in 1..ATTEMPTS {
        match gather(source).await {
            Err(error) if error.is_temporary() => tokio::time::sleep(PAUSE).await,
            gathered => return gathered,
        }
    }
    gather(source).await
}

/// Gathers and checks.
///
/// # Errors
/// As [`gather`].
pub async fn verify(source: &Source, expected: &Expected) -> Result<Report, GatherError> {
    let facts = gather_patiently(source).await?;
    let violations = check(&facts, expected);
    Ok(Report::new(&facts, violations))
}
