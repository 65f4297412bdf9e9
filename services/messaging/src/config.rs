//! How Kafka is reached, and every librdkafka setting of the services. What is not set here is librdkafka's
//! default on purpose; what is set says why.

use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use secrecy::{ExposeSecret, SecretString};

/// How often librdkafka reports its statistics, from which the lag metric is taken.
pub(crate) const STATISTICS_INTERVAL: Duration = Duration::from_secs(5);

/// How often members say that they live, and learn that the group is being rebalanced: until all know, partitions that
/// move stand still. The default of 3 s is 3.5 s of waiting for whoever joins or leaves.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How to reach the cluster, and how the pipeline names its topics and groups.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// Comma-separated `host:port` of some brokers.
    pub bootstrap_servers: String,
    /// How connections are secured.
    pub security: Security,
    /// Names this process in the broker's logs, metrics and quotas.
    pub client_id: String,
    /// Put before every topic and consumer group, so that pipelines can share a cluster. May be empty.
    pub topic_prefix: String,
    /// How long a member of a group may be silent until its partitions get another owner; the classic protocol's.
    pub session_timeout: Duration,
    /// How the members of a group share its partitions.
    pub group_protocol: GroupProtocol,
}

impl KafkaConfig {
    /// How long a killed pod's partitions stand still. librdkafka's default of 45 s outlasts a saga's deadlines;
    /// much less, and a pause of a busy machine looks like a death.
    pub const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

    /// A cluster without encryption or authentication.
    #[must_use]
    pub fn plaintext(
        bootstrap_servers: impl Into<String>,
        client_id: impl Into<String>,
        topic_prefix: impl Into<String>,
    ) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            security: Security::Plaintext,
            client_id: client_id.into(),
            topic_prefix: topic_prefix.into(),
            session_timeout: Self::SESSION_TIMEOUT,
            group_protocol: GroupProtocol::default(),
        }
    }
}

/// How the members of a group share its partitions. `docs/performance.md` has both measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum GroupProtocol {
    /// The members agree among themselves, and only partitions that move are stopped (`cooperative-sticky`).
    #[default]
    Classic,
    /// The broker decides (KIP-848; Kafka 4.0 or later), and how long a member may be silent as well.
    Consumer,
}

/// How connections are secured.
#[derive(Debug, Clone)]
pub enum Security {
    /// Neither encryption nor authentication.
    Plaintext,
    /// Authentication without encryption.
    SaslPlaintext(Sasl),
    /// TLS; with a client certificate, mutual.
    Ssl(Tls),
    /// Authentication over TLS.
    SaslSsl(Sasl, Tls),
}

/// SASL credentials.
#[derive(Debug, Clone)]
pub struct Sasl {
    /// `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub mechanism: String,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: SecretString,
}

/// What TLS needs to know.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM file of the authorities that sign the brokers' certificates; the system's where absent.
    pub ca_file: Option<PathBuf>,
    /// PEM files of a client certificate and its key.
    pub client: Option<ClientCertificate>,
}

/// PEM files of a client certificate.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate chain.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// The settings of the one producer of a process.
pub(crate) fn producer(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = client(kafka);
    config
        // A retry after a lost acknowledgement must neither duplicate nor reorder: order per key depends on it.
        .set("enable.idempotence", "true")
        // An outbox row is deleted on the acknowledgement, so it must mean: on every in-sync replica.
        .set("acks", "all")
        // Never give a record up by time. One that timed out would be overtaken by the next of its key, which
        // breaks order; and nothing is gained, since its row stays in the outbox and would be sent again.
        .set("message.timeout.ms", "0")
        // A topic that is missing refuses what is sent to it at once. By default its records would wait for it, and all
        // that was handed over with them, for 30 s.
        .set("topic.metadata.propagation.max.ms", "0")
        // The relay hands over whole batches, so there is little to wait for; 1 ms lets a batch gather where
        // the default of 5 would be most of a hop's latency.
        .set("linger.ms", "1")
        // Events of one kind repeat their field names: lz4 saves about two thirds for next to no CPU.
        .set("compression.type", "lz4")
        // As Java clients partition, so that a record replayed or written by a tool meets its key's others.
        .set("partitioner", "murmur2_random")
        // Bounds the memory of an outage; the default is 1 GiB, more than a service's pod has.
        .set("queue.buffering.max.kbytes", "65536");
    config
}

