//! Group commit of new orders: requests that come at the same time share one transaction, because a commit
//! costs a flush of the disk whatever its size. Each is answered only after the commit.
//!
//! An order, its claim of an idempotency key and its `OrderCreated` event are one transaction, so that neither
//! exists without the others. Several replicas may do this at once: the database decides who was first.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::headers::TRACEPARENT;
use contract::{CorrelationId, Envelope, OrderCreated, OrderId};
use jiff::Timestamp;
use messaging::{AppendError, Outbox, Pace};
use sqlx::PgPool;
use sqlx::postgres::PgConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::keys::{self, Claim, FirstAnswer};
use super::metrics::Metrics;
use super::store::{self, Draft};

/// Most orders in one transaction: beyond this a larger one is not cheaper per order, only later.
const MOST_ORDERS: usize = 256;

/// Transactions under way at once: while one waits for the disk, the next one fills.
const MOST_COMMITS: usize = 2;

/// Requests that may queue; more than this many are a second's work, and are refused instead of kept waiting.
const QUEUE: usize = 4096;

/// How long a request waits for a place in the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// A request for an order with its idempotency key.
#[derive(Debug)]
pub struct Submission {
    /// The order to be.
    pub draft: Draft,
    /// The `Idempotency-Key` that came with it.
    pub key: Option<String>,
}

/// What a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// A new order was accepted.
    Accepted {
        /// The order.
        order_id: OrderId,
        /// Its correlation id.
        correlation_id: CorrelationId,
    },
    /// The same request was accepted before; this is its answer.
    Replayed {
        /// The order of the first request.
        order_id: OrderId,
        /// The correlation id of the first request.
        correlation_id: CorrelationId,
    },
    /// The key belongs to another request.
    KeyReused,
    /// The order id belongs to another order.
    IdTaken,
}

/// Why a request got no receipt. Nothing is known to be stored; the same request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// More requests wait than can be served soon.
    #[error("too many orders are waiting to be stored")]
    Overloaded,
    /// The database did not store the order, or the process stops.
    #[error("the order could not be stored")]
    Unavailable,
}

#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("could not store the orders")]
    Database(#[from] sqlx::Error),
    #[error("could not append the orders' events")]
    Append(#[from] AppendError),
}

impl CommitError {
    /// Whether one order of the batch may be at fault for the others.
    fn may_be_one(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(_)) | Self::Append(_) => true,
            Self::Database(_) => false,
        }
    }
}

struct Waiting {
    submission: Submission,
    reply: oneshot::Sender<Result<Receipt, IntakeError>>,
}

/// Where requests are handed in. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    queue: mpsc::Sender<Waiting>,
}

impl Intake {
    /// An intake, and the loop that serves it.
    pub fn new(pool: PgPool, outbox: Outbox, metrics: Metrics) -> (Self, Committer) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self { queue }, Committer { waiting, store: Store { pool, outbox }, metrics })
    }

    /// Stores an order, together with whatever else arrives now.
    ///
    /// # Errors
    /// When it could not be stored, or it is not known whether it was.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, IntakeError> {
        let (reply, receipt) = oneshot::channel();
        self.queue
            .send_timeout(Waiting { submission, reply }, QUEUE_TIMEOUT)
            .await
            .map_err(|_full_or_closed| IntakeError::Overloaded)?;
        receipt.await.map_err(|_dropped| IntakeError::Unavailable)?
    }
}

/// The loop that commits what the intake takes.
pub struct Committer {
    waiting: mpsc::Receiver<Waiting>,
    store: Store,
    metrics: Metrics,
}

impl Committer {
    /// Commits batches until `shutdown`, then what is still queued.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut commits = JoinSet::new();
        let mut pace = Pace::default();
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                count = self.waiting.recv_many(&mut batch, MOST_ORDERS) => if count == 0 { break },
                // Closed, the queue still gives what it has, and then nothing.
                () = shutdown.cancelled(), if !self.waiting.is_closed() => { self.waiting.close(); continue }
            }
            // A lone request never waits.
            pace.wait().await;
            while commits.len() >= MOST_COMMITS {
                commits.join_next().await;
            }
            while batch.len() < MOST_ORDERS
                && let Ok(more) = self.waiting.try_recv()
            {
                batch.push(more);
            }
            pace.begin();
            self.metrics.batch_size.observe(u32::try_from(batch.len()).map_or(0.0, f64::from));
            commits.spawn(self.store.clone().serve(batch));
        }
        while commits.join_next().await.is_some() {}
    }
}

