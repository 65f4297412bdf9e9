//! What an application of streams is: a fold over the records of a partition.

use contract::{Envelope, Event, Topic};
use jiff::Timestamp;

use crate::Cause;

/// An application: a pure fold. It is shown the events of a partition in order, keeps a state of its own for
/// each partition, and yields, once per transaction, what of its state changed and what it has to tell.
///
/// Pure: the same records in the same order make the same state, however they were batched and how often
/// processes died over it. The runtime may throw a state away and build it again from what was yielded. So a
/// state is its partition's alone: what concerns several partitions is for the readers of its events to add up.
pub trait Application: Send + 'static {
    /// The state of one partition.
    type State: Default + Send;

    /// The topic whose events it is shown.
    fn input(&self) -> Topic;

    /// Where its state is kept. Has as many partitions as the input.
    fn changelog(&self) -> Topic;

    /// Takes in the next event of a partition.
    fn apply(&self, state: &mut Self::State, event: &Envelope) -> Fate;

    /// No event has come for a while, and it is `now` on the wall. Whether the state changed. Must not change
    /// what any later event leads to.
    fn rest(&self, state: &mut Self::State, now: Timestamp) -> bool;

    /// What changed, of the state of `partition`, since this was last asked. Called once per transaction, so
    /// that what changes often is written once.
    fn take_changes(&self, state: &mut Self::State, partition: u32) -> Yield;

    /// Puts back an entry of the changelog, into a new state; only the last of each key, in any order.
    ///
    /// # Errors
    /// The entry is none of this application's. The stream ends: to go on without it would be to count wrong.
    fn restore(&self, state: &mut Self::State, key: &[u8], value: &[u8]) -> Result<(), Cause>;

    /// How many entries a state has, for the metric.
    fn size(&self, state: &Self::State) -> usize;
}

/// What became of an event, for the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Fate {
    /// It had its effect.
    Processed,
    /// It had come before.
    Duplicate,
    /// It came after its window had closed.
    Late,
}

/// What an application yields at the end of a transaction.
#[derive(Debug, Default)]
pub struct Yield {
    /// Entries of the changelog.
    pub state: Vec<StateChange>,
    /// Events for others.
    pub events: Vec<Event>,
}

/// An entry of the changelog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// Names a piece of state.
    pub key: Vec<u8>,
    /// Its present value; none: it is gone.
    pub value: Option<Vec<u8>>,
}
