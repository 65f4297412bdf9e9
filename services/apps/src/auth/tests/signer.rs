//! Who signs tokens, here and in the tests of whole processes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};

/// Somebody who signs tokens by ES256, as the key of this name.
pub(crate) struct Signer {
    pub(super) kid: &'static str,
    pub(super) key: KeyPair,
}

impl Signer {
    pub(crate) fn named(kid: &'static str) -> Self {
        Self { kid, key: KeyPair::generate().unwrap() }
    }

    /// Its public key, as an issuer publishes it.
    pub(crate) fn jwk(&self) -> Value {
        let point = self.key.public_key_raw();
        let (x, y) = (&point[1..33], &point[33..65]);
        json!({
            "kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)
        })
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::ES256) };
        self.token_under(&header, claims)
    }

    pub(crate) fn token_under(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &EncodingKey::from_ec_der(&self.key.serialize_der())).unwrap()
    }
}
