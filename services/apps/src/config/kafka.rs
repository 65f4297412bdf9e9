//! How the broker is reached.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use messaging::{ClientCertificate, Sasl, Security, Tls};
use secrecy::SecretString;

use super::parse::duration;
use super::{InvalidConfig, secret};

/// How to reach the broker.
#[derive(Debug, Clone, Args)]
pub struct KafkaConfig {
    /// Comma-separated `host:port` of some brokers.
    #[arg(long = "kafka-bootstrap-servers", env = "KAFKA_BOOTSTRAP_SERVERS")]
    pub bootstrap_servers: String,
    /// How connections are secured.
    #[arg(long = "kafka-security-protocol", env = "KAFKA_SECURITY_PROTOCOL", default_value = "PLAINTEXT")]
    pub security_protocol: SecurityProtocol,
    /// The SASL mechanism, with a SASL protocol.
    #[arg(long = "kafka-sasl-mechanism", env = "KAFKA_SASL_MECHANISM", default_value = "SCRAM-SHA-512")]
    pub sasl_mechanism: String,
    /// The SASL user, with a SASL protocol.
    #[arg(long = "kafka-username", env = "KAFKA_USERNAME")]
    pub username: Option<String>,
    /// The SASL password, with a SASL protocol.
    #[arg(skip = secret("KAFKA_PASSWORD"))]
    pub password: Option<SecretString>,
    /// PEM file of the authorities that sign the brokers' certificates, with a TLS protocol.
    #[arg(long = "kafka-ca-file", env = "KAFKA_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate, and the chain above it, by which the brokers know this process, with a TLS
    /// protocol.
    #[arg(long = "kafka-client-certificate-file", env = "KAFKA_CLIENT_CERTIFICATE_FILE")]
    pub client_certificate_file: Option<PathBuf>,
    /// PEM file of the private key of that certificate.
    #[arg(long = "kafka-client-key-file", env = "KAFKA_CLIENT_KEY_FILE")]
    pub client_key_file: Option<PathBuf>,
    /// Put before every topic and consumer group, so that pipelines can share a cluster.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    pub topic_prefix: String,
    /// How long a replica may be silent until others get its partitions; the broker accepts 6s to 30m by default.
    #[arg(long = "kafka-session-timeout", env = "KAFKA_SESSION_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub session_timeout: Duration,
}

/// Kafka's names of the ways to secure a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SecurityProtocol {
    /// Neither encryption nor authentication.
    Plaintext,
    /// Authentication without encryption.
    SaslPlaintext,
    /// TLS; with a client certificate, mutual.
    Ssl,
    /// Authentication over TLS.
    SaslSsl,
}

impl KafkaConfig {
    /// The connection of the process that calls itself `client_id`.
    ///
    /// # Errors
    /// When a setting that the security protocol needs is missing, or one that it cannot use is there.
    pub fn connection(&self, client_id: &str) -> Result<messaging::KafkaConfig, InvalidConfig> {
        let client = self.client_certificate()?;
        let tls = Tls { ca_file: self.ca_file.clone(), client };
        let security = match self.security_protocol {
            SecurityProtocol::Plaintext => Security::Plaintext,
            SecurityProtocol::SaslPlaintext => Security::SaslPlaintext(self.sasl()?),
            SecurityProtocol::Ssl => Security::Ssl(tls),
            SecurityProtocol::SaslSsl => Security::SaslSsl(self.sasl()?, tls),
        };
        Ok(messaging::KafkaConfig {
            bootstrap_servers: self.bootstrap_servers.clone(),
            security,
            client_id: client_id.to_owned(),
            topic_prefix: self.topic_prefix.clone(),
            session_timeout: self.session_timeout,
            group_protocol: messaging::GroupProtocol::default(),
        })
    }

