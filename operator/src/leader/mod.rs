//! Of several operators one works: the one that holds the Lease. The others wait, and answer probes.
//!
//! What makes two writers impossible:
//! - the Lease is replaced at the version that was read, so that of two candidates one is refused;
//! - a candidate takes it only after it has not changed for its whole duration;
//! - the holder counts its time from before the request that renewed it, stops a third of the duration early,
//!   and asks the clock before each write ([`Fence`]), so that one that was frozen begins no write afterwards;
//! - a holder that loses the Lease ends its process: nothing that it knew can be acted on later.
//!
//! What remains is a request that was let through before: one that waits for its connection when the process is
//! frozen may still leave when it goes on, and one that has left is carried out whenever it arrives. The last third
//! of the duration is there for those that are only slow. A status is written over the version that it was made from,
//! so that a late one is refused.

pub mod fence;
pub mod kafka;
mod lease;

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use self::fence::Fence;
pub use self::lease::Terms;
use self::lease::{Observer, Verdict, given_back, held};
use crate::metrics::Metrics;

/// Name of the Lease, which the operator's role names too.
pub const LEASE: &str = "orderpipeline-operator";

/// The Lease is somebody else's, or could not be renewed in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease is lost: {0}")]
pub struct Lost(String);

/// One candidate.
pub struct Election {
    api: Api<Lease>,
    identity: String,
    terms: Terms,
    fence: Arc<Fence>,
    metrics: Arc<Metrics>,
    observer: Observer,
    /// The Lease as it was read or written last.
    current: Option<Lease>,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Election").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What came of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    /// The Lease is ours, counted from before the request.
    Holding,
    /// It is somebody else's, as far as is known.
    HeldBy(String),
    /// Somebody was faster, or nothing could be learned.
    Unknown(String),
}

impl Election {
    /// A candidate for the Lease in `namespace`, which opens `fence` while it holds it. `client` must not be
    /// behind that fence.
    pub fn new(
        client: Client,
        namespace: &str,
        terms: Terms,
        fence: Arc<Fence>,
        metrics: Arc<Metrics>,
    ) -> Self {
        // A container that is started again keeps its pod's name and is another process all the same.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".to_owned());
        let identity = format!("{host}_{}", uuid::Uuid::new_v4());
        let api = Api::namespaced(client, namespace);
        Self { api, identity, terms, fence, metrics, observer: Observer::default(), current: None }
    }

    /// How this candidate is called in the Lease.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Waits for the Lease, does `work` while holding it, and gives it back once the work has ended. Returns
    /// without having worked when `shutdown` comes first.
    ///
    /// # Errors
    /// [`Lost`] when the Lease was lost; `work` is dropped where it stands, and the process must end.
    pub async fn lead<W>(mut self, shutdown: &CancellationToken, work: impl FnOnce() -> W) -> Result<(), Lost>
    where
        W: Future<Output = ()>,
    {
        self.metrics.set_leading(false);
        tokio::select! {
            () = self.acquire() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        self.metrics.set_leading(true);
        let held = tokio::select! {
            () = work() => Ok(()),
            lost = self.hold() => Err(lost),
        };
        self.fence.close();
        self.metrics.set_leading(false);
        held?;
        self.give_back().await;
        Ok(())
    }

    async fn acquire(&mut self) {
        let mut told = None;
        loop {
            match self.attempt().await {
                Attempt::Holding => {
                    tracing::info!(identity = self.identity, "this operator works from now on");
                    return;
                }
                Attempt::HeldBy(holder) => {
                    if told.as_ref() != Some(&holder) {
                        tracing::info!(holder, "another operator works, this one stands by");
                    }
                    told = Some(holder);
                }
                Attempt::Unknown(why) => {
                    tracing::warn!(why, "the lease could not be taken, will be tried again")
                }
            }
            tokio::time::sleep(self.terms.renew_every()).await;
        }
    }

    /// Renews the Lease until it is lost.
    async fn hold(&mut self) -> Lost {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.terms.renew_every()).await;
            let asked = Instant::now();
            let left = self.terms.stop_after().saturating_sub(asked.duration_since(renewed));
            if left.is_zero() {
                return Lost("this process did not run for too long".to_owned());
            }
            match tokio::time::timeout(left, self.attempt()).await {
                Ok(Attempt::Holding) => renewed = asked,
                Ok(Attempt::HeldBy(holder)) => return Lost(format!("{holder} holds it")),
                Ok(Attempt::Unknown(why)) => {
                    tracing::warn!(why, "the lease could not be renewed, will be tried again")
                }
                Err(_) => {
                    return Lost(format!("it could not be renewed within {:?}", self.terms.stop_after()));
                }
            }
        }
    }

    /// Takes or renews the Lease, if that is possible now.
    async fn attempt(&mut self) -> Attempt {
        let asked = Instant::now();
        match tokio::time::timeout(self.terms.answer_within(), self.write()).await {
            Ok(Ok(attempt)) => {
                if attempt == Attempt::Holding {
                    self.fence.open(asked + self.terms.stop_after());
                }
                attempt
            }
            Ok(Err(error)) => Attempt::Unknown(error.to_string()),
            Err(_) => Attempt::Unknown("no answer from the apiserver".to_owned()),
        }
    }

    async fn write(&mut self) -> kube::Result<Attempt> {
        // Forgotten until it is written: after an error or a timeout only a read can tell.
        let current = match self.current.take() {
            // Our own last write: whoever wrote since then has made the version another one.
            Some(written) => Some(written),
            None => self.api.get_opt(LEASE).await?,
        };
        let verdict =
            current.as_ref().map(|lease| self.observer.judge(lease, &self.identity, Instant::now()));
        if let Some(Verdict::Held(holder)) = verdict {
            return Ok(Attempt::HeldBy(holder));
        }
        let wanted = held(current.as_ref(), LEASE, &self.identity, self.terms, Timestamp::now());
        let written = match current {
            Some(_) => self.api.replace(LEASE, &PostParams::default(), &wanted).await,
            None => self.api.create(&PostParams::default(), &wanted).await,
        };
        match written {
            Ok(lease) => {
                self.current = Some(lease);
                Ok(Attempt::Holding)
            }
            Err(kube::Error::Api(refusal)) if refusal.is_conflict() || refusal.is_already_exists() => {
                Ok(Attempt::Unknown("somebody else has written it".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// A courtesy: without it the next one waits until the Lease has run out.
    async fn give_back(&mut self) {
        let Some(current) = self.current.take() else { return };
        let free = given_back(&current, Timestamp::now());
        let (nobody, wait) = (PostParams::default(), self.terms.answer_within());
        match tokio::time::timeout(wait, self.api.replace(LEASE, &nobody, &free)).await {
            Ok(Ok(_)) => tracing::info!("the lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given back and will run out"),
            Err(_) => tracing::warn!("the lease could not be given back in time and will run out"),
        }
    }
}
