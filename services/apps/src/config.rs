//! Everything a process can be told from outside, by environment variable (or, for what is no secret, by
//! flag). Parsed and validated as a whole before the first connection is made, and logged at start; secrets
//! are read from the environment only and never shown.

mod jwt;
mod kafka;
mod parse;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use contract::{Service, Step};
use domain::catalogue::{Catalogue, InitialStock};
use domain::hold::HoldTerms;
use domain::saga::{SagaConfig, Timeouts};
use secrecy::SecretString;

pub use self::jwt::JwtConfig;
pub use self::kafka::{KafkaConfig, SecurityProtocol};
use self::parse::{duration, listed, log_filter, step};
use crate::events::EventsConfig;
use crate::provider::simulator::Conduct;

/// The order services: one binary, one role per process.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Secrets are read from the environment only: DATABASE_URL, KAFKA_PASSWORD, \
    SCHEMA_REGISTRY_PASSWORD, SMTP_URL, SMS_WEBHOOK_URL; for prepare-database: ADMIN_DATABASE_URL."
)]
pub struct Cli {
    /// What this process is.
    #[command(subcommand)]
    pub command: Command,
}

/// The roles a process can take.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take orders over HTTP and lead each to its end.
    Order(Box<Config>),
    /// Keep the stock: reserve, release, sell.
    Inventory(Box<Config>),
    /// Capture customers' money, and give it back.
    Payment(Box<Config>),
    /// Have orders carried to customers.
    Shipping(Box<Config>),
    /// Tell customers about their orders.
    Notification(Box<Config>),
    /// Count the sales of each hour.
    OrderAnalytics(Box<Config>),
    /// Every service in this process, each on its own port and database; for development.
    All(Box<Config>),
    /// Create the database and the role of every service, then exit. Safe to run again.
    PrepareDatabase(PrepareConfig),
}

/// What a service process needs to know.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// How to reach the broker.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// How events are written.
    #[command(flatten)]
    pub events: EventsConfig,
    /// The service's own database, `postgres://user:password@host:port/name`. In the role `all` each service
    /// has the database `<name>_<service>` on the same server, created if it is missing.
    #[arg(skip = secret("DATABASE_URL"))]
    pub database_url: Option<SecretString>,
    /// PEM file of the authorities that sign the database server's certificate. With it, connections are encrypted and
    /// the server's name is verified, whatever the URL says; only `sslmode=verify-ca` stays as it is.
    #[arg(long, env = "DATABASE_CA_FILE")]
    pub database_ca_file: Option<PathBuf>,
    /// Connections to the database per service. Few are enough, because work is done in batches, and every
    /// one costs the server a process.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub database_connections: u32,
    /// Where the public API listens. In the role `all` only the host counts: each service has its own port.
    #[arg(long, env = "HTTP_ADDR", default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,
    /// Where probes and metrics are served.
    #[arg(long, env = "ADMIN_ADDR", default_value = "0.0.0.0:9090")]
    pub admin_addr: SocketAddr,
    /// How this process stops.
    #[command(flatten)]
    pub drain: DrainConfig,
    /// Whose tokens the public API asks for.
    #[command(flatten)]
    pub jwt: JwtConfig,
    /// What is logged: a level, or directives such as `info,orders=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = log_filter)]
    pub log_level: String,
    /// The pipeline this process belongs to, for the logs.
    #[arg(long, env = "PIPELINE", default_value = "")]
    pub pipeline: String,
    /// The steps of an order's saga, in order, comma-separated. The services of the steps need to know as well
    /// as the order service: each begins when the step before it succeeded.
    #[arg(long, env = "SAGA_STEPS", default_value = "inventory", value_delimiter = ',', value_parser = step)]
    pub saga_steps: Vec<Step>,
    /// Names this process among those of its service, for streams: in Kubernetes the pod's name, which is what
    /// its host name is by default. Two processes of one name end each other.
    #[arg(long, env = "INSTANCE")]
    pub instance: Option<String>,
    /// Which part of the service this process runs. `api` and `events` are two processes of one service, with one
    /// database, and together what `all` is alone.
    #[arg(long, env = "PARTS", default_value = "all", ignore_case = true)]
    pub parts: ServiceParts,
    /// The order service.
    #[command(flatten)]
    pub order: OrderConfig,
    /// The inventory service.
    #[command(flatten)]
    pub inventory: InventoryConfig,
    /// The payment service.
    #[command(flatten)]
    pub payment: PaymentConfig,
    /// The shipping service.
    #[command(flatten)]
    pub shipping: ShippingConfig,
    /// The notification service.
    #[command(flatten)]
    pub notification: NotificationConfig,
    /// The sales analytics.
    #[command(flatten)]
    pub order_analytics: OrderAnalyticsConfig,
}

/// Parts of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ServiceParts {
    /// The whole service.
    #[default]
    All,
    /// The public API, and the loops that requests need.
    Api,
    /// What happens to events: consumer, workers, sweepers, and the relay that publishes what both write.
    Events,
}

