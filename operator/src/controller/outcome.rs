//! What a reconcile pass came to. "Not yet" is an outcome, not an error.

use std::time::Duration;

use kube::runtime::controller::Action;

use crate::crd::conditions::{Explanation, Summary};

use super::error::Error;

/// How long a stalled object waits for a second look, in case the reason lies outside its spec.
/// Anything in Kubernetes that it depends on wakes it at once.
pub const STALLED_RETRY: Duration = Duration::from_secs(60);

/// What a reconcile pass came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The world is as the spec says.
    Ready(Explanation),
    /// All that could be done is done; something that is not in our hands is missing.
    Waiting {
        /// For what.
        why: Explanation,
        /// When to look again, should nothing wake the object before.
        retry_after: Duration,
    },
    /// Waiting does not help: the spec, or something that only a person can change, has to change.
    Stalled {
        /// What, why and the remedy.
        why: Explanation,
        /// When to look again, should nothing wake the object before.
        retry_after: Duration,
    },
}

impl Outcome {
    /// Done.
    pub fn ready(reason: &str, message: impl Into<String>) -> Self {
        Self::Ready(Explanation::new(reason, message))
    }

    /// Not yet.
    pub fn waiting(reason: &str, message: impl Into<String>, retry_after: Duration) -> Self {
        Self::Waiting { why: Explanation::new(reason, message), retry_after }
    }

    /// Not possible as things are.
    pub fn stalled(reason: &str, message: impl Into<String>) -> Self {
        Self::Stalled { why: Explanation::new(reason, message), retry_after: STALLED_RETRY }
    }

    /// When the object is looked at again: after `resync` where nothing is due.
    pub fn action(&self, resync: Duration) -> Action {
        let after = match self {
            Self::Ready(_) => resync,
            Self::Waiting { retry_after, .. } | Self::Stalled { retry_after, .. } => *retry_after,
        };
        Action::requeue(jittered(after))
    }
}

/// The conditions' view of a pass, an error included: an error is retried, so the object is reconciling.
pub fn summary(result: &Result<Outcome, Error>) -> Summary {
    match result {
        Ok(Outcome::Ready(why)) => Summary::Ready(why.clone()),
        Ok(Outcome::Waiting { why, .. }) => Summary::Reconciling(why.clone()),
        Ok(Outcome::Stalled { why, .. }) => Summary::Stalled(why.clone()),
        Err(error) => Summary::Reconciling(Explanation::new(error.reason(), error.chain())),
    }
}

/// `duration`, lengthened by up to a fifth: objects created together shall not come back together.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(1.0 + rand::random::<f64>() / 5.0)
}
