//! Replaying dead letters: back to the topic they came from, unchanged, on purpose and on record.
//!
//! A replay reads a service's dead-letter topic from its oldest record to where it ends at the start, selects by
//! a [`Filter`], and sends each selected record to its original topic with the same key, value and event id. So
//! whoever had handled the event recognises it, and only who gave it up handles it now. Records of one key keep
//! their order among each other.
//!
//! What keeps it from doing harm:
//! - A dry run ([`Mode::DryRun`]) tells what would happen and changes nothing.
//! - The target is never the caller's choice: it is the original topic, if that is an event topic of the
//!   catalogue.
//! - A record that was replayed before is left out unless asked for ([`Request::again`]), so a run that was
//!   broken off is resumed by running it again.
//! - Each replay is counted in the record's headers; beyond [`Request::replays_max`] it is refused. A record that
//!   is given up again comes after the end that the run saw, so no run meets a record twice.
//! - Who, why and what is written to the service's database before anything is sent, the outcome after it. A
//!   crash in between leaves an intent without outcome; the next run sends such a record again.
//!
//! The client's principal needs the right to read the dead letters and to write their original topics, which a
//! service's own has not: this is for operators and their tools.

mod audit;
mod filter;
mod letter;
mod pace;
mod reader;
mod run;

use std::num::NonZeroU32;

use contract::Topic;
use uuid::Uuid;

pub use self::filter::Filter;
pub use self::letter::DeadLetter;
use crate::producer::{ClientError, SetupError};

pub(crate) use self::run::{Wiring, run};

/// What to replay, how, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which dead letters.
    pub filter: Filter,
    /// Whether to do it or to tell what would be done.
    pub mode: Mode,
    /// Whether to replay also what was replayed before.
    pub again: bool,
    /// Most records per second, so that consumers keep up with what is new.
    pub records_per_second: NonZeroU32,
    /// How often one record may be replayed before it is refused.
    pub replays_max: u32,
    /// Most dead letters to select; those beyond are left for another run.
    pub records_max: usize,
    /// Who asks. For the record; not empty.
    pub operator: String,
    /// Why. For the record; not empty.
    pub reason: String,
}

impl Request {
    /// A dry run over all dead letters.
    #[must_use]
    pub fn new(operator: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            filter: Filter::default(),
            mode: Mode::DryRun,
            again: false,
            // A few percent of what a service handles.
            records_per_second: const { NonZeroU32::new(100).unwrap() },
            // Whoever needs more than three has not mended the cause.
            replays_max: 3,
            // What a report can be read by, and a few megabytes.
            records_max: 10_000,
            operator: operator.into(),
            reason: reason.into(),
        }
    }
}

/// Whether a replay is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Tell what would be done.
    DryRun,
    /// Do it.
    Replay,
}

/// What a replay did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The run, as the audit record names it; none for a dry run.
    pub run_id: Option<Uuid>,
    /// How many dead letters were looked at.
    pub read: usize,
    /// Those that were selected, those of a partition in order, and what became of each.
    pub selected: Vec<(DeadLetter, Verdict)>,
    /// Whether there are more than [`Request::records_max`] allowed.
    pub more: bool,
}

impl Report {
    /// How many were sent, or would be.
    #[must_use]
    pub fn replayed(&self) -> usize {
        let counts = |verdict: &Verdict| matches!(verdict, Verdict::WouldReplay(_) | Verdict::Replayed(_));
        self.selected.iter().filter(|(_, verdict)| counts(verdict)).count()
    }
}

/// What became of a selected dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Would be sent to this topic.
    WouldReplay(Topic),
    /// Was sent to this topic, and acknowledged.
    Replayed(Topic),
    /// Must not be sent.
    Refused(Refusal),
    /// The broker refused it, in its words.
    Failed(String),
}

/// Why a dead letter is not replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its headers do not say where it came from.
    #[error("it does not say which topic it came from")]
    NoOrigin,
    /// Its original topic is not an event topic of the catalogue, under the pipeline's prefix.
    #[error("its original topic {0:?} is not in the catalogue")]
    UnknownTopic(String),
    /// Its value was too large to be kept with the headers, or it never had one.
    #[error("it has no value")]
    NoValue,
    /// It was replayed too often.
    #[error("it was replayed {0} times already")]
    TooOften(u32),
    /// A run replayed it already.
    #[error("run {0} replayed it already")]
    AlreadyReplayed(Uuid),
}

/// Why a replay ended early. What was done by then stands in the audit record; running it again resumes it.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Nobody would know later on whose behalf it was.
    #[error("a replay needs to say who asks for it and why")]
    Unsigned,
    /// Another replay of the same dead letters is under way.
    #[error("another replay of {topic} is under way")]
    Busy {
        /// The dead-letter topic.
        topic: String,
    },
    /// The client refuses its configuration.
    #[error("could not set up the replay")]
    Setup(#[from] SetupError),
    /// The dead letters cannot be read.
    #[error("could not read {topic}")]
    Read {
        /// The dead-letter topic.
        topic: String,
        #[source]
        /// Why.
        source: ClientError,
    },
    /// The audit record cannot be read or written; without it nothing is sent.
    #[error("could not keep the audit record")]
    Audit(#[source] sqlx::Error),
}
