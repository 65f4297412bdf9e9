//! Identifiers. A value that exists is valid: parsing is the only way in, for code and for the wire alike.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {reason}")]
pub struct InvalidId {
    what: &'static str,
    reason: String,
}

/// A UUID newtype; whoever makes one says what it stands for.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Takes over an existing UUID.
            #[must_use]
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID, as databases store it.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|error| InvalidId { what: $what, reason: format!("is not a UUID: {error}") })
            }
        }
    };
}

uuid_id! {
    /// One order. Created by the order service, or by the client in the short form of an order.
    OrderId, "order id"
}

uuid_id! {
    /// One payment. Created by the payment service, and the provider's idempotency key.
    PaymentId, "payment id"
}

uuid_id! {
    /// One shipment. Created by the shipping service, and the carrier's idempotency key.
    ShipmentId, "shipment id"
}

/// A text newtype that is valid by construction: `$check` returns what is wrong with a candidate.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                match $check(&text) {
                    None => Ok(Self(text)),
                    Some(reason) => Err(InvalidId { what: $what, reason }),
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// One product of the catalogue: 1 to 128 printable characters, no blank at either end.
    ProductId, "product id", not_a_name
}

text_id! {
    /// One customer: 1 to 128 printable characters, no blank at either end.
    CustomerId, "customer id", not_a_name
}

text_id! {
    /// What joins everything that one request caused: 1 to 128 visible ASCII characters, so that it can
    /// travel in HTTP and Kafka headers as it is.
    CorrelationId, "correlation id", not_a_token
}

impl From<Uuid> for CorrelationId {
    fn from(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

/// Longest identifier: what fits in one line of a terminal or of a log viewer.
const MAX_LENGTH: usize = 128;

fn not_a_name(text: &str) -> Option<String> {
    let length = text.chars().count();
    if length == 0 || length > MAX_LENGTH {
        Some(format!("must have 1 to {MAX_LENGTH} characters, not {length}"))
    } else if text.trim() != text {
        Some("must not begin or end with a blank".to_owned())
    } else if text.chars().any(char::is_control) {
        Some("must not contain control characters".to_owned())
    } else {
        None
    }
}

fn not_a_token(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        Some(format!("must have 1 to {MAX_LENGTH} characters, not {}", text.len()))
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("must be visible ASCII without blanks".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_any_language_but_not_blank_or_invisible() {
        for good in ["burger", "Käsespätzle groß", "寿司", "PROD-001"] {
            assert_eq!(good.parse::<ProductId>().unwrap().as_str(), good);
        }

        for bad in ["", " ", " burger", "burger\n", "bur\u{0}ger", &"x".repeat(129)] {
            assert!(bad.parse::<ProductId>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn correlation_ids_are_safe_in_headers() {
        assert!("req-42/abc".parse::<CorrelationId>().is_ok());

        for bad in ["", "a b", "a\r\nSet-Cookie: x", "ä", &"x".repeat(129)] {
            assert!(bad.parse::<CorrelationId>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_wire_is_validated_too() {
        let error = serde_json::from_str::<CustomerId>(r#""""#).unwrap_err();

        assert!(error.to_string().contains("customer id must have 1 to 128 characters"), "{error}");
    }
}