#[derive(Clone)]
struct Store {
    pool: PgPool,
    outbox: Outbox,
}

impl Store {
    /// Commits a batch and answers everyone in it.
    async fn serve(self, batch: Vec<Waiting>) {
        let (submissions, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.submission, waiting.reply)).unzip();
        let receipts = match self.commit(&submissions).await {
            Ok(receipts) => receipts.into_iter().map(Ok).collect(),
            Err(error) if error.may_be_one() && submissions.len() > 1 => self.commit_each(&submissions).await,
            Err(error) => {
                refused(&error, submissions.len());
                vec![Err(IntakeError::Unavailable); submissions.len()]
            }
        };
        for (reply, receipt) in replies.into_iter().zip(receipts) {
            // A client that went away needs no answer; its order stands.
            drop(reply.send(receipt));
        }
    }

    async fn commit_each(&self, submissions: &[Submission]) -> Vec<Result<Receipt, IntakeError>> {
        let mut receipts = Vec::with_capacity(submissions.len());
        for submission in submissions {
            let receipt = match self.commit(std::slice::from_ref(submission)).await {
                Ok(receipts) => receipts.into_iter().next().ok_or(IntakeError::Unavailable),
                Err(error) => {
                    refused(&error, 1);
                    Err(IntakeError::Unavailable)
                }
            };
            receipts.push(receipt);
        }
        receipts
    }

    /// Stores what is new of `submissions` and returns a receipt for each, in their order.
    async fn commit(&self, submissions: &[Submission]) -> Result<Vec<Receipt>, CommitError> {
        let mut tx = self.pool.begin().await?;
        let mut verdicts = claim_keys(&mut tx, submissions).await?;
        insert_orders(&mut tx, submissions, &mut verdicts).await?;
        settle_keys(&mut tx, submissions, &mut verdicts).await?;
        let created: Vec<Envelope> = submissions
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| matches!(verdict, Verdict::New))
            .map(|(submission, _)| created(&submission.draft))
            .collect();
        self.outbox.append(&mut tx, &created).await?;
        tx.commit().await?;
        if !created.is_empty() {
            self.outbox.notify();
        }
        Ok(submissions
            .iter()
            .zip(verdicts)
            .map(|(submission, verdict)| verdict.receipt(submission))
            .collect())
    }
}

/// What is known about a submission while its transaction is open.
enum Verdict {
    /// It becomes an order.
    New,
    /// Its key is someone else's; whose, is still to be read.
    KeyHeld,
    /// It is decided.
    Known(Receipt),
}

impl Verdict {
    fn receipt(self, submission: &Submission) -> Receipt {
        let Draft { id: order_id, ref correlation_id, .. } = submission.draft;
        match self {
            Self::New => Receipt::Accepted { order_id, correlation_id: correlation_id.clone() },
            Self::KeyHeld => Receipt::KeyReused,
            Self::Known(receipt) => receipt,
        }
    }
}

/// Claims the keys of all submissions; of several with one key, the first one claims it.
async fn claim_keys(
    conn: &mut PgConnection,
    submissions: &[Submission],
) -> Result<Vec<Verdict>, CommitError> {
    let mut firsts: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, submission) in submissions.iter().enumerate() {
        if let Some(key) = &submission.key {
            firsts.entry(key).or_insert(index);
        }
    }
    let claims: Vec<Claim<'_>> = firsts
        .iter()
        .filter_map(|(key, index)| submissions.get(*index).map(|submission| (*key, &submission.draft)))
        .map(|(key, draft)| Claim { key, fingerprint: &draft.fingerprint, order_id: draft.id })
        .collect();
    let claimed: BTreeSet<String> = keys::claim(conn, &claims, Timestamp::now()).await?.into_iter().collect();
    let verdict = |(index, submission): (usize, &Submission)| match submission.key.as_deref() {
        Some(key) if !claimed.contains(key) || firsts.get(key) != Some(&index) => Verdict::KeyHeld,
        Some(_) | None => Verdict::New,
    };
    Ok(submissions.iter().enumerate().map(verdict).collect())
}

