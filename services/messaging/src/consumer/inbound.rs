//! The queue between the fetch thread and the handling task, and the book of what is done.
//!
//! Bounded: when it is full the fetch thread waits for room, and pauses its partitions if that takes long.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::record::{Incoming, Source};

/// Most bytes in the queue, whatever their number: what a service's pod can spare.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// How the fetch thread is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Commit what is done, then leave.
    Committing,
    /// Leave as if the process had died: commit nothing.
    Aborting,
}

/// A place in a partition: the offset of the next record.
pub(super) type Place = (Source, i64);

/// The queue and the book.
pub(super) struct Inbound {
    state: Mutex<State>,
    /// Wakes the handling task.
    arrived: Notify,
    /// Wakes the fetch thread: there is room, something is done, or it is to stop.
    moved: Condvar,
    records_max: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Incoming>,
    bytes: usize,
    partitions: HashMap<Source, Progress>,
    stop: Option<Stop>,
    /// The handling task waits for a dependency, and nobody knows how long.
    stalled: bool,
}

/// How far a partition is. All are offsets of the next record.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    /// After the batch in the handler's hands.
    in_hand: Option<i64>,
    done: Option<i64>,
    /// What a commit was asked for.
    asked: Option<i64>,
}

impl Inbound {
    /// A queue for batches of at most `batch_max` records: one can wait while one is handled.
    pub(super) fn new(batch_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Notify::new(),
            moved: Condvar::new(),
            records_max: batch_max.saturating_mul(2),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding it; if something did, the book would still be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `record`. At once and not by the handful: a rebalance between two polls drops what is queued of
    /// a revoked partition, and a record that came in after that would be handled before those dropped.
    pub(super) fn push(&self, record: Incoming) {
        let mut state = self.lock();
        state.bytes += record.size();
        state.queue.push_back(record);
    }

    /// Wakes the handling task for what was queued.
    pub(super) fn announce(&self) {
        self.arrived.notify_one();
    }

    /// The next records, in order, at most `max`; waits until there is one.
    pub(super) async fn take(&self, max: usize) -> Vec<Incoming> {
        loop {
            let batch = self.lock().take(max);
            if !batch.is_empty() {
                self.moved.notify_all();
                return batch;
            }
            self.arrived.notified().await;
        }
    }

    /// Notes that everything before each place is done.
    pub(super) fn finish(&self, places: &[Place]) {
        let mut state = self.lock();
        for (source, next) in places {
            // A partition that went to another consumer meanwhile is no longer ours to commit.
            if let Some(progress) = state.partitions.get_mut(source) {
                progress.in_hand = None;
                progress.done = Some(*next);
            }
        }
        drop(state);
        self.moved.notify_all();
    }

    /// Notes whether the handling task waits for a dependency.
    pub(super) fn set_stalled(&self, stalled: bool) {
        self.lock().stalled = stalled;
        self.moved.notify_all();
    }

    /// Ends the fetch thread. The first call counts.
    pub(super) fn stop(&self, how: Stop) {
        self.lock().stop.get_or_insert(how);
        self.moved.notify_all();
    }

    pub(super) fn stopping(&self) -> Option<Stop> {
        self.lock().stop
    }

    /// Whether there is room, waiting up to `patience` for it.
    pub(super) fn room_within(&self, patience: Duration) -> bool {
        let full = |state: &mut State| {
            state.stop.is_none() && (state.queue.len() >= self.records_max || state.bytes >= BYTES_MAX)
        };
        let (_state, result) = self
            .moved
            .wait_timeout_while(self.lock(), patience, full)
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    /// Notes that `sources` are ours from now on.
    pub(super) fn assigned(&self, sources: &[Source]) {
        let mut state = self.lock();
        for source in sources {
            state.partitions.insert(source.clone(), Progress::default());
        }
    }

    /// Whose lag to report: each partition of ours with the place of what is done, where anything is.
    pub(super) fn done(&self) -> Vec<(Source, Option<i64>)> {
        self.lock().partitions.iter().map(|(source, progress)| (source.clone(), progress.done)).collect()
    }

    /// What is done and was not asked to be committed yet; now it was.
    pub(super) fn ask_for_commits(&self) -> Vec<Place> {
        self.lock().ask_for_commits()
    }

    /// Notes that commits of `sources` failed, so that they are asked for again.
    pub(super) fn commit_failed(&self, sources: &[Source]) {
        let mut state = self.lock();
        for source in sources {
            if let Some(progress) = state.partitions.get_mut(source) {
                progress.asked = None;
            }
        }
    }

    /// Gives `sources` up: drops what is queued of them, waits up to `patience` for what is in the handler's
    /// hands, and returns what remains to be committed. Does not wait for a handler that is itself waiting.
    pub(super) fn revoke(&self, sources: &[Source], patience: Duration) -> Vec<Place> {
        let mut state = self.lock();
        state.drop_queued(sources);
        let deadline = Instant::now() + patience;
        while state.stop.is_none() && !state.stalled && state.in_hand(sources) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut places = state.ask_for_commits();
        places.retain(|(source, _)| sources.contains(source));
        for source in sources {
            state.partitions.remove(source);
        }
        places
    }
}

impl State {
    fn take(&mut self, max: usize) -> Vec<Incoming> {
        let count = self.queue.len().min(max);
        let batch: Vec<Incoming> = self.queue.drain(..count).collect();
        self.bytes = self.bytes.saturating_sub(batch.iter().map(Incoming::size).sum());
        for record in &batch {
            if let Some(progress) = self.partitions.get_mut(&record.source) {
                progress.in_hand = Some(record.offset + 1);
            }
        }
        batch
    }

    fn ask_for_commits(&mut self) -> Vec<Place> {
        let mut places = Vec::new();
        for (source, progress) in &mut self.partitions {
            if let Some(done) = progress.done
                && progress.asked != Some(done)
            {
                progress.asked = Some(done);
                places.push((source.clone(), done));
            }
        }
        places
    }

    fn drop_queued(&mut self, sources: &[Source]) {
        self.queue.retain(|record| !sources.contains(&record.source));
        self.bytes = self.queue.iter().map(Incoming::size).sum();
    }

    fn in_hand(&self, sources: &[Source]) -> bool {
        sources
            .iter()
            .any(|source| self.partitions.get(source).is_some_and(|progress| progress.in_hand.is_some()))
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
