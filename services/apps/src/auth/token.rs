//! What a token must look like and claim.
//!
//! The signature is checked by `jsonwebtoken`, the claims here: before its version 10.3 it takes a claim of the wrong type
//! for one that is not there, which lets a token in before its time (CVE-2026-25537).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest token that is read. Issuers that list the groups of a user come to half of it; anything longer is more
/// than most proxies let through in a header.
const LONGEST_TOKEN: usize = 8 * 1024;

/// By how much clocks may differ: an issuer that is ahead makes tokens that begin in our future, and a caller whose
/// clock is behind uses one for a moment too long. Next to tokens' lives of minutes and hours it is nothing.
const LEEWAY_SECONDS: f64 = 60.0;

/// Why a token is not taken, or what stands in its place. The texts go into a header between quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// There is none, which is the only one of these that is not about a token.
    #[error("a token is needed: send one header Authorization: Bearer <token>")]
    Missing,
    /// It is none, or one for somebody else's eyes.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// It is signed in a way that is not taken, or not from this key.
    #[error("the token's algorithm is not accepted: its key must be asymmetric, and made for it")]
    Algorithm,
    /// Nobody says that this key is the issuer's.
    #[error("the token is signed with an unknown key: its issuer does not publish it")]
    UnknownKey,
    /// It was made or changed by somebody else.
    #[error("the token has a bad signature")]
    Signature,
    /// It was good.
    #[error("the token has expired")]
    Expired,
    /// It will be good.
    #[error("the token is not yet valid")]
    NotYetValid,
    /// It is somebody else's.
    #[error("the token has the wrong issuer (iss)")]
    Issuer,
    /// It is for somebody else.
    #[error("the token has the wrong audience (aud)")]
    Audience,
}

/// A token of which nothing is believed yet.
pub(super) struct Unverified<'a> {
    text: &'a str,
    algorithm: Algorithm,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Unverified<'a> {
    /// Reads which key `text` wants to be checked with.
    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > LONGEST_TOKEN {
            return Err(Refusal::Malformed("it is longer than 8 KiB"));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [head, _claims, _signature] = parts.as_slice() else {
            return Err(Refusal::Malformed("it is not three parts with dots between them"));
        };
        let head: Head = URL_SAFE_NO_PAD
            .decode(head)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or(Refusal::Malformed("its header cannot be read"))?;
        if head.crit.is_some() {
            // RFC 7515, 4.1.11: what a token calls critical must be understood.
            return Err(Refusal::Malformed("its header asks for extensions (crit), of which none is known"));
        }
        let algorithm = head.alg.parse().ok().filter(|algorithm| is_asymmetric(*algorithm));
        Ok(Self { text, algorithm: algorithm.ok_or(Refusal::Algorithm)?, kid: head.kid })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What the token claims, which whoever has `key` has signed.
    pub(super) fn verify(&self, key: &DecodingKey) -> Result<Claims, Refusal> {
        let mut validation = Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let read = decode::<Claims>(self.text, key, &validation);
        read.map(|token| token.claims).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => Refusal::Signature,
            ErrorKind::InvalidAlgorithm => Refusal::Algorithm,
            _ => Refusal::Malformed("its claims or its signature cannot be read"),
        })
    }
}

/// Anybody could sign with a shared secret, as whoever checks it has it; and that of a public key is public.
pub(super) fn is_asymmetric(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

/// The claims that are looked at (RFC 7519, 4.1). Times are seconds since 1970, with a fraction if the issuer likes.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: Option<String>,
    pub(super) aud: Option<Audience>,
    pub(super) exp: Option<f64>,
    pub(super) nbf: Option<f64>,
}

/// For whom a token is.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What a token must claim.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
}

impl Rules {
    /// Whether `claims` do at `now`, in seconds since 1970.
    pub(super) fn check(&self, claims: &Claims, now: i64) -> Result<(), Refusal> {
        if claims.iss.as_ref() != Some(&self.issuer) {
            return Err(Refusal::Issuer);
        }
        if !self.audiences.is_empty() && !self.is_for_us(claims.aud.as_ref()) {
            return Err(Refusal::Audience);
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact for 285 million years")]
        let now = now as f64;
        let ends = claims.exp.ok_or(Refusal::Malformed("it never expires (exp)"))?;
        if now >= ends + LEEWAY_SECONDS {
            return Err(Refusal::Expired);
        }
        if claims.nbf.is_some_and(|begins| now < begins - LEEWAY_SECONDS) {
            return Err(Refusal::NotYetValid);
        }
        Ok(())
    }

    fn is_for_us(&self, audience: Option<&Audience>) -> bool {
        match audience {
            Some(Audience::One(only)) => self.audiences.contains(only),
            Some(Audience::Many(many)) => many.iter().any(|each| self.audiences.contains(each)),
            None => false,
        }
    }
}
