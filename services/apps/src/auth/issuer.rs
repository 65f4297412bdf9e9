//! How the keys of an issuer are fetched: from an address that was given, or from the one that the issuer names by
//! OpenID Connect discovery.

use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode, redirect};
use serde::Deserialize;
use url::Url;

use super::Trust;
use super::jwks::KeySet;

/// How long an answer may take. The first requests after a start wait for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long connecting may take: an issuer on the other side of a firewall that drops is noticed soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest answer that is read; sets of keys have a few KiB. Whoever answers more is not the issuer that was meant,
/// and must not fill our memory.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Where an issuer describes itself (OpenID Connect Discovery 1.0, 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A guard that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the certificate authorities of JWT_CA_FILE cannot be used")]
pub struct SetupError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{url} does not answer")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("{url} answered {status}")]
    Refused { url: String, status: StatusCode },
    #[error("{url} answered more than {LARGEST_ANSWER} bytes")]
    TooLarge { url: String },
    #[error("{url} answered something else than {what}")]
    Unreadable { url: String, what: &'static str, source: serde_json::Error },
    #[error("{url} describes the issuer {found}, and JWT_ISSUER is {expected}")]
    Foreign { url: String, found: String, expected: String },
    #[error(
        "{url} names keys at {keys}, which anybody on the way could replace; it must begin with https://"
    )]
    Unprotected { url: String, keys: String },
}

/// What an issuer says about itself.
#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

/// Somebody who makes tokens.
pub(super) struct Issuer {
    name: String,
    jwks_url: Option<Url>,
    client: Client,
}

impl Issuer {
    /// The issuer that is trusted. It is not asked yet.
    pub(super) fn new(trust: &Trust) -> Result<Self, SetupError> {
        messaging::install_tls_provider();
        // Keys come from where they are said to be: a redirect could lead away from https, and from whom is trusted.
        let mut builder = Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none());
        if let Some(file) = &trust.ca_file {
            let pem = std::fs::read(file).map_err(|error| SetupError(error.into()))?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| SetupError(error.into()))?;
            if authorities.is_empty() {
                return Err(SetupError("there is no certificate in PEM in it".into()));
            }
            for authority in authorities {
                builder = builder.add_root_certificate(authority);
            }
        }
        let client = builder.build().map_err(|error| SetupError(error.into()))?;
        Ok(Self { name: trust.issuer.clone(), jwks_url: trust.jwks_url.clone(), client })
    }

    /// The keys that the issuer publishes now. Where they are is asked anew each time: issuers move.
    pub(super) async fn keys(&self) -> Result<KeySet, FetchError> {
        let url = match &self.jwks_url {
            Some(url) => url.to_string(),
            None => self.discover().await?,
        };
        let json = self.get(&url).await?;
        KeySet::read(&json).map_err(|source| FetchError::Unreadable { url, what: "a set of keys", source })
    }

    async fn discover(&self) -> Result<String, FetchError> {
        let url = format!("{}{DISCOVERY}", self.name.trim_end_matches('/'));
        let json = self.get(&url).await?;
        let Description { issuer, jwks_uri } = match serde_json::from_slice(&json) {
            Ok(description) => description,
            Err(source) => {
                return Err(FetchError::Unreadable { url, what: "an issuer's description", source });
            }
        };
        if issuer != self.name {
            return Err(FetchError::Foreign { url, found: issuer, expected: self.name.clone() });
        }
        let is_protected = |url: &str| url.to_ascii_lowercase().starts_with("https:");
        if is_protected(&url) && !is_protected(&jwks_uri) {
            return Err(FetchError::Unprotected { url, keys: jwks_uri });
        }
        Ok(jwks_uri)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let unreachable = |source: reqwest::Error| FetchError::Unreachable {
            url: url.to_owned(),
            source: source.without_url(),
        };
        let mut response = self.client.get(url).send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Refused { url: url.to_owned(), status: response.status() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(FetchError::TooLarge { url: url.to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
