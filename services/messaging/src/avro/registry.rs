//! A client of a schema registry: the few calls of Confluent's API that messaging needs, which Apicurio,
//! Karapace and Redpanda speak as well.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

/// How long a registry may take to answer; it answers from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting may take: a registry on the other side of a firewall that drops is noticed soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Registries say why in a sentence, and some in a stack trace.
const MESSAGE_MAX: usize = 500;
/// Confluent's code for a schema number that nobody was given; a 404 without it means a wrong URL.
const SCHEMA_NOT_FOUND: u64 = 40403;
/// Its codes for a subject, or a schema of a subject, that is not there yet.
const NOT_REGISTERED: [u64; 2] = [40401, 40403];

/// How to reach a registry.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Where its API begins, such as `https://registry.example/apis/ccompat/v7`; without a password in it.
    pub url: String,
    /// For basic authentication.
    pub credentials: Option<RegistryCredentials>,
    /// PEM file of an authority that signs the registry's certificate, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Which schemas the registry is to refuse.
    pub compatibility: Compatibility,
}

impl RegistryConfig {
    /// The registry at `url`, which asks for no password, is signed by an authority of the system's, if any, and
    /// refuses what is not fully compatible.
    pub fn at(url: impl Into<String>) -> Self {
        let compatibility = Compatibility::default();
        Self { url: url.into(), credentials: None, ca_file: None, compatibility }
    }
}

/// What a registry asks of the next version of a schema. By Confluent's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::Display, strum::EnumString, strum::EnumIter)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Compatibility {
    /// Nothing.
    None,
    /// It reads what was written with the version before.
    Backward,
    /// It reads what was written with any version before.
    BackwardTransitive,
    /// The version before reads what is written with it.
    Forward,
    /// Every version before reads what is written with it.
    ForwardTransitive,
    /// Both, of the version before.
    Full,
    /// Both, of every version before: services of two builds run side by side while one replaces the other, and old
    /// records are read by new services for as long as a topic keeps them.
    #[default]
    FullTransitive,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct RegistryCredentials {
    /// The user.
    pub username: String,
    /// Its password.
    pub password: SecretString,
}

/// Why a registry did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The client cannot be made.
    #[error("the schema registry's certificate authority cannot be used")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It did not answer. It may do so later.
    #[error("the schema registry at {url} does not answer")]
    Unreachable {
        /// Which one.
        url: String,
        /// What happened instead.
        #[source]
        source: reqwest::Error,
    },
    /// It answered that it cannot, or will not.
    #[error("the schema registry at {url} answered {status}: {message}")]
    Refused {
        /// Which one.
        url: String,
        /// The status of its answer.
        status: u16,
        /// Its words.
        message: String,
    },
    /// A schema does not go with those that were published before it.
    #[error(
        "the schema registry refuses the schema of {event_type} under {subject}: it is not {compatibility} with the \
         versions there ({message}); run a build whose schema is, or give the changed event a topic of its own"
    )]
    Incompatible {
        /// Under which name.
        subject: String,
        /// Whose schema it is.
        event_type: &'static str,
        /// What it should be.
        compatibility: Compatibility,
        /// The registry's words.
        message: String,
    },
}

impl RegistryError {
    /// Whether the same request may succeed later, with nothing changed on this side.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // Credentials are put right, and registries brought up, after the services were started; and one that
            // two replicas tell the same at once may refuse one of them (409).
            Self::Refused { status, .. } => {
                *status >= 500 || matches!(status, 401 | 403 | 404 | 408 | 409 | 429)
            }
            Self::Setup(_) | Self::Incompatible { .. } => false,
        }
    }
}

/// A schema as a registry keeps it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    pub(super) schema: String,
    /// Left out for Avro.
    pub(super) schema_type: Option<String>,
}

#[derive(Deserialize)]
struct Numbered {
    id: u32,
}

/// What a registry asks of a subject.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Level {
    compatibility_level: String,
}

impl Level {
    /// None: a level that is not known here, and so not the wanted one.
    fn parsed(&self) -> Option<Compatibility> {
        self.compatibility_level.parse().ok()
    }
}

/// A schema registry. Every call is one request; whoever needs the answer tries again.
#[derive(Debug, Clone)]
pub struct Registry {
    config: RegistryConfig,
    client: Client,
}

