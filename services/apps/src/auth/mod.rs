//! Who may use the public APIs: anybody, or with `JWT_ISSUER` whoever shows a JSON Web Token (RFC 7519) of that
//! issuer as a bearer token (RFC 6750).
//!
//! A token proves that the issuer let its bearer in; what the bearer may do is not asked here, and no service knows
//! whose orders it shows. Tokens are secrets: they are neither logged nor repeated in an answer.
//!
//! | module | |
//! |---|---|
//! | `token` | what a token must look like and claim |
//! | `jwks` | the keys that an issuer publishes, and which of them a token may be signed with |
//! | `keys` | when they are fetched |
//! | `issuer` | how they are fetched |
//! | `openapi` | what the APIs' documents say about all this |

mod issuer;
mod jwks;
mod keys;
mod openapi;
#[cfg(test)]
mod tests;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use url::Url;

use self::issuer::Issuer;
pub use self::issuer::SetupError;
use self::keys::Keys;
pub use self::openapi::BearerAuth;
use self::token::{Refusal, Rules, Unverified};
use crate::problem::{Kind, Problem};

/// What is guarded. The API's own description is not: it says how to get in.
const GUARDED: &str = "/api/";

/// Whose tokens are good, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// What `iss` must be, to the letter; where the issuer is asked for its keys, without `jwks_url`.
    pub issuer: String,
    /// Of which `aud` must contain one; with none of them `aud` is not looked at.
    pub audiences: Vec<String>,
    /// Where the keys are, for an issuer without OpenID Connect discovery.
    pub jwks_url: Option<Url>,
    /// PEM file of the authorities that sign the issuer's certificate, beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// Lets nobody through without a good token. Cheap to clone; all services of a process share one, and its keys.
#[derive(Clone)]
pub struct Guard {
    keys: Arc<Keys>,
    rules: Arc<Rules>,
}

impl Guard {
    /// A guard. The issuer is not asked yet: the process starts without it, and is ready without it. All pods would
    /// leave their Service together otherwise, and an outage of the issuer would look like one of ours.
    ///
    /// # Errors
    /// The file of the authorities cannot be used.
    pub fn new(trust: &Trust) -> Result<Self, SetupError> {
        Ok(Self::over(trust, Keys::of(Issuer::new(trust)?)))
    }

    fn over(trust: &Trust, keys: Keys) -> Self {
        let rules = Rules { issuer: trust.issuer.clone(), audiences: trust.audiences.clone() };
        Self { keys: Arc::new(keys), rules: Arc::new(rules) }
    }

    async fn admit(&self, headers: &HeaderMap) -> Result<(), Denial> {
        let token = Unverified::read(bearer(headers)?)?;
        let key = self.keys.find(token.kid(), token.algorithm()).await?;
        let claims = token.verify(&key)?;
        self.rules.check(&claims, Timestamp::now().as_second())?;
        Ok(())
    }
}

/// Puts `guard` before everything that is guarded among `routes`, known paths and unknown ones: what there is cannot
/// be found out by asking for it.
pub(crate) fn guarded(routes: Router, guard: Option<&Guard>) -> Router {
    match guard {
        Some(guard) => routes.layer(from_fn_with_state(guard.clone(), check)),
        None => routes,
    }
}

async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(GUARDED) {
        return next.run(request).await;
    }
    match guard.admit(request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(denial) => {
            tracing::debug!(%denial, "a request was not let in");
            denial.into_response()
        }
    }
}

/// The token among `headers`. Two of them are none: a proxy could have looked at the other one.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (given.next(), given.next()) else { return Err(Refusal::Missing) };
    let (scheme, token) = only.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refusal::Missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(Refusal::Missing) }
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Denial {
    /// The caller's doing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody's token can be checked.
    #[error("the keys of the issuer of tokens cannot be fetched now; try again")]
    NoKeys,
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        let Self::Refused(refusal) = self else {
            return Problem::unavailable(self.to_string()).into_response();
        };
        let mut response = Problem::new(Kind::Unauthorized, refusal.to_string()).into_response();
        // Who shows no token is told what is asked for only (RFC 6750, 3.1). No refusal has a quote in it.
        let challenge = match refusal {
            Refusal::Missing => "Bearer".to_owned(),
            _ => format!(r#"Bearer error="invalid_token", error_description="{refusal}""#),
        };
        let challenge =
            HeaderValue::try_from(challenge).unwrap_or_else(|_never| HeaderValue::from_static("Bearer"));
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }
}