/// Inserts what is new. Ids can be taken only where the customer chose them.
async fn insert_orders(
    conn: &mut PgConnection,
    submissions: &[Submission],
    verdicts: &mut [Verdict],
) -> Result<(), CommitError> {
    let mut drafts: BTreeMap<OrderId, &Draft> = BTreeMap::new();
    let mut repeated = Vec::new();
    for (index, (submission, verdict)) in submissions.iter().zip(verdicts.iter()).enumerate() {
        if matches!(verdict, Verdict::New) {
            match drafts.entry(submission.draft.id) {
                Entry::Vacant(place) => drop(place.insert(&submission.draft)),
                Entry::Occupied(_) => repeated.push(index),
            }
        }
    }
    let all: Vec<&Draft> = drafts.values().copied().collect();
    let inserted: BTreeSet<OrderId> =
        if all.is_empty() { BTreeSet::new() } else { store::insert(conn, &all).await?.into_iter().collect() };
    let taken = |index: usize, submission: &Submission| {
        repeated.contains(&index) || !inserted.contains(&submission.draft.id)
    };
    let refused: Vec<usize> = submissions
        .iter()
        .enumerate()
        .filter(|(index, submission)| {
            matches!(verdicts.get(*index), Some(Verdict::New)) && taken(*index, submission)
        })
        .map(|(index, _)| index)
        .collect();
    settle_ids(conn, submissions, verdicts, &refused).await
}

/// Decides those whose order id was taken: by the same request before, or by another order.
async fn settle_ids(
    conn: &mut PgConnection,
    submissions: &[Submission],
    verdicts: &mut [Verdict],
    refused: &[usize],
) -> Result<(), CommitError> {
    let ids: Vec<OrderId> =
        refused.iter().filter_map(|index| submissions.get(*index)).map(|s| s.draft.id).collect();
    let firsts = keys::first_answers_by_id(conn, &ids).await?;
    let mut released = Vec::new();
    for index in refused {
        let (Some(submission), Some(verdict)) = (submissions.get(*index), verdicts.get_mut(*index)) else {
            continue;
        };
        let receipt = replay(firsts.get(&submission.draft.id), submission, Receipt::IdTaken);
        if receipt == Receipt::IdTaken {
            released.extend(submission.key.as_deref());
        }
        *verdict = Verdict::Known(receipt);
    }
    Ok(keys::release(conn, &released).await?)
}

/// Decides those whose key was held: by the same request before, or by another one.
async fn settle_keys(
    conn: &mut PgConnection,
    submissions: &[Submission],
    verdicts: &mut [Verdict],
) -> Result<(), CommitError> {
    let held = |verdict: &Verdict| matches!(verdict, Verdict::KeyHeld);
    let keys: Vec<&str> = submissions
        .iter()
        .zip(verdicts.iter())
        .filter(|(_, verdict)| held(verdict))
        .filter_map(|(submission, _)| submission.key.as_deref())
        .collect();
    let firsts = keys::first_answers_by_key(conn, &keys).await?;
    for (submission, verdict) in submissions.iter().zip(verdicts).filter(|(_, verdict)| held(verdict)) {
        let first = submission.key.as_ref().and_then(|key| firsts.get(key));
        *verdict = Verdict::Known(replay(first, submission, Receipt::KeyReused));
    }
    Ok(())
}

/// The first answer again if it was the answer to the same request, `otherwise` if not.
fn replay(first: Option<&FirstAnswer>, submission: &Submission, otherwise: Receipt) -> Receipt {
    match first {
        Some(first) if first.fingerprint == submission.draft.fingerprint => {
            Receipt::Replayed { order_id: first.order_id, correlation_id: first.correlation_id.clone() }
        }
        Some(_) | None => otherwise,
    }
}

fn created(draft: &Draft) -> Envelope {
    let event = OrderCreated { order_id: draft.id, details: draft.request.details.clone() };
    let mut envelope = Envelope::new(event.into(), draft.correlation_id.clone(), draft.created_at);
    let trace = draft.traceparent.clone().map(|trace| (TRACEPARENT.to_owned(), trace));
    envelope.metadata.extend(trace);
    envelope
}

fn refused(error: &CommitError, orders: usize) {
    tracing::error!(error = error as &dyn std::error::Error, orders, "{orders} orders could not be stored");
}
