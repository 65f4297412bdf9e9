//! What can go wrong, classified by what a caller does about it.

/// Whether the same call may succeed later by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Yes: try again with a growing delay.
    Transient,
    /// Not before someone changes the request, the credentials or the cluster; trying at a slow interval is enough.
    Permanent,
}

/// Why the cluster could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum UnavailableCause {
    /// No answer in time.
    Timeout,
    /// No connection, or it broke.
    Transport,
    /// No agreement on TLS; usually a certificate that one side does not trust, or misses.
    Tls,
    /// A broker answered that it cannot serve now (leader, coordinator or controller moving; throttled).
    Broker,
}

/// A request, or one item of it, that failed. Messages are the broker's own where it gave one; they hold names and
/// settings, never secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Error {
    /// The topic, group or credential does not exist.
    #[error("not found: {message}")]
    NotFound {
        /// What the broker said.
        message: String,
    },
    /// The topic exists already.
    #[error("already exists: {message}")]
    AlreadyExists {
        /// What the broker said.
        message: String,
    },
    /// A setting is unknown or has an invalid value.
    #[error("invalid configuration: {message}")]
    InvalidConfig {
        /// The setting at fault, when the message names one of those that were sent.
        key: Option<String>,
        /// What the broker said.
        message: String,
    },
    /// The number of partitions is refused: zero, too many, or not more than there are.
    #[error("invalid number of partitions: {message}")]
    InvalidPartitions {
        /// What the broker said.
        message: String,
    },
    /// The replication factor is refused: zero, or more than there are brokers.
    #[error("invalid replication: {message}")]
    InvalidReplication {
        /// What the broker said.
        message: String,
    },
    /// The request is refused for another reason that lies in the request (reserved or colliding name, duplicate).
    #[error("invalid request: {message}")]
    InvalidRequest {
        /// What the broker said.
        message: String,
    },
    /// The cluster knows us, and refuses.
    #[error("not authorized: {message}")]
    NotAuthorized {
        /// What the broker said.
        message: String,
    },
    /// The cluster refuses our credentials.
    #[error("not authenticated: {message}")]
    NotAuthenticated {
        /// What the broker said.
        message: String,
    },
    /// A policy of the cluster (topic policy plug-in, deletion disabled) refuses the change.
    #[error("refused by the cluster's policy: {message}")]
    PolicyViolation {
        /// What the broker said.
        message: String,
    },
    /// The cluster has no authorizer, so that there are no ACLs to administer.
    #[error("the cluster has no authorizer: {message}")]
    SecurityDisabled {
        /// What the broker said.
        message: String,
    },
    /// The cluster could not be asked; the request may or may not have taken effect.
    #[error("cluster unavailable ({cause}): {message}")]
    Unavailable {
        /// Why.
        cause: UnavailableCause,
        /// What is known about it.
        message: String,
    },
    /// Anything else.
    #[error("{code}: {message}")]
    Other {
        /// Kafka's name of the error.
        code: String,
        /// What the broker said.
        message: String,
    },
}

impl Error {
    /// Whether the same call may succeed later by itself.
    pub fn retry(&self) -> Retry {
        match self {
            // `Other` is mostly an error newer than this code; giving up for good would be the worse mistake.
            Self::Unavailable { .. } | Self::Other { .. } => Retry::Transient,
            Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::InvalidConfig { .. }
            | Self::InvalidPartitions { .. }
            | Self::InvalidReplication { .. }
            | Self::InvalidRequest { .. }
            | Self::NotAuthorized { .. }
            | Self::NotAuthenticated { .. }
            | Self::PolicyViolation { .. }
            | Self::SecurityDisabled { .. } => Retry::Permanent,
        }
    }

    /// The variant in snake case, for metric labels and condition reasons.
    pub fn label(&self) -> &'static str {
        self.into()
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound { message: message.into() }
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::InvalidRequest { message: message.into() }
    }

    /// Fills in the setting that an `InvalidConfig` is about: the longest of `keys` that its message names, so that
    /// `retention.ms` is not taken for `delete.retention.ms`.
    pub(crate) fn naming_key<'a>(self, keys: impl IntoIterator<Item = &'a String>) -> Self {
        match self {
            Self::InvalidConfig { key: None, message } => {
                let key = keys.into_iter().filter(|key| message.contains(key.as_str()));
                let key = key.max_by_key(|key| key.len()).cloned();
                Self::InvalidConfig { key, message }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_config_names_the_longest_key_in_the_message() {
        let keys = ["retention.ms".to_owned(), "delete.retention.ms".to_owned()];
        let message = "Invalid value x for configuration delete.retention.ms: Not a number".to_owned();
        let error = Error::InvalidConfig { key: None, message: message.clone() };

        let named = error.naming_key(&keys);

        assert_eq!(named, Error::InvalidConfig { key: Some("delete.retention.ms".to_owned()), message });
    }

    #[test]
    fn only_what_can_heal_by_itself_is_transient() {
        let down = Error::Unavailable { cause: UnavailableCause::Transport, message: "down".to_owned() };

        assert_eq!(down.retry(), Retry::Transient);
        assert_eq!(Error::not_found("x").retry(), Retry::Permanent);
        assert_eq!(down.label(), "unavailable");
    }
}