impl ServiceParts {
    /// Whether the API is among them.
    pub fn has_api(self) -> bool {
        matches!(self, Self::All | Self::Api)
    }

    /// Whether what happens to events is among them.
    pub fn has_events(self) -> bool {
        matches!(self, Self::All | Self::Events)
    }
}

/// How a process stops. Both together must be less than the pod's `terminationGracePeriodSeconds`.
#[derive(Debug, Clone, Copy, Args)]
pub struct DrainConfig {
    /// How long requests are still taken after the process reported itself not ready: a Service needs about
    /// a second to stop sending them.
    #[arg(long = "drain-delay", env = "DRAIN_DELAY", default_value = "2s", value_parser = duration)]
    pub delay: Duration,
    /// How long requests, batches and the outbox may then take to finish before they are abandoned (and
    /// done again by the next process).
    #[arg(long = "drain-timeout", env = "DRAIN_TIMEOUT", default_value = "20s", value_parser = duration)]
    pub timeout: Duration,
}

/// What the short order form can name when nothing else is configured.
const BUILTIN_CATALOGUE: &str = "burger=8.99 USD,pizza=12.50 USD,salad=7.25 USD,fries=3.49 USD,soda=1.99 USD";

/// What the order service can be told.
#[derive(Debug, Clone, Args)]
pub struct OrderConfig {
    /// How long a step may take before the order is cancelled.
    #[arg(long, env = "SAGA_STEP_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub saga_step_timeout: Duration,
    /// How long no order is cancelled for want of answers while they may go unheard: because the broker is away, or a
    /// backlog is being handled. Then late ones are cancelled all the same, so that every order ends.
    #[arg(long, env = "SAGA_OUTAGE_LIMIT", default_value = "1h", value_parser = duration)]
    pub saga_outage_limit: Duration,
    /// How long a confirmed order waits for its notification before it is completed without.
    #[arg(long, env = "SAGA_NOTIFICATION_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub saga_notification_timeout: Duration,
    /// How long a confirmed order waits for its delivery before it is completed without, where it is shipped.
    #[arg(long, env = "SAGA_DELIVERY_TIMEOUT", default_value = "720h", value_parser = duration)]
    pub saga_delivery_timeout: Duration,
    /// Prices of the short order form, `<product>=<price> <currency>`, comma-separated.
    #[arg(long, env = "ORDER_CATALOGUE", default_value = BUILTIN_CATALOGUE, value_parser = listed::<Catalogue>)]
    pub order_catalogue: Catalogue,
}

impl OrderConfig {
    /// How long deadlines are held when answers may have gone unheard.
    pub fn hold_terms(&self) -> HoldTerms {
        HoldTerms { patience: self.saga_step_timeout, limit: self.saga_outage_limit }
    }
}

/// What the inventory service can be told.
#[derive(Debug, Clone, Args)]
pub struct InventoryConfig {
    /// Stock of products that the database does not know yet, `<product>=<units>`, comma-separated.
    #[arg(long, env = "INVENTORY_INITIAL_STOCK", default_value = "burger=100,pizza=50", value_parser = listed::<InitialStock>)]
    pub inventory_initial_stock: InitialStock,
    /// How long a reservation is held for an order that is not decided.
    #[arg(long, env = "INVENTORY_RESERVATION_TTL", default_value = "15m", value_parser = duration)]
    pub inventory_reservation_ttl: Duration,
    /// How long an order that finds too little stock waits for its turn; with 0s it fails at once.
    #[arg(long, env = "INVENTORY_BACKORDER_TIMEOUT", default_value = "0s", value_parser = duration)]
    pub inventory_backorder_timeout: Duration,
}

impl InventoryConfig {
    /// How long reservations are held beyond their time when decisions may have gone unheard. Nobody can take what
    /// they keep meanwhile, because orders go unheard as well.
    pub fn hold_terms(&self) -> HoldTerms {
        let patience = self.inventory_reservation_ttl;
        HoldTerms { patience, limit: patience.saturating_mul(10) }
    }
}

/// What the payment service can be told.
#[derive(Debug, Clone, Args)]
pub struct PaymentConfig {
    /// How long an order's payment is asked for before it fails. Less than SAGA_STEP_TIMEOUT, so that orders
    /// learn the reason.
    #[arg(long, env = "PAYMENT_BUDGET", default_value = "20s", value_parser = duration)]
    pub payment_budget: Duration,
    /// How the simulated provider behaves at first, as JSON: latencyMs, failureRate, outage, refusedCustomers.
    #[arg(long, env = "PAYMENT_SIMULATOR", default_value = "{}", value_parser = Conduct::from_str)]
    pub payment_simulator: Conduct,
}

