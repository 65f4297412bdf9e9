//! The configuration of the process: arguments, or environment variables of the same meaning.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

use crate::controller::context::Settings;

/// The order pipeline operator.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Args {
    /// Image of the order services, where a pipeline names none.
    #[arg(long, env = "ORDERS_IMAGE", default_value = "orderpipeline/orders:dev")]
    pub orders_image: String,
    /// Look at this namespace only; at all of them when empty.
    #[arg(long, env = "WATCH_NAMESPACE", default_value = "")]
    pub watch_namespace: String,
    /// Namespace of the Lease that one of several operators holds. Without it this process works at once, as
    /// if there were no other.
    #[arg(long, env = "LEASE_NAMESPACE", default_value = "")]
    pub lease_namespace: String,
    /// How long an operator that does not answer any more keeps the others waiting.
    #[arg(long, env = "LEASE_DURATION_SECONDS", default_value = "15", value_parser = seconds)]
    pub lease_duration_seconds: Duration,
    /// Address of probes and metrics.
    #[arg(long, env = "ADMIN_ADDR", default_value = "0.0.0.0:9090")]
    pub admin_addr: SocketAddr,
    /// What is logged: a level, or directives such as `info,operator=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Most passes under way per kind.
    #[arg(long, env = "CONCURRENCY", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// How often every object is looked at when nothing happens.
    #[arg(long, env = "RESYNC_SECONDS", default_value = "600", value_parser = seconds)]
    pub resync_seconds: Duration,
    /// How often the topics of a cluster are compared with their objects.
    #[arg(long, env = "DRIFT_INTERVAL_SECONDS", default_value = "30", value_parser = seconds)]
    pub drift_interval_seconds: Duration,
    /// How long the deletion of an object may wait for its Kafka cluster.
    #[arg(long, env = "CLEANUP_TIMEOUT_SECONDS", default_value = "60", value_parser = seconds)]
    pub cleanup_timeout_seconds: Duration,
    /// Longest time that a call to a Kafka cluster takes.
    #[arg(long, env = "KAFKA_TIMEOUT_SECONDS", default_value = "10", value_parser = seconds)]
    pub kafka_timeout_seconds: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        Ok(_) | Err(_) => Err("a whole number of seconds from 1 to 86400 is expected".to_owned()),
    }
}

impl Args {
    /// What of it concerns the controllers.
    pub fn settings(&self) -> Settings {
        Settings {
            namespace: Some(self.watch_namespace.clone()).filter(|namespace| !namespace.is_empty()),
            orders_image: self.orders_image.clone(),
            concurrency: self.concurrency,
            resync: self.resync_seconds,
            drift_interval: self.drift_interval_seconds,
            cleanup_timeout: self.cleanup_timeout_seconds,
            kafka_timeout: self.kafka_timeout_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent_and_default_to_all_namespaces() {
        Args::command().debug_assert();

        let settings = Args::parse_from(["operator"]).settings();

        assert_eq!(settings.namespace, None);
        assert_eq!(settings.drift_interval, Duration::from_secs(30));
    }
}
