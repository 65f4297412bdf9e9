//! SCRAM credentials of users.

use secrecy::SecretString;

/// A way to prove a password without sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, strum::EnumString)]
pub enum ScramMechanism {
    /// SCRAM-SHA-256.
    #[strum(serialize = "SCRAM-SHA-256")]
    Sha256,
    /// SCRAM-SHA-512.
    #[strum(serialize = "SCRAM-SHA-512")]
    Sha512,
}

/// A credential that a user has; the broker never tells more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScramInfo {
    /// The mechanism it is for.
    pub mechanism: ScramMechanism,
    /// How often its password is hashed.
    pub iterations: u32,
}

/// A credential to create or to replace.
#[derive(Debug, Clone)]
pub struct ScramUpsertion {
    /// The user's name, without `User:`.
    pub user: String,
    /// How often the password is hashed: 4096 to 16384, the broker's limits.
    pub credential: ScramInfo,
    /// The password; a random salt is added here, and the broker gets the salted hash only.
    pub password: SecretString,
}

impl ScramUpsertion {
    /// SCRAM-SHA-512 with Kafka's lowest and default count of iterations, which is enough for generated passwords.
    pub fn sha512(user: impl Into<String>, password: SecretString) -> Self {
        let credential = ScramInfo { mechanism: ScramMechanism::Sha512, iterations: 4096 };
        Self { user: user.into(), credential, password }
    }
}

/// A credential to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramDeletion {
    /// The user's name, without `User:`.
    pub user: String,
    /// The mechanism that the user shall no longer log in with.
    pub mechanism: ScramMechanism,
}
