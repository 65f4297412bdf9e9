//! In which format events are written, and the schema registry that Avro needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use contract::{Event, EventType, Service};
use futures::FutureExt;
use messaging::{AvroCodec, Codec, Compatibility, JsonCodec, Registry, RegistryConfig, RegistryCredentials};
use secrecy::SecretString;
use strum::IntoEnumIterator;
use tokio::sync::watch;
use url::Url;

use crate::config::{InvalidConfig, secret};
use crate::health::{Check, Health};

/// Between two attempts to reach a registry that is not there yet.
const RETRY: Duration = Duration::from_secs(1);

/// How events are written and read.
#[derive(Debug, Clone, Args)]
pub struct EventsConfig {
    /// How events are written. Read are both formats, whichever a record is in, so that a pipeline can change;
    /// Avro only with a registry.
    #[arg(long, env = "EVENTS_FORMAT", default_value = "json", ignore_case = true)]
    pub events_format: EventsFormat,
    /// Where the schema registry's API (Confluent's) begins, such as `https://host/apis/ccompat/v7`. Avro needs it.
    #[arg(long, env = "SCHEMA_REGISTRY_URL")]
    pub schema_registry_url: Option<Url>,
    /// The user for the registry, with a password.
    #[arg(long, env = "SCHEMA_REGISTRY_USERNAME")]
    pub schema_registry_username: Option<String>,
    /// The registry's password, with a user.
    #[arg(skip = secret("SCHEMA_REGISTRY_PASSWORD"))]
    pub schema_registry_password: Option<SecretString>,
    /// PEM file of an authority that signs the registry's certificate, beside the system's.
    #[arg(long, env = "SCHEMA_REGISTRY_CA_FILE")]
    pub schema_registry_ca_file: Option<PathBuf>,
    /// Which new versions of schemas the registry is to refuse: those that are not NONE, BACKWARD, BACKWARD_TRANSITIVE,
    /// FORWARD, FORWARD_TRANSITIVE, FULL or FULL_TRANSITIVE with those before.
    #[arg(long, env = "SCHEMA_REGISTRY_COMPATIBILITY", default_value_t, value_parser = compatibility)]
    pub schema_registry_compatibility: Compatibility,
}

fn compatibility(text: &str) -> Result<Compatibility, String> {
    let known = || Compatibility::iter().map(|level| level.to_string()).collect::<Vec<_>>().join(", ");
    text.parse().map_err(|_unknown| format!("it is none of {}", known()))
}

/// The format of events on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventsFormat {
    /// JSON, which needs nothing else.
    Json,
    /// Avro in Confluent framing, with schemas in a registry.
    Avro,
}

impl EventsConfig {
    /// The registry, if there is one.
    ///
    /// # Errors
    /// The format needs one, or what is said about it does not go together.
    pub fn registry(&self) -> Result<Option<RegistryConfig>, InvalidConfig> {
        let missing = |name, why| InvalidConfig::Missing { name, why };
        let Some(url) = &self.schema_registry_url else {
            return match self.events_format {
                EventsFormat::Json => Ok(None),
                EventsFormat::Avro => Err(missing("SCHEMA_REGISTRY_URL", "EVENTS_FORMAT is avro")),
            };
        };
        let invalid = |reason: &str| {
            Err(InvalidConfig::Invalid { name: "SCHEMA_REGISTRY_URL", reason: reason.to_owned() })
        };
        if !matches!(url.scheme(), "http" | "https") {
            return invalid("must begin with http:// or https://");
        }
        // It is logged and shown; the error must not repeat what is in it.
        if url.password().is_some() || !url.username().is_empty() {
            return invalid("must not hold a password; use SCHEMA_REGISTRY_USERNAME and _PASSWORD");
        }
        let credentials = match (&self.schema_registry_username, &self.schema_registry_password) {
            (Some(username), Some(password)) => {
                Some(RegistryCredentials { username: username.clone(), password: password.clone() })
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(missing("SCHEMA_REGISTRY_PASSWORD", "SCHEMA_REGISTRY_USERNAME is set"));
            }
            (None, Some(_)) => {
                return Err(missing("SCHEMA_REGISTRY_USERNAME", "SCHEMA_REGISTRY_PASSWORD is set"));
            }
        };
        let (url, ca_file) = (url.to_string(), self.schema_registry_ca_file.clone());
        let compatibility = self.schema_registry_compatibility;
        Ok(Some(RegistryConfig { url, credentials, ca_file, compatibility }))
    }

