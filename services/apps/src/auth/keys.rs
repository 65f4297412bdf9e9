//! When the keys of an issuer are fetched: before the first token is checked, once they are old, and when a token
//! names a key that is not among them. Always by one fetch at a time, for which all who need it wait together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, DecodingKey};
use tokio_util::sync::CancellationToken;

use super::Denial;
use super::issuer::Issuer;
use super::jwks::KeySet;
use super::token::Refusal;

/// How old keys may become: so long is a key that its issuer took back still good.
const REFRESH_AFTER: Duration = Duration::from_secs(600);

/// Who has not asked for so long has not had a request for as long, and knows nothing of the keys of today: the next
/// request waits for them. Where requests come and the issuer is away, it was asked a second ago.
const IDLE_AFTER: Duration = Duration::from_secs(1200);

/// Between two fetches for keys that are not known. A new key is picked up at its first token; but anybody can make up
/// names of keys, and must not make us ask the issuer as often.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(10);

/// Between an attempt that failed and the next: an issuer that is back is noticed at once, and one that comes up is
/// not asked by every request.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The time; tests bring their own.
type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// The keys of an issuer.
pub(super) struct Keys {
    issuer: Issuer,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    /// When the last fetch ended, well or not.
    attempted: Option<Instant>,
    /// Fires when the fetch that runs has ended.
    running: Option<CancellationToken>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<KeySet>,
    since: Instant,
}

impl Keys {
    pub(super) fn of(issuer: Issuer) -> Self {
        Self::by(issuer, Box::new(Instant::now))
    }

    /// As [`Keys::of`], by another clock.
    pub(super) fn by(issuer: Issuer, clock: Clock) -> Self {
        Self { issuer, clock, state: Mutex::default() }
    }

    /// The key for a token that names `kid` and is signed by `algorithm`.
    pub(super) async fn find(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, Denial> {
        let keys = self.keys().await?;
        match keys.find(kid, algorithm) {
            Err(Refusal::UnknownKey) => {
                self.fetch(UNKNOWN_PAUSE).ended().await;
                // Whoever fetched, it may be there now.
                Ok(self.latest().unwrap_or(keys).find(kid, algorithm)?)
            }
            found => Ok(found?),
        }
    }

    /// The keys that are known. Old ones are good for this request still, and fetched again for the next.
    async fn keys(self: &Arc<Self>) -> Result<Arc<KeySet>, Denial> {
        let now = (self.clock)();
        let age = |since: Instant| now.saturating_duration_since(since);
        let (known, attempted) = {
            let state = self.state();
            (state.known.clone(), state.attempted)
        };
        let current = known.filter(|_| attempted.is_some_and(|ended| age(ended) < IDLE_AFTER));
        let Some(Known { keys, since }) = current else {
            self.fetch(RETRY_PAUSE).ended().await;
            return self.latest().ok_or(Denial::NoKeys);
        };
        if age(since) >= REFRESH_AFTER {
            self.fetch(RETRY_PAUSE);
        }
        Ok(keys)
    }

    fn latest(&self) -> Option<Arc<KeySet>> {
        self.state().known.as_ref().map(|known| known.keys.clone())
    }

    /// The fetch that runs; one that begins now, unless the last one ended less than `pause` ago.
    pub(super) fn fetch(self: &Arc<Self>, pause: Duration) -> Fetch {
        let now = (self.clock)();
        let mut state = self.state();
        if let Some(running) = state.running.as_ref().filter(|running| !running.is_cancelled()) {
            return Fetch(Some(running.clone()));
        }
        if state.attempted.is_some_and(|ended| now.saturating_duration_since(ended) < pause) {
            return Fetch(None);
        }
        let ended = CancellationToken::new();
        state.running = Some(ended.clone());
        // A task of its own: the caller may hang up, and others wait for it as well.
        let (keys, end) = (self.clone(), ended.clone().drop_guard());
        tokio::spawn(async move {
            keys.refresh().await;
            drop(end);
        });
        Fetch(Some(ended))
    }

    /// Fetches. Where that fails, the keys that are known stay: they are good until their issuer says otherwise.
    async fn refresh(&self) {
        let fetched = self.issuer.keys().await;
        match &fetched {
            Ok(keys) if keys.is_empty() => {
                tracing::warn!("the issuer of tokens publishes no key that tokens can be checked with");
            }
            Ok(_) => {}
            Err(error) => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(error, "could not fetch the keys of the issuer of tokens");
            }
        }
        let now = (self.clock)();
        let mut state = self.state();
        state.attempted = Some(now);
        if let Ok(keys) = fetched {
            state.known = Some(Known { keys: Arc::new(keys), since: now });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch that goes on whether anybody waits for it or not; none, where it is too soon.
pub(super) struct Fetch(Option<CancellationToken>);

impl Fetch {
    pub(super) async fn ended(self) {
        if let Some(ended) = self.0 {
            ended.cancelled().await;
        }
    }
}
