//! Works off requests to a provider: those handed over after a commit at once, and those that are due, because
//! they are to be tried again or because the process that had them is gone.

use std::time::Duration;

use domain::after;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::health::Pulse;

/// How long a request is a worker's own: longer than handed-over requests wait in the worst case, shorter than
/// an order waits, so that another replica can still help those of one that is gone. Two that ask for the
/// same order do no harm: it is the same request to the provider, and the first answer counts.
pub const LEASE: Duration = Duration::from_secs(8);
/// How often to look for requests that are due.
const POLL: Duration = Duration::from_millis(250);
/// Requests taken at once.
const TAKE: i64 = 500;
/// Calls under way at once.
const CALLS: usize = 256;
/// Answers saved in one transaction, at most.
const ANSWERS: usize = 512;
/// Batches that may wait to be worked off. With more, requests are left to be found when they are due.
const HANDED_OVER: usize = 4;
/// How long the worker may be silent: its longest step is to save answers, which waits for a connection.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Why answers could not be saved. The provider is asked again when the lease is over, under the same key.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The database did not do it.
    #[error("could not read or save requests to the provider")]
    Database(#[from] sqlx::Error),
    /// The news could not be appended to the outbox.
    #[error("could not announce the provider's answers")]
    Announce(#[from] messaging::AppendError),
}

/// What is done about requests of one kind.
pub trait Desk: Send + Sync + 'static {
    /// A request.
    type Task: Send + 'static;
    /// What became of it.
    type Report: Send + 'static;

    /// Takes at most `limit` requests that are due at `now`, for this worker alone until `until`.
    fn take(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self::Task>, WorkError>> + Send;

    /// Asks the provider.
    fn attempt(&self, task: Self::Task) -> impl Future<Output = Self::Report> + Send;

    /// Saves what became of requests and tells everybody, in one transaction.
    fn finish(&self, reports: Vec<Self::Report>) -> impl Future<Output = Result<(), WorkError>> + Send;
}

/// Where requests are handed over whose rows are leased to this process.
#[derive(Debug, Clone)]
pub struct Handover<T>(mpsc::Sender<Vec<T>>);

/// A place for a batch of requests; the worker gets them when it is used.
pub type Place<T> = mpsc::OwnedPermit<Vec<T>>;

impl<T: Send + 'static> Handover<T> {
    /// A way to hand over, and where it leads.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Vec<T>>) {
        let (sender, receiver) = mpsc::channel(HANDED_OVER);
        (Self(sender), receiver)
    }

    /// A place for a batch, if the worker is not behind.
    #[must_use]
    pub fn reserve(&self) -> Option<Place<T>> {
        self.0.clone().try_reserve_owned().ok()
    }
}

/// Works off requests until `shutdown`, then finishes those under way.
pub async fn run<D: Desk>(
    desk: D,
    handed_over: mpsc::Receiver<Vec<D::Task>>,
    pulse: Pulse,
    shutdown: CancellationToken,
) {
    let handed_over = stream::unfold(handed_over, async |mut receiver| {
        receiver.recv().await.map(|tasks| (tasks, receiver))
    });
    let batches = stream::select(handed_over, due(&desk, &pulse));
    let reports = batches
        .take_until(shutdown.cancelled())
        .flat_map(stream::iter)
        .map(|task| desk.attempt(task))
        .buffer_unordered(CALLS)
        // Saved as they come, together where several have come: a slow one keeps none of the others waiting.
        .ready_chunks(ANSWERS);
    let mut reports = std::pin::pin!(reports);
    while let Some(reports) = reports.next().await {
        pulse.beat();
        if let Err(error) = desk.finish(reports).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "answers of a provider are not saved");
        }
    }
}

fn due<'d, D: Desk>(desk: &'d D, pulse: &'d Pulse) -> impl Stream<Item = Vec<D::Task>> + 'd {
    stream::unfold(Duration::ZERO, async move |pause| {
        sleep(pause).await;
        pulse.beat();
        let now = Timestamp::now();
        let tasks = desk.take(now, after(now, LEASE), TAKE).await.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "requests to a provider wait");
            Vec::new()
        });
        let pause = if tasks.is_empty() { POLL } else { Duration::ZERO };
        Some((tasks, pause))
    })
}