    /// What `service` writes and reads events by, with its topics behind `prefix`. In Avro its schemas are
    /// registered first; a registry that is not there yet is waited for, and named by readiness.
    ///
    /// # Errors
    /// The registry does not take a schema, or cannot be asked at all.
    pub async fn codec(&self, service: Service, prefix: &str, health: &Health) -> Result<Arc<dyn Codec>> {
        let Some(config) = self.registry()? else { return Ok(Arc::new(JsonCodec)) };
        let registry = Registry::new(config)?;
        if self.events_format == EventsFormat::Json {
            return Ok(Arc::new(AvroCodec::writing_json(registry)));
        }
        let (state, states) = watch::channel(Err("was not asked yet".to_owned()));
        health.depend_on(format!("{service}.schema-registry"), showing(states));
        loop {
            match AvroCodec::writing_avro(registry.clone(), prefix, written_by(service)).await {
                Ok(codec) => {
                    state.send_modify(|known| *known = Ok(()));
                    return Ok(Arc::new(codec));
                }
                Err(error) if error.is_temporary() => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::warn!(error, "the {service} service waits for the schema registry");
                    state.send_modify(|known| *known = Err(error));
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    return Err(error).context("could not register the schemas of the service's events");
                }
            }
        }
    }
}

fn written_by(service: Service) -> impl Iterator<Item = EventType> {
    Event::TYPES.iter().copied().filter(move |event| service.spec().produces.contains(&event.topic))
}

/// A check that says what was seen last. A registry that goes away later shows at the consumer, and only if it is
/// missed: what is known stays known.
fn showing(states: watch::Receiver<Result<(), String>>) -> Check {
    Arc::new(move || std::future::ready(states.borrow().clone()).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(url: Option<&str>) -> EventsConfig {
        EventsConfig {
            events_format: EventsFormat::Avro,
            schema_registry_url: url.map(|url| url.parse().unwrap()),
            schema_registry_username: None,
            schema_registry_password: None,
            schema_registry_ca_file: None,
            schema_registry_compatibility: Compatibility::default(),
        }
    }

    fn refusal(events: &EventsConfig) -> String {
        events.registry().unwrap_err().to_string()
    }

    #[test]
    fn avro_needs_a_registry_and_json_does_not() {
        assert_eq!(refusal(&events(None)), "SCHEMA_REGISTRY_URL is not set (EVENTS_FORMAT is avro)");
        let json = EventsConfig { events_format: EventsFormat::Json, ..events(None) };
        assert!(json.registry().unwrap().is_none());
    }

    #[test]
    fn a_password_is_given_by_its_own_variable_and_never_shown() {
        let inside = refusal(&events(Some("https://ada:hunter2@registry.example")));
        assert!(inside.contains("SCHEMA_REGISTRY_USERNAME") && !inside.contains("hunter2"), "{inside}");

        let mut alone = events(Some("https://registry.example"));
        alone.schema_registry_username = Some("ada".to_owned());
        assert!(refusal(&alone).starts_with("SCHEMA_REGISTRY_PASSWORD is not set"));

        alone.schema_registry_password = Some("hunter2".into());
        let registry = alone.registry().unwrap();
        assert!(registry.is_some() && !format!("{alone:?} {registry:?}").contains("hunter2"));
    }

    #[test]
    fn an_address_is_one_of_http() {
        assert!(refusal(&events(Some("ftp://registry.example"))).contains("must begin with http"));
    }

    #[test]
    fn a_service_writes_its_own_events_only() {
        let written: Vec<&str> = written_by(Service::Notification).map(|event| event.name).collect();

        assert_eq!(written, ["NotificationSent"]);
    }
}