impl Registry {
    /// A client. Nothing is asked yet.
    ///
    /// # Errors
    /// [`RegistryError::Setup`].
    pub fn new(config: RegistryConfig) -> Result<Self, RegistryError> {
        crate::install_tls_provider();
        let mut builder = Client::builder().timeout(ANSWER_TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
        if let Some(file) = &config.ca_file {
            let pem = std::fs::read(file).map_err(|error| RegistryError::Setup(error.into()))?;
            let authority =
                Certificate::from_pem(&pem).map_err(|error| RegistryError::Setup(error.into()))?;
            builder = builder.add_root_certificate(authority);
        }
        let client = builder.build().map_err(|error| RegistryError::Setup(error.into()))?;
        Ok(Self { config, client })
    }

    /// The schema of this number; none when the registry never gave it out.
    ///
    /// # Errors
    /// Every other answer, and none.
    pub(super) async fn schema(&self, id: u32) -> Result<Option<Kept>, RegistryError> {
        let response = self.send(self.request(Method::GET, &format!("schemas/ids/{id}"))).await?;
        match self.answer(response).await {
            Ok(response) => self.read(response).await.map(Some),
            Err(Answer { code: Some(SCHEMA_NOT_FOUND), .. }) => Ok(None),
            Err(answer) => Err(self.refused(answer)),
        }
    }

    /// The number of `schema` under `subject`, for which the registry is told first what it has to refuse. The schema
    /// is registered where it is not yet.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] when it refuses; every other answer, and none.
    pub(super) async fn number_of(
        &self,
        subject: &str,
        event_type: &'static str,
        schema: &str,
    ) -> Result<u32, RegistryError> {
        // Before the schema, which would be taken by another rule otherwise.
        self.demand(subject).await?;
        if let Some(number) = self.look_up(subject, schema).await? {
            return Ok(number);
        }
        let register = self.request(Method::POST, &format!("subjects/{subject}/versions"));
        match self.answer(self.send(register.json(&json!({"schema": schema}))).await?).await {
            Ok(response) => Ok(self.read::<Numbered>(response).await?.id),
            Err(Answer { status: StatusCode::CONFLICT, message, .. }) => {
                // Or another replica was faster.
                let known = self.look_up(subject, schema).await?;
                known.ok_or_else(|| RegistryError::Incompatible {
                    subject: subject.to_owned(),
                    event_type,
                    compatibility: self.config.compatibility,
                    message,
                })
            }
            Err(answer) => Err(self.refused(answer)),
        }
    }

    /// Sets the compatibility of `subject`, unless it is that already: a service that may only read the registry can
    /// then start as well, once somebody else has set it up.
    async fn demand(&self, subject: &str) -> Result<(), RegistryError> {
        let wanted = self.config.compatibility;
        let path = format!("config/{subject}");
        match self.answer(self.send(self.request(Method::GET, &path)).await?).await {
            Ok(response) => {
                if self.read::<Level>(response).await?.parsed() == Some(wanted) {
                    return Ok(());
                }
            }
            // It has none of its own, and what holds for all subjects may change without anybody thinking of this one.
            Err(Answer { status: StatusCode::NOT_FOUND, .. }) => {}
            Err(answer) => return Err(self.refused(answer)),
        }
        let demand = self.request(Method::PUT, &path).json(&json!({"compatibility": wanted.to_string()}));
        self.answer(self.send(demand).await?).await.map(drop).map_err(|answer| self.refused(answer))
    }

    async fn look_up(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryError> {
        let request = self.request(Method::POST, &format!("subjects/{subject}"));
        match self.answer(self.send(request.json(&json!({"schema": schema}))).await?).await {
            Ok(response) => Ok(Some(self.read::<Numbered>(response).await?.id)),
            Err(Answer { code: Some(code), .. }) if NOT_REGISTERED.contains(&code) => Ok(None),
            Err(answer) => Err(self.refused(answer)),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request =
            self.client.request(method, format!("{}/{path}", self.config.url.trim_end_matches('/')));
        match &self.config.credentials {
            Some(RegistryCredentials { username, password }) => {
                request.basic_auth(username, Some(password.expose_secret()))
            }
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        request.send().await.map_err(|error| self.unreachable(error))
    }

    /// The response, if it is a success; what it says otherwise.
    async fn answer(&self, response: Response) -> Result<Response, Answer> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let words = body.get("message").and_then(Value::as_str).unwrap_or(&text);
        let end = words.floor_char_boundary(MESSAGE_MAX);
        Err(Answer {
            status,
            code: body.get("error_code").and_then(Value::as_u64),
            message: words.get(..end).unwrap_or_default().to_owned(),
        })
    }

    async fn read<T: for<'de> Deserialize<'de>>(&self, response: Response) -> Result<T, RegistryError> {
        response.json().await.map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, error: reqwest::Error) -> RegistryError {
        RegistryError::Unreachable { url: self.config.url.clone(), source: error.without_url() }
    }

    fn refused(&self, answer: Answer) -> RegistryError {
        let Answer { status, message, .. } = answer;
        RegistryError::Refused { url: self.config.url.clone(), status: status.as_u16(), message }
    }
}

/// An answer that is no success.
struct Answer {
    status: StatusCode,
    /// Confluent's own, finer than the status.
    code: Option<u64>,
    message: String,
}
