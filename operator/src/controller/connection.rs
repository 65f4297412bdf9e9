//! From an endpoint to what a connection needs: reads the Secrets that it names.

use std::sync::Arc;
use std::time::Duration;

use kafka_admin::{ClientIdentity, ConnectOptions, SaslCredentials, SaslMechanism, Security, TlsOptions};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::context::MANAGER;
use super::endpoint::{Endpoint, LoginFrom, Trust, Unusable, Username};
use super::error::Error;
use super::secrets::{Contents, Secrets};
use crate::crd::kafka_ref::{Mechanism, Protocol};

/// Something that `spec.kafka` leads to is not there, or not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// No such Secret.
    #[error("Secret {namespace}/{name} does not exist; create it, or correct spec.kafka")]
    Secret {
        /// Where.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The Secret lacks a key.
    #[error("Secret {namespace}/{name} has no key {key:?} with a text in it; add it, or correct spec.kafka")]
    Key {
        /// Where.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// SASL without credentials; the CRD's schema excludes it.
    #[error("protocol {0} needs spec.kafka.bootstrap.security.credentials")]
    Credentials(Protocol),
    /// A cluster of Strimzi's cannot be used.
    #[error(transparent)]
    Strimzi(#[from] Unusable),
}

impl Missing {
    /// Reason for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "SecretNotFound",
            Self::Key { .. } => "SecretKeyNotFound",
            Self::Credentials(_) => "InvalidSpec",
            Self::Strimzi(why) => why.reason(),
        }
    }
}

impl Secrets {
    /// What connecting to `endpoint` needs.
    ///
    /// # Errors
    /// [`Error::Kubernetes`] when a Secret cannot be read; that one does not exist is no error but [`Missing`].
    pub async fn options(
        &self,
        endpoint: &Endpoint,
        request_timeout: Duration,
    ) -> Result<Result<ConnectOptions, Missing>, Error> {
        let security = match self.security(endpoint).await {
            Ok(security) => security,
            Err(Lookup::Missing(missing)) => return Ok(Err(missing)),
            Err(Lookup::Failed(error)) => return Err(error),
        };
        Ok(Ok(ConnectOptions {
            bootstrap_servers: endpoint.servers.clone(),
            security,
            client_id: MANAGER.to_owned(),
            request_timeout,
        }))
    }

    async fn security(&self, endpoint: &Endpoint) -> Result<Security, Lookup> {
        let protocol = endpoint.protocol;
        let tls = if protocol.has_tls() { Some(self.tls(endpoint).await?) } else { None };
        let sasl = if protocol.has_sasl() {
            let login = endpoint.login.as_ref().ok_or(Missing::Credentials(protocol))?;
            Some(self.credentials(&endpoint.namespace, login, endpoint.mechanism).await?)
        } else {
            None
        };
        Ok(match (tls, sasl) {
            (None, None) => Security::Plaintext,
            (None, Some(sasl)) => Security::SaslPlaintext(sasl),
            (Some(tls), None) => Security::Ssl(tls),
            (Some(tls), Some(sasl)) => Security::SaslSsl(tls, sasl),
        })
    }

    async fn tls(&self, endpoint: &Endpoint) -> Result<TlsOptions, Lookup> {
        let namespace = &endpoint.namespace;
        let ca_pem = match &endpoint.trust {
            Trust::System => None,
            Trust::Key(ca) => Some(self.text(namespace, &ca.secret_name, &ca.key).await?),
            Trust::All { secret, more } => Some(self.authorities(namespace, secret, more).await?),
        };
        let identity = match &endpoint.certificate {
            Some(from) => Some(ClientIdentity {
                certificate_pem: exposed(
                    &self.text(namespace, &from.secret_name, &from.certificate_key).await?,
                ),
                key_pem: self.text(namespace, &from.secret_name, &from.private_key_key).await?,
            }),
            None => None,
        };
        Ok(TlsOptions { ca_pem: ca_pem.as_ref().map(exposed), identity })
    }

    /// Every certificate in a Secret, and `more`.
    async fn authorities(
        &self,
        namespace: &str,
        secret: &str,
        more: &[String],
    ) -> Result<SecretString, Lookup> {
        let found = self.contents(namespace, secret).await?;
        let mut all = Vec::new();
        for key in found.keys.keys().filter(|key| key.ends_with(".crt")) {
            all.push(exposed(&self.text(namespace, secret, key).await?));
        }
        if all.is_empty() {
            // Named after the one that there always should be.
            return Err(missing_key(namespace, secret, "ca.crt"));
        }
        all.extend(more.iter().cloned());
        Ok(all.join("\n").into())
    }