    fn sasl(&self) -> Result<Sasl, InvalidConfig> {
        let missing = |name| InvalidConfig::Missing { name, why: "the security protocol uses SASL" };
        Ok(Sasl {
            mechanism: self.sasl_mechanism.clone(),
            username: self.username.clone().ok_or_else(|| missing("KAFKA_USERNAME"))?,
            password: self.password.clone().ok_or_else(|| missing("KAFKA_PASSWORD"))?,
        })
    }
    /// Half of a certificate, or one that nobody would see, is a mistake: the process would come in as nobody.
    fn client_certificate(&self) -> Result<Option<ClientCertificate>, InvalidConfig> {
        const CERTIFICATE: &str = "KAFKA_CLIENT_CERTIFICATE_FILE";
        const KEY: &str = "KAFKA_CLIENT_KEY_FILE";
        let missing = |name, why| Err(InvalidConfig::Missing { name, why });
        let (certificate_file, key_file) = match (&self.client_certificate_file, &self.client_key_file) {
            (None, None) => return Ok(None),
            (Some(_), None) => {
                return missing(KEY, "KAFKA_CLIENT_CERTIFICATE_FILE is set, and needs its key");
            }
            (None, Some(_)) => {
                return missing(CERTIFICATE, "KAFKA_CLIENT_KEY_FILE is set, and needs its certificate");
            }
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        };
        match self.security_protocol {
            SecurityProtocol::Ssl | SecurityProtocol::SaslSsl => {
                Ok(Some(ClientCertificate { certificate_file, key_file }))
            }
            SecurityProtocol::Plaintext | SecurityProtocol::SaslPlaintext => Err(InvalidConfig::Invalid {
                name: CERTIFICATE,
                reason: "is shown over TLS only; set KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka(arguments: &[&str]) -> KafkaConfig {
        #[derive(clap::Parser)]
        struct Process {
            #[command(flatten)]
            kafka: KafkaConfig,
        }
        let given = ["orders", "--kafka-bootstrap-servers", "kafka:9093", "--kafka-security-protocol"];
        <Process as clap::Parser>::try_parse_from(given.iter().chain(arguments)).unwrap().kafka
    }

    fn refusal(arguments: &[&str]) -> String {
        kafka(arguments).connection("order").unwrap_err().to_string()
    }

    const CERTIFICATE: [&str; 2] = ["--kafka-client-certificate-file", "/tls/user.crt"];
    const KEY: [&str; 2] = ["--kafka-client-key-file", "/tls/user.key"];

    #[test]
    fn a_client_certificate_and_the_brokers_authority_are_passed_on() {
        let arguments = [&["SSL", "--kafka-ca-file", "/tls/ca.crt"][..], &CERTIFICATE, &KEY].concat();

        let Security::Ssl(tls) = kafka(&arguments).connection("order").unwrap().security else { panic!() };

        let client = tls.client.unwrap();
        assert_eq!(tls.ca_file, Some("/tls/ca.crt".into()));
        assert_eq!(client.certificate_file, PathBuf::from("/tls/user.crt"));
        assert_eq!(client.key_file, PathBuf::from("/tls/user.key"));
    }

    #[test]
    fn half_of_a_client_certificate_is_refused_by_the_name_of_the_other() {
        let certificate = refusal(&[&["SSL"][..], &CERTIFICATE].concat());
        let key = refusal(&[&["SSL"][..], &KEY].concat());

        assert!(certificate.starts_with("KAFKA_CLIENT_KEY_FILE is not set"), "{certificate}");
        assert!(key.starts_with("KAFKA_CLIENT_CERTIFICATE_FILE is not set"), "{key}");
    }

    #[test]
    fn a_client_certificate_without_tls_is_refused_with_the_remedy() {
        for protocol in ["PLAINTEXT", "SASL_PLAINTEXT"] {
            let refused = refusal(&[&[protocol][..], &CERTIFICATE, &KEY].concat());

            assert!(refused.starts_with("KAFKA_CLIENT_CERTIFICATE_FILE is shown over TLS only"), "{refused}");
            assert!(refused.ends_with("set KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL"), "{refused}");
        }
    }

    #[test]
    fn a_sasl_protocol_needs_its_user() {
        assert_eq!(refusal(&["SASL_SSL"]), "KAFKA_USERNAME is not set (the security protocol uses SASL)");
    }
}
