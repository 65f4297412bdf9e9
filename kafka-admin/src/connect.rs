//! How to reach a cluster.

use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use secrecy::{ExposeSecret, SecretString};

/// How to reach a cluster, and as whom. Debug output holds no secret.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Addresses to begin with: `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Encryption and authentication.
    pub security: Security,
    /// The name under which the brokers log and meter us.
    pub client_id: String,
    /// Longest time that a call takes, connecting included; then it ends with `Unavailable`.
    pub request_timeout: Duration,
}

impl ConnectOptions {
    /// Plain text, for clusters on a trusted network, with a bound of 15 seconds per call.
    pub fn plaintext(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            security: Security::Plaintext,
            client_id: "kafka-admin".to_owned(),
            request_timeout: Duration::from_secs(15),
        }
    }
}

/// Encryption and authentication of the connection.
#[derive(Debug, Clone)]
pub enum Security {
    /// Neither.
    Plaintext,
    /// A password over plain text. SCRAM does not send it, but everything else can be read on the way.
    SaslPlaintext(SaslCredentials),
    /// TLS, with a client certificate for authentication where the broker wants one.
    Ssl(TlsOptions),
    /// A password over TLS.
    SaslSsl(TlsOptions, SaslCredentials),
}

/// What TLS needs, as PEM in memory.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// The certificates to trust; those of the system when none.
    pub ca_pem: Option<String>,
    /// Who we are, where the broker asks for a client certificate.
    pub identity: Option<ClientIdentity>,
}

/// A client certificate with its key.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate and the chain above it, as PEM.
    pub certificate_pem: String,
    /// The private key, as PEM.
    pub key_pem: SecretString,
}

/// A user with a password.
#[derive(Debug, Clone)]
pub struct SaslCredentials {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: SecretString,
}

/// How a password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, strum::EnumString)]
pub enum SaslMechanism {
    /// The password itself is sent: for use over TLS only.
    #[strum(serialize = "PLAIN")]
    Plain,
    /// SCRAM-SHA-256: a proof is sent, never the password.
    #[strum(serialize = "SCRAM-SHA-256")]
    ScramSha256,
    /// SCRAM-SHA-512: a proof is sent, never the password.
    #[strum(serialize = "SCRAM-SHA-512")]
    ScramSha512,
}

impl ConnectOptions {
    /// The client library's settings: the only place where they appear.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config.set("client.id", &self.client_id);
        // Log lines come to us as events, instead of to standard error.
        config.set("log.queue", "true");
        // The default of 10 s would hide for so long that a broker is back.
        config.set("reconnect.backoff.max.ms", "1000");
        // An address that swallows packets must leave time for the next one; the default of 30 s is longer than a
        // whole call may take. 1 s is the least that the library takes.
        let setup_ms = (self.request_timeout.as_millis() / 2).clamp(1_000, 10_000);
        config.set("socket.connection.setup.timeout.ms", setup_ms.to_string());
        self.security.configure(&mut config);
        config
    }

    /// The same for the client that asks for offsets of groups.
    pub(crate) fn offsets_client_config(&self) -> ClientConfig {
        let mut config = self.client_config();
        // Never joined, and so never made; see `ClientType::Consumer`.
        config.set("group.id", format!("{}-offsets", self.client_id));
        config
    }
}

impl Security {
    fn configure(&self, config: &mut ClientConfig) {
        let (protocol, tls, credentials) = match self {
            Self::Plaintext => ("PLAINTEXT", None, None),
            Self::SaslPlaintext(credentials) => ("SASL_PLAINTEXT", None, Some(credentials)),
            Self::Ssl(tls) => ("SSL", Some(tls), None),
            Self::SaslSsl(tls, credentials) => ("SASL_SSL", Some(tls), Some(credentials)),
        };
        config.set("security.protocol", protocol);
        if let Some(ca) = tls.and_then(|tls| tls.ca_pem.as_ref()) {
            config.set("ssl.ca.pem", ca);
        }
        if let Some(identity) = tls.and_then(|tls| tls.identity.as_ref()) {
            config.set("ssl.certificate.pem", &identity.certificate_pem);
            config.set("ssl.key.pem", identity.key_pem.expose_secret());
        }
        if let Some(credentials) = credentials {
            config.set("sasl.mechanism", credentials.mechanism.to_string());
            config.set("sasl.username", &credentials.username);
            config.set("sasl.password", credentials.password.expose_secret());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_in_debug_output() {
        let credentials = SaslCredentials {
            mechanism: SaslMechanism::ScramSha512,
            username: "alice".to_owned(),
            password: SecretString::from("hunter2"),
        };
        let identity =
            ClientIdentity { certificate_pem: "cert".to_owned(), key_pem: SecretString::from("hunter3") };
        let tls = TlsOptions { ca_pem: None, identity: Some(identity) };
        let options = ConnectOptions {
            security: Security::SaslSsl(tls, credentials),
            ..ConnectOptions::plaintext("localhost:9092")
        };

        let shown = format!("{options:?}");

        assert!(shown.contains("alice"));
        assert!(!shown.contains("hunter"));
    }
}