/// How long a transaction may stay open before the coordinator gives it up. Ours take milliseconds; what takes so
/// long was left open by a process that died, and readers wait for it. The default is a minute; much shorter, and
/// a broker's restart would fence a producer that only waits for it.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of the producer of streams that owns `transactional_id`.
pub(crate) fn transactional_producer(kafka: &KafkaConfig, transactional_id: &str) -> ClientConfig {
    let mut config = producer(kafka);
    config
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
        // A record that is not taken within the transaction's time is of no use to it.
        .set("message.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
        // The coordinator refuses a transaction while it still writes the marks of the one before
        // (CONCURRENT_TRANSACTIONS). That takes a few ms; the default of 100 would be most of a transaction.
        .set("retry.backoff.ms", "5");
    config
}

/// The settings of a reader of whole partitions: assigned by hand, from their beginning, and told at their end.
/// `group` is a name only: it is not joined, and nothing is committed to it.
pub(crate) fn reader(kafka: &KafkaConfig, group: &str) -> ClientConfig {
    let mut config = consumer(kafka, group);
    config
        // The end must be told: after transactions it is no record.
        .set("enable.partition.eof", "true")
        // Nobody asks a reader for statistics.
        .set("statistics.interval.ms", "0");
    config
}

/// The same, that sees also what is not committed.
pub(crate) fn uncommitted_reader(kafka: &KafkaConfig, group: &str) -> ClientConfig {
    let mut config = reader(kafka, group);
    config.set("isolation.level", "read_uncommitted");
    config
}

/// The settings of a consumer in `group`.
pub(crate) fn consumer(kafka: &KafkaConfig, group: &str) -> ClientConfig {
    let mut config = client(kafka);
    config
        .set("group.id", group)
        // Offsets are committed after the database transaction, by hand; a timer would commit what is not done.
        .set("enable.auto.commit", "false")
        // Likewise nothing is marked as done because it was merely fetched.
        .set("enable.auto.offset.store", "false")
        // A new group starts with the oldest record. The default, latest, silently skips what was sent while
        // the service was first being deployed; what was handled before is known by the inbox.
        .set("auto.offset.reset", "earliest")
        // Records of aborted transactions are no facts. librdkafka's default, stated because Java's differs.
        .set("isolation.level", "read_committed")
        // Bound what is fetched ahead of the handler: the defaults are 100,000 records and 64 MiB.
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", "16384")
        // How long fetching rests once that bound is met. The default of 1 s is a stall in every long backlog.
        .set("fetch.queue.backoff.ms", "50")
        // A record damaged on its way must not become a dead letter. The Java client checks, librdkafka's
        // default is not to; with hardware CRC32C it costs nothing measurable.
        .set("check.crcs", "true")
        // Lag per partition is taken from the statistics, where it costs no request of its own.
        .set("statistics.interval.ms", STATISTICS_INTERVAL.as_millis().to_string());
    join(&mut config, kafka);
    config
}

/// How a consumer becomes and stays a member of its group.
fn join(config: &mut ClientConfig, kafka: &KafkaConfig) {
    config.set("group.protocol", kafka.group_protocol.to_string());
    // With the other one the broker decides about these, and the client refuses them.
    if kafka.group_protocol == GroupProtocol::Classic {
        config
            // Only partitions that move are stopped: a rolling restart does not halt every replica each time.
            .set("partition.assignment.strategy", "cooperative-sticky")
            // See `KafkaConfig::SESSION_TIMEOUT`; nobody is given up for fewer than three heartbeats.
            .set("session.timeout.ms", kafka.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", HEARTBEAT.min(kafka.session_timeout / 3).as_millis().to_string());
    }
}

fn client(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("client.id", &kafka.client_id)
        // Topics are the operator's. One created by a misspelt name would have the broker's defaults and
        // hide the mistake.
        .set("allow.auto.create.topics", "false")
        // How soon new partitions and newly created topics are noticed; the default is 5 minutes.
        .set("topic.metadata.refresh.interval.ms", "10000")
        // How long a broker that came back may go unnoticed; the default is 10 s.
        .set("reconnect.backoff.max.ms", "2000")
        // Cloud load balancers drop idle connections without a word; the default is no keepalive.
        .set("socket.keepalive.enable", "true")
        // Brokers close idle connections; that is no news.
        .set("log.connection.close", "false");
    secure(&mut config, &kafka.security);
    config
}

fn secure(config: &mut ClientConfig, security: &Security) {
    let (protocol, sasl, tls) = match security {
        Security::Plaintext => ("PLAINTEXT", None, None),
        Security::SaslPlaintext(sasl) => ("SASL_PLAINTEXT", Some(sasl), None),
        Security::Ssl(tls) => ("SSL", None, Some(tls)),
        Security::SaslSsl(sasl, tls) => ("SASL_SSL", Some(sasl), Some(tls)),
    };
    config.set("security.protocol", protocol);
    if let Some(sasl) = sasl {
        config
            .set("sasl.mechanism", &sasl.mechanism)
            .set("sasl.username", &sasl.username)
            .set("sasl.password", sasl.password.expose_secret());
    }
    let Some(tls) = tls else { return };
    if let Some(ca_file) = &tls.ca_file {
        config.set("ssl.ca.location", ca_file.to_string_lossy());
    }
    if let Some(client) = &tls.client {
        config
            .set("ssl.certificate.location", client.certificate_file.to_string_lossy())
            .set("ssl.key.location", client.key_file.to_string_lossy());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka(security: Security) -> KafkaConfig {
        KafkaConfig { security, ..KafkaConfig::plaintext("127.0.0.1:9092", "test", "") }
    }

    fn scram() -> Sasl {
        Sasl { mechanism: "SCRAM-SHA-512".into(), username: "order".into(), password: "hunter2".into() }
    }

    #[test]
    fn librdkafka_accepts_every_setting() {
        for security in [Security::Plaintext, Security::SaslPlaintext(scram()), Security::Ssl(Tls::default())]
        {
            let kafka = kafka(security);

            assert!(producer(&kafka).create_native_config().is_ok());
            assert!(consumer(&kafka, "group").create_native_config().is_ok());
            assert!(reader(&kafka, "group").create_native_config().is_ok());
            assert!(transactional_producer(&kafka, "id").create_native_config().is_ok());
            assert!(uncommitted_reader(&kafka, "group").create_native_config().is_ok());
        }
    }

    #[test]
    fn the_password_does_not_show() {
        let kafka = kafka(Security::SaslPlaintext(scram()));

        assert!(!format!("{kafka:?}").contains("hunter2"));
    }

    #[test]
    fn tls_files_are_passed_on() {
        let tls = Tls { ca_file: Some("/ca.crt".into()), client: None };

        let config = producer(&kafka(Security::SaslSsl(scram(), tls)));

        assert_eq!(config.get("ssl.ca.location"), Some("/ca.crt"));
        assert_eq!(config.get("security.protocol"), Some("SASL_SSL"));
    }
}