/// What the shipping service can be told.
#[derive(Debug, Clone, Args)]
pub struct ShippingConfig {
    /// How long a carrier is asked to take an order's parcel before it fails. Less than SAGA_STEP_TIMEOUT, so
    /// that orders learn the reason.
    #[arg(long, env = "SHIPPING_BUDGET", default_value = "20s", value_parser = duration)]
    pub shipping_budget: Duration,
    /// How long a parcel travels; with 0s it arrives as it leaves.
    #[arg(long, env = "SHIPPING_TRANSIT", default_value = "3s", value_parser = duration)]
    pub shipping_transit: Duration,
    /// How the simulated carrier behaves at first, as JSON: latencyMs, failureRate, outage, refusedCustomers.
    #[arg(long, env = "SHIPPING_SIMULATOR", default_value = "{\"refusedCustomers\":\"remote-\"}", value_parser = Conduct::from_str)]
    pub shipping_simulator: Conduct,
}

/// What the notification service can be told.
#[derive(Debug, Clone, Args)]
pub struct NotificationConfig {
    /// The mail server, `smtp://host:port` or `smtps://user:password@host`; none: no mail is sent.
    #[arg(skip = secret("SMTP_URL"))]
    pub smtp_url: Option<SecretString>,
    /// The sender of mails.
    #[arg(long, env = "MAIL_FROM", default_value = "Orders <orders@example.com>")]
    pub mail_from: String,
    /// Where text messages are posted to; none: none are sent. Such addresses often carry a token.
    #[arg(skip = secret("SMS_WEBHOOK_URL"))]
    pub sms_webhook_url: Option<SecretString>,
}

/// What the sales analytics can be told.
#[derive(Debug, Clone, Args)]
pub struct OrderAnalyticsConfig {
    /// How long after its end an hour waits for orders that are under way, by the time of the events. What comes
    /// later is not counted. All orders of the hours that wait are held in memory.
    #[arg(long, env = "ORDER_ANALYTICS_GRACE", default_value = "1h", value_parser = duration)]
    pub order_analytics_grace: Duration,
}

/// What `prepare-database` needs to know.
#[derive(Debug, Clone, Args)]
pub struct PrepareConfig {
    /// A URL whose user may create roles and databases.
    #[arg(skip = secret("ADMIN_DATABASE_URL"))]
    pub admin_database_url: Option<SecretString>,
    /// PEM file of the authorities that sign the database server's certificate, as for the services.
    #[arg(long, env = "DATABASE_CA_FILE")]
    pub database_ca_file: Option<PathBuf>,
    /// A folder with one folder per service, each with a file `DATABASE_URL`.
    #[arg(long, env = "DATABASES_DIR", default_value = "/run/orderpipeline/databases")]
    pub databases_dir: PathBuf,
    /// What is logged.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = log_filter)]
    pub log_level: String,
}

/// A setting that no parser of a single value could refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// A variable without a default is not set.
    #[error("{name} is not set ({why})")]
    Missing {
        /// The variable.
        name: &'static str,
        /// When it is needed.
        why: &'static str,
    },
    /// A variable is set to something that does not work.
    #[error("{name} {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Config {
    /// Checks what concerns more than one setting, for a process that runs `services`.
    ///
    /// # Errors
    /// The first setting at fault.
    pub fn validate(&self, services: &[Service]) -> Result<(), InvalidConfig> {
        self.kafka.connection("")?;
        self.events.registry()?;
        self.jwt.trust()?;

        if let Some(whole) = services.iter().find(|service| !service.spec().has_api())
            && self.parts != ServiceParts::All
        {
            let reason = format!("must be all: the {whole} service has no API, and so no parts");
            return Err(InvalidConfig::Invalid { name: "PARTS", reason });
        }
        if services.iter().any(|service| service.spec().has_database) {
            self.database_url()?;
        }
        if services.contains(&Service::Order) {
            self.saga()?;
        }
        Ok(())
    }

    /// The saga by which new orders go.
    ///
    /// # Errors
    /// When no saga can run with these steps.
    pub fn saga(&self) -> Result<SagaConfig, InvalidConfig> {
        let timeouts = Timeouts {
            step: self.order.saga_step_timeout,
            notification: self.order.saga_notification_timeout,
            delivery: self.order.saga_delivery_timeout,
        };
        SagaConfig::new(self.saga_steps.clone(), timeouts).map_err(|error| InvalidConfig::Invalid {
            name: "SAGA_STEPS",
            reason: format!("are no saga: {error}"),
        })
    }

    /// The name of this process among those of its service.
    pub fn instance(&self) -> String {
        let given = self.instance.clone().or_else(|| std::env::var("HOSTNAME").ok());
        given.filter(|name| !name.is_empty()).unwrap_or_else(|| "local".to_owned())
    }

    /// The database URL, present in every valid configuration of a service that has a database.
    ///
    /// # Errors
    /// When it is not set.
    pub fn database_url(&self) -> Result<&SecretString, InvalidConfig> {
        self.database_url
            .as_ref()
            .ok_or(InvalidConfig::Missing { name: "DATABASE_URL", why: "the service has its own database" })
    }
}

/// Reads a secret from the environment; an empty one counts as not set.
pub(crate) fn secret(name: &str) -> Option<SecretString> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(SecretString::from)
}
