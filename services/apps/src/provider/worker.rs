//! Works off requests to a provider: those handed over after a commit at once, and those that are due, because
//! they are to be tried again or because the process that had them is gone.

use std::time::Duration;

use domain::after;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use messaging::Pace;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::desk::{Clerk, Desk};
use super::record::Task;
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
pub async fn run<C: Clerk>(
    desk: Desk<C>,
    handed_over: mpsc::Receiver<Vec<Task<C::Record>>>,
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
    let mut pace = Pace::default();
    while let Some(reports) = reports.next().await {
        pulse.beat();
        pace.begin();
        if let Err(error) = desk.finish(reports).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "answers of a provider are not saved");
        }
        pace.wait().await;
    }
}

fn due<'d, C: Clerk>(desk: &'d Desk<C>, pulse: &'d Pulse) -> impl Stream<Item = Vec<Task<C::Record>>> + 'd {
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
