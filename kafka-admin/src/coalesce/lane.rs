//! One kind of call: items wait here for a moment and leave together.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;

use crate::admin::Batch;
use crate::batch::all_failed;
use crate::error::{Error, UnavailableCause};

/// How long items wait for others, and how many leave together.
#[derive(Debug, Clone, Copy)]
pub struct CoalesceOptions {
    /// How long the first item of a request waits for others. It is added to every call's latency.
    pub linger: Duration,
    /// Most items of one request; a request that is full leaves at once.
    pub max_items: usize,
}

impl Default for CoalesceOptions {
    /// 5 milliseconds, well below the 28 that a controller takes to commit a single change by default, and 100 items,
    /// which it takes in about as many milliseconds.
    fn default() -> Self {
        Self { linger: Duration::from_millis(5), max_items: 100 }
    }
}

type Waiting<I, T> = Vec<(I, oneshot::Sender<Result<T, Error>>)>;
type Send<I, T> = Box<dyn Fn(Vec<I>) -> BoxFuture<'static, Batch<T>> + std::marker::Send + Sync>;

/// Whether two items of different callers must not share a request.
type Clash<I> = fn(&I, &I) -> bool;

pub(super) struct Lane<I, T> {
    shared: Arc<Shared<I, T>>,
}

struct Shared<I, T> {
    options: CoalesceOptions,
    clash: Clash<I>,
    send: Send<I, T>,
    waiting: Mutex<Waiting<I, T>>,
}

impl<I, T> Lane<I, T>
where
    I: std::marker::Send + 'static,
    T: std::marker::Send + 'static,
{
    /// A lane of changes: two changes of one object, as `clash` tells them, never share a request.
    pub(super) fn of_changes<F>(options: CoalesceOptions, clash: Clash<I>, send: F) -> Self
    where
        F: Fn(Vec<I>) -> BoxFuture<'static, Batch<T>> + std::marker::Send + Sync + 'static,
    {
        let (send, waiting) = (Box::new(send), Mutex::default());
        Self { shared: Arc::new(Shared { options, clash, send, waiting }) }
    }

    /// A lane of questions: two may always share a request.
    pub(super) fn of_reads<F>(options: CoalesceOptions, send: F) -> Self
    where
        F: Fn(Vec<I>) -> BoxFuture<'static, Batch<T>> + std::marker::Send + Sync + 'static,
    {
        Self::of_changes(options, |_, _| false, send)
    }

    /// Sends the items together with those of other callers. A call that fills a request alone goes alone, and may
    /// be larger than requests usually are.
    pub(super) async fn ask(&self, items: Vec<I>) -> Batch<T> {
        if items.len() >= self.shared.options.max_items {
            return (self.shared.send)(items).await;
        }
        let answers: Vec<_> = items.into_iter().map(|item| self.put(item)).collect();
        let mut all = Vec::with_capacity(answers.len());
        for answer in answers {
            all.push(answer.await.unwrap_or_else(|_| Err(abandoned())));
        }
        all
    }

    fn put(&self, item: I) -> oneshot::Receiver<Result<T, Error>> {
        let (sender, receiver) = oneshot::channel();
        let shared = &self.shared;
        let mut waiting = shared.lock();
        let clashes = waiting.iter().any(|(other, _)| (shared.clash)(other, &item));
        let ahead = if clashes { mem::take(&mut *waiting) } else { Vec::new() };
        let is_first = waiting.is_empty();
        waiting.push((item, sender));
        let is_full = waiting.len() >= shared.options.max_items;
        let full = if is_full { mem::take(&mut *waiting) } else { Vec::new() };
        drop(waiting);
        for ready in [ahead, full] {
            if !ready.is_empty() {
                tokio::spawn(Arc::clone(shared).dispatch(ready));
            }
        }
        if is_first && !is_full {
            tokio::spawn(Arc::clone(shared).dispatch_later());
        }
        receiver
    }
}

impl<I, T> Shared<I, T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<I, T>> {
        // Nothing can panic under this lock but an allocation.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends by itself after the linger and one request, so that nobody needs to wait for it.
    async fn dispatch_later(self: Arc<Self>) {
        tokio::time::sleep(self.options.linger).await;
        // They may have left already, full; then these are younger ones, which leave a little early.
        let ready = mem::take(&mut *self.lock());
        if !ready.is_empty() {
            self.dispatch(ready).await;
        }
    }

    async fn dispatch(self: Arc<Self>, ready: Waiting<I, T>) {
        let (items, senders): (Vec<I>, Vec<_>) = ready.into_iter().unzip();
        let mut answers = (self.send)(items).await;
        // No answer must be as visible as an error.
        let missing = senders.len().saturating_sub(answers.len());
        answers.extend(all_failed(missing, &abandoned()));
        for (sender, answer) in senders.into_iter().zip(answers) {
            // A caller that has given up does not listen any more.
            drop(sender.send(answer));
        }
    }
}

fn abandoned() -> Error {
    let message = "the request was abandoned before its answer came".to_owned();
    Error::Unavailable { cause: UnavailableCause::Transport, message }
}

/// Boxes what a lane sends with.
pub(super) fn boxed<T>(
    answers: impl Future<Output = Batch<T>> + std::marker::Send + 'static,
) -> BoxFuture<'static, Batch<T>> {
    answers.boxed()
}
