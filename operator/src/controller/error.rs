//! Errors of reconcile passes, and how long each object waits after one.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::outcome::jittered;
use crate::crd::conditions::Explanation;

/// A pass that could not be finished and is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The apiserver did not do what we asked.
    #[error("could not {doing}")]
    Kubernetes {
        /// What we were doing, to what.
        doing: String,
        /// What it answered.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Kafka cluster did not do what we asked.
    #[error("could not {doing}")]
    Kafka {
        /// What we were doing, to what.
        doing: String,
        /// What it answered.
        #[source]
        source: kafka_admin::Error,
    },
    /// An object that the plan wants exists and is somebody else's.
    #[error("{kind} {name} exists and is not ours; delete it or rename it")]
    Foreign {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// An object could not be turned into JSON or back.
    #[error("could not encode or decode {what}")]
    Encoding {
        /// Which object.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// For `map_err` on calls of the apiserver.
    pub fn kubernetes(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        |source| Self::Kubernetes { doing, source: Box::new(source) }
    }

    /// For `map_err` on calls of a Kafka cluster.
    pub fn kafka(doing: impl Into<String>) -> impl FnOnce(kafka_admin::Error) -> Self {
        let doing = doing.into();
        |source| Self::Kafka { doing, source }
    }

    /// Reason for conditions and label for metrics: one CamelCase word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if status.is_forbidden() => "ForbiddenByKubernetes",
                _ => "KubernetesError",
            },
            Self::Kafka { source, .. } => kafka_reason(source),
            Self::Foreign { .. } => "ObjectNotOurs",
            Self::Encoding { .. } => "EncodingFailed",
        }
    }

    /// What to say of it where trying again is no use, since a person has to act: the API server will never take the
    /// object, or it is somebody else's.
    pub fn refusal(&self) -> Option<Explanation> {
        let reason = match self {
            Self::Kubernetes { source, .. } => match source.as_ref() {
                kube::Error::Api(refusal) if matches!(refusal.code, 400 | 422) => "RefusedByKubernetes",
                _ => return None,
            },
            Self::Foreign { .. } => self.reason(),
            Self::Kafka { .. } | Self::Encoding { .. } => return None,
        };
        Some(Explanation::new(reason, self.chain()))
    }

    /// The error and all that caused it, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let told = error.to_string();
            // Some libraries repeat the cause in their own text.
            if !text.contains(&told) {
                let _ = write!(text, ": {told}");
            }
            cause = error.source();
        }
        text
    }
}

/// Whether the API server says that there is no such kind, or that it is not for us. By the code: of a group that is not
/// served there is no kind to give a reason for.
pub(super) fn is_absent(refusal: &kube::core::Status) -> bool {
    refusal.code == 404 || refusal.is_forbidden()
}

/// Reason for conditions: what Kafka's refusal means to the reader.
pub fn kafka_reason(error: &kafka_admin::Error) -> &'static str {
    use kafka_admin::Error as Kafka;
    match error {
        Kafka::NotFound { .. } => "TopicNotFound",
        Kafka::AlreadyExists { .. } => "TopicAppeared",
        Kafka::InvalidConfig { .. } => "InvalidConfig",
        Kafka::InvalidPartitions { .. } => "InvalidPartitions",
        Kafka::InvalidReplication { .. } => "InvalidReplicas",
        Kafka::InvalidRequest { .. } => "InvalidRequest",
        Kafka::NotAuthorized { .. } => "NotAuthorized",
        Kafka::NotAuthenticated { .. } => "NotAuthenticated",
        Kafka::PolicyViolation { .. } => "RefusedByClusterPolicy",
        Kafka::SecurityDisabled { .. } => "ClusterHasNoAuthorizer",
        Kafka::Unavailable { .. } => "BrokerUnreachable",
        Kafka::Other { .. } => "KafkaError",
    }
}

/// First wait after an error.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait: the bound on how long a healed cause goes unnoticed where nothing wakes the object.
const BACKOFF_LIMIT: Duration = Duration::from_secs(60);

/// Waits that double with each failure of the same object in a row.
///
/// The controller runtime knows no attempt count, so it is kept here; an object's entry goes with its
/// first success, and with its deletion.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Counts a failure of `key`: how many in a row it is, and how long to wait.
    pub fn failed(&self, key: &str) -> (u32, Duration) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = attempts.entry(key.to_owned()).or_default();
        *count = count.saturating_add(1);
        // 2^6 already exceeds the limit.
        let doublings = (*count - 1).min(6);
        (*count, jittered((BACKOFF_FIRST * 2u32.pow(doublings)).min(BACKOFF_LIMIT)))
    }

    /// Forgets the failures of `key`.
    pub fn succeeded(&self, key: &str) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_over_after_a_success() {
        let backoff = Backoff::default();

        let waits: Vec<_> = (0..9).map(|_| backoff.failed("a")).collect();
        backoff.succeeded("a");

        assert_eq!(waits[8].0, 9);
        assert!(waits[0].1 < Duration::from_secs(2));
        assert!(waits[3].1 >= Duration::from_secs(8));
        assert!(waits[8].1 <= BACKOFF_LIMIT.mul_f64(1.2));
        assert_eq!(backoff.failed("a").0, 1);
    }

    #[test]
    fn the_chain_tells_each_cause_once() {
        let source = kafka_admin::Error::NotFound { message: "no such topic".to_owned() };

        let error = Error::kafka("read topic orders")(source);

        assert_eq!(error.chain(), "could not read topic orders: not found: no such topic");
        assert_eq!(error.reason(), "TopicNotFound");
    }
}
