//! One kind of call: items wait here for a moment and leave together.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admin::Batch;
use crate::batch::all_failed;
use crate::error::{Error, UnavailableCause};

/// How long items wait for others, and how many leave together.
#[derive(Debug, Clone, Copy)]
pub struct CoalesceOptions {
    /// How long the first item of a request waits for others. It is added to every call's latency.
    pub linger: Duration,
    /// How long after the request before it of the same kind a request leaves at the soonest, unless it is full:
    /// calls that keep coming become a few requests a second, and a call after a quiet while waits for `linger` only.
    pub pace: Duration,
    /// Most items of one request; a request that is full leaves at once.
    pub max_items: usize,
}

impl Default for CoalesceOptions {
    /// 5 milliseconds, well below the 28 that a controller takes to commit a single change by default; three requests
    /// of a kind per second, which nobody who waits for a topic notices; and 250 items, half of the passes that the
    /// operator makes at a time: while one request is answered, the next fills.
    fn default() -> Self {
        Self { linger: Duration::from_millis(5), pace: Duration::from_millis(300), max_items: 250 }
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
    queue: Mutex<Queue<I, T>>,
}

struct Queue<I, T> {
    waiting: Waiting<I, T>,
    /// Requests that have left.
    departed: u64,
    /// When the latest of them did.
    last: Option<Instant>,
}

impl<I, T> Default for Queue<I, T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), departed: 0, last: None }
    }
}

impl<I, T> Queue<I, T> {
    /// All that waits, which leaves now.
    fn take(&mut self) -> Waiting<I, T> {
        self.last = Some(Instant::now());
        self.departed += 1;
        mem::take(&mut self.waiting)
    }

    /// When the first item that comes now leaves, should no others fill the request before.
    fn departure(&self, now: Instant, options: &CoalesceOptions) -> Instant {
        let soonest = now + options.linger;
        self.last.map_or(soonest, |last| soonest.max(last + options.pace))
    }
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
        let (send, queue) = (Box::new(send), Mutex::default());
        Self { shared: Arc::new(Shared { options, clash, send, queue }) }
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
        let mut queue = shared.lock();
        let clashes = queue.waiting.iter().any(|(other, _)| (shared.clash)(other, &item));
        let ahead = if clashes { queue.take() } else { Vec::new() };
        let is_first = queue.waiting.is_empty();
        queue.waiting.push((item, sender));
        let is_full = queue.waiting.len() >= shared.options.max_items;
        let full = if is_full { queue.take() } else { Vec::new() };
        let (ahead_of_it, departure) = (queue.departed, queue.departure(Instant::now(), &shared.options));
        drop(queue);
        for ready in [ahead, full] {
            if !ready.is_empty() {
                tokio::spawn(Arc::clone(shared).dispatch(ready));
            }
        }
        if is_first && !is_full {
            tokio::spawn(Arc::clone(shared).dispatch_at(departure, ahead_of_it));
        }
        receiver
    }
}

impl<I, T> Shared<I, T> {
    fn lock(&self) -> MutexGuard<'_, Queue<I, T>> {
        // Nothing can panic under this lock but an allocation.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends by itself after one request, so that nobody needs to wait for it.
    async fn dispatch_at(self: Arc<Self>, departure: Instant, ahead_of_it: u64) {
        tokio::time::sleep_until(departure).await;
        let ready = {
            let mut queue = self.lock();
            // They may have left already, full; what waits now is younger.
            if queue.departed != ahead_of_it {
                return;
            }
            queue.take()
        };
        self.dispatch(ready).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_their_pace_and_after_a_quiet_while_nobody_waits_for_it() {
        let options = CoalesceOptions::default();
        let now = Instant::now();
        let left = |ago: u64| Queue::<(), ()> {
            last: now.checked_sub(Duration::from_millis(ago)),
            ..Queue::default()
        };

        assert_eq!(Queue::<(), ()>::default().departure(now, &options), now + options.linger);
        assert_eq!(left(100).departure(now, &options), now + Duration::from_millis(200));
        assert_eq!(left(1000).departure(now, &options), now + options.linger);
    }
}