    async fn credentials(
        &self,
        namespace: &str,
        login: &LoginFrom,
        mechanism: Mechanism,
    ) -> Result<SaslCredentials, Lookup> {
        let username = match &login.username {
            Username::Known(name) => name.clone(),
            Username::Key(key) => exposed(&self.text(namespace, &login.secret, key).await?),
        };
        let password = self.text(namespace, &login.secret, &login.password_key).await?;
        let mechanism = match mechanism {
            Mechanism::ScramSha512 => SaslMechanism::ScramSha512,
            Mechanism::ScramSha256 => SaslMechanism::ScramSha256,
            Mechanism::Plain => SaslMechanism::Plain,
        };
        Ok(SaslCredentials { mechanism, username, password })
    }

    /// The text under `key` of a Secret.
    async fn text(&self, namespace: &str, name: &str, key: &str) -> Result<SecretString, Lookup> {
        let found = self.contents(namespace, name).await?;
        let text = found.keys.get(key).and_then(|bytes| str::from_utf8(bytes.expose_secret()).ok());
        // Files, and so Secrets made from them, end with a line break.
        let text = text.map(|text| text.trim_end_matches(['\r', '\n'])).filter(|text| !text.is_empty());
        text.map(SecretString::from).ok_or_else(|| missing_key(namespace, name, key))
    }

    async fn contents(&self, namespace: &str, name: &str) -> Result<Arc<Contents>, Lookup> {
        let found = self.get(namespace, name).await?;
        let missing = || Missing::Secret { namespace: namespace.to_owned(), name: name.to_owned() };
        Ok(found.ok_or_else(missing)?)
    }
}

fn missing_key(namespace: &str, name: &str, key: &str) -> Lookup {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Lookup::Missing(Missing::Key { namespace, name, key: key.to_owned() })
}

fn exposed(text: &SecretString) -> String {
    text.expose_secret().to_owned()
}

/// Why a look-up gave nothing; inside this file only.
enum Lookup {
    Missing(Missing),
    Failed(Error),
}

impl From<Missing> for Lookup {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl From<Error> for Lookup {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Tells connections apart: equal for equal options, another one after any change, a password's included.
pub fn fingerprint(options: &ConnectOptions) -> String {
    let mut digest = Sha256::new();
    // Lengths keep ("ab", "c") and ("a", "bc") apart.
    let mut feed = |part: &str| {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    };
    feed(&options.bootstrap_servers);
    let (tls, sasl) = match &options.security {
        Security::Plaintext => (None, None),
        Security::SaslPlaintext(sasl) => (None, Some(sasl)),
        Security::Ssl(tls) => (Some(tls), None),
        Security::SaslSsl(tls, sasl) => (Some(tls), Some(sasl)),
    };
    feed(if tls.is_some() { "tls" } else { "plain" });
    feed(tls.and_then(|tls| tls.ca_pem.as_deref()).unwrap_or_default());
    if let Some(identity) = tls.and_then(|tls| tls.identity.as_ref()) {
        feed(&identity.certificate_pem);
        feed(identity.key_pem.expose_secret());
    }
    if let Some(sasl) = sasl {
        feed(&sasl.mechanism.to_string());
        feed(&sasl.username);
        feed(sasl.password.expose_secret());
    }
    digest
        .finalize()
        .iter()
        .take(16)
        .fold(String::with_capacity(32), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sasl(username: &str, password: &str) -> ConnectOptions {
        let mechanism = SaslMechanism::ScramSha512;
        let password = SecretString::from(password);
        let credentials = SaslCredentials { mechanism, username: username.to_owned(), password };
        let security = Security::SaslPlaintext(credentials);
        ConnectOptions { security, ..ConnectOptions::plaintext("kafka:9092") }
    }

    #[test]
    fn a_rotated_password_makes_another_connection() {
        let before = fingerprint(&sasl("admin", "one"));

        assert_eq!(before, fingerprint(&sasl("admin", "one")));
        assert_ne!(before, fingerprint(&sasl("admin", "two")));
        assert_ne!(before, fingerprint(&ConnectOptions::plaintext("kafka:9092")));
        assert_ne!(fingerprint(&sasl("ab", "c")), fingerprint(&sasl("a", "bc")));
    }
}
