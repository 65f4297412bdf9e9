//! The saga of an order: which state follows from which input, and what the world is told.
//!
//! Each step is triggered by the event before it, so nothing here sends commands: the saga listens, decides
//! when an order is confirmed, completed or cancelled, and holds the deadline that ends it if nobody answers.
//! The order service stores one [`OrderSaga`] per order and calls [`advance`] for every input.

use std::cmp::Ordering;
use std::time::Duration;

use contract::{CancelReason, NotificationKind, Step};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::after;

/// What follows from `input` for an order in the state `saga` at the time `now`.
///
/// Total and idempotent: whatever arrives, however often and in whatever order, is either the one thing that
/// the state waits for or changes nothing. Every state but the last two has a deadline, so none is stuck.
pub fn advance(saga: &OrderSaga, input: Input, now: Timestamp) -> Transition {
    use Input::{DeadlinePassed, Delivered, Notified, StepFailed, StepSucceeded, StepWaits};
    use OrderStatus::{Cancelled, Completed, Confirmed, Pending};

    match (&saga.status, input) {
        (Pending, StepSucceeded(step)) if saga.waits_for(step) => saga.with_success_of(step, now),
        (Pending, StepWaits { step, until }) if saga.is_running(step) => saga.with_wait_for(step, until),
        // A step that takes back its success is heard: until all have succeeded, cancelling is safe.
        (Pending, StepFailed { step, reason, detail }) if saga.has(step) => {
            saga.cancelled(step, StepStatus::Failed, reason, detail)
        }
        (Pending, DeadlinePassed) if saga.is_overdue(now) => saga.timed_out(),

        (Confirmed, Delivered) if saga.is_shipped() => saga.completed(),
        (Confirmed, Notified(NotificationKind::Confirmed)) if !saga.is_shipped() => saga.completed(),
        // Mail and parcel are worth waiting for, but never worth a stuck order.
        (Confirmed, DeadlinePassed) if saga.is_overdue(now) => saga.completed(),

        // Duplicates, steps that this order does not have, deadlines that have been moved meanwhile. And the pivot:
        // once confirmed, an order is never cancelled.
        (
            Pending | Confirmed,
            StepSucceeded(_)
            | StepWaits { .. }
            | StepFailed { .. }
            | DeadlinePassed
            | Delivered
            | Notified(_),
        ) => saga.unchanged(),
        // Ended. Late answers are for the participants' own records to undo.
        (Completed | Cancelled { .. }, _) => saga.unchanged(),
    }
}

/// What a saga is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A step's service did its part.
    StepSucceeded(Step),
    /// A step's service cannot do its part yet. It answers again, at `until` at the latest.
    StepWaits {
        /// The step.
        step: Step,
        /// Until when it waits.
        until: Timestamp,
    },
    /// A step's service could not do its part.
    StepFailed {
        /// The step.
        step: Step,
        /// Why, for programs.
        reason: CancelReason,
        /// Why, for people.
        detail: String,
    },
    /// The parcel arrived.
    Delivered,
    /// The customer was told, or all channels were tried.
    Notified(NotificationKind),
    /// The sweep found the deadline passed.
    DeadlinePassed,
}

/// What follows from an input: the next state, and what to do in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Transition {
    /// The next state; the same as before, version included, where nothing changes.
    pub next: OrderSaga,
    /// What to do besides storing it.
    pub effects: Vec<Effect>,
}

/// Something to do in the transaction that stores the next state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell everybody.
    Publish(Announcement),
}

/// What everybody is told. At most one of `Completed` and `Cancelled` per order, and exactly one in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcement {
    /// Every step succeeded (`orders.confirmed`).
    Confirmed,
    /// The order ended well (`orders.completed`).
    Completed,
    /// The order ended without success (`orders.cancelled`).
    Cancelled {
        /// Why, for programs.
        reason: CancelReason,
        /// Why, for people.
        detail: String,
    },
}

/// The public state of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// Steps are under way.
    Pending,
    /// Every step succeeded; the parcel is on its way, or the customer is being told.
    Confirmed,
    /// Ended well.
    Completed,
    /// Ended without success.
    Cancelled {
        /// Why, for programs.
        reason: CancelReason,
        /// Why, for people.
        detail: String,
    },
}

impl OrderStatus {
    /// The name that the API shows and databases store.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Completed => "COMPLETED",
            Self::Cancelled { .. } => "CANCELLED",
        }
    }

    /// Whether the order has ended.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled { .. })
    }
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum StepStatus {
    /// A step before it has not succeeded yet.
    Waiting,
    /// Its service is expected to answer.
    Running,
    /// Its service waits for stock.
    Backordered,
    /// Its service did its part; if the order was cancelled later, the service undid it.
    Succeeded,
    /// Its service could not do its part.
    Failed,
    /// Its service did not answer in time.
    TimedOut,
}

/// A step of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepState {
    /// The step.
    pub step: Step,
    /// How far it is.
    pub status: StepStatus,
}

/// Which steps orders take, and how long each may last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaConfig {
    /// The steps in order; at least one, each once.
    pub steps: Vec<Step>,
    /// The limits.
    pub timeouts: Timeouts,
}

/// How long an order waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a step, before the order is cancelled.
    pub step: Duration,
    /// Once confirmed, for the customer to be told, before it is completed anyway; where nothing is shipped.
    pub notification: Duration,
    /// Once confirmed, for the parcel to arrive, before it is completed anyway; where it is shipped.
    pub delivery: Duration,
}

/// Why a saga cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSaga {
    /// No step at all: orders would be confirmed by nobody.
    #[error("a saga needs at least one step")]
    NoSteps,
    /// A step stands there twice.
    #[error("step {0} is listed twice")]
    Repeated(Step),
    /// A step stands behind one that has to come after it.
    #[error("step {0} comes before {1}")]
    OutOfOrder(Step, Step),
}

impl SagaConfig {
    /// The saga's steps and time limits.
    ///
    /// # Errors
    /// [`InvalidSaga`] when there is no step, one twice, or one out of the order of [`Step::ALL`]: stock is
    /// held before money is taken, and money is taken before anything leaves the house.
    pub fn new(steps: Vec<Step>, timeouts: Timeouts) -> Result<Self, InvalidSaga> {
        if steps.is_empty() {
            return Err(InvalidSaga::NoSteps);
        }
        for (first, second) in steps.iter().zip(steps.iter().skip(1)) {
            match first.cmp(second) {
                Ordering::Less => {}
                Ordering::Equal => return Err(InvalidSaga::Repeated(*first)),
                Ordering::Greater => return Err(InvalidSaga::OutOfOrder(*second, *first)),
            }
        }
        Ok(Self { steps, timeouts })
    }
}

/// One order's saga, as it is stored. It carries its own steps and limits: an order ends by the rules under
/// which it began, whatever is rolled out meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSaga {
    /// The public state.
    #[serde(flatten)]
    pub status: OrderStatus,
    /// The steps, in order.
    pub steps: Vec<StepState>,
    /// When [`Input::DeadlinePassed`] is due; none once the order has ended.
    pub deadline: Option<Timestamp>,
    /// How long a step may last.
    pub step_timeout: Duration,
    /// How long a confirmed order waits for what ends it well.
    pub closing_timeout: Duration,
    /// Counts the changes, for compare-and-set.
    pub version: i64,
}

impl OrderSaga {
    /// A new order's saga: the first step runs.
    #[must_use]
    pub fn begin(config: &SagaConfig, now: Timestamp) -> Self {
        let steps = config.steps.iter().map(|step| StepState { step: *step, status: StepStatus::Waiting });
        let Timeouts { step: step_timeout, notification, delivery } = config.timeouts;
        let is_shipped = config.steps.contains(&Step::Shipping);
        let mut saga = Self {
            status: OrderStatus::Pending,
            steps: steps.collect(),
            deadline: Some(after(now, step_timeout)),
            step_timeout,
            closing_timeout: if is_shipped { delivery } else { notification },
            version: 1,
        };
        saga.start_next_step();
        saga
    }

    fn is_shipped(&self) -> bool {
        self.has(Step::Shipping)
    }

    fn has(&self, step: Step) -> bool {
        self.steps.iter().any(|state| state.step == step)
    }

    fn waits_for(&self, step: Step) -> bool {
        // A later step's answer may overtake an earlier one's: they travel on different topics.
        self.steps.iter().any(|state| state.step == step && state.status != StepStatus::Succeeded)
    }

    fn is_running(&self, step: Step) -> bool {
        self.steps.contains(&StepState { step, status: StepStatus::Running })
    }

    fn is_overdue(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn with_success_of(&self, step: Step, now: Timestamp) -> Transition {
        let mut next = self.successor();
        next.set(step, StepStatus::Succeeded);
        if next.steps.iter().all(|state| state.status == StepStatus::Succeeded) {
            next.status = OrderStatus::Confirmed;
            next.deadline = Some(after(now, self.closing_timeout));
            return next.announcing(Announcement::Confirmed);
        }
        next.start_next_step();
        next.deadline = Some(after(now, self.step_timeout));
        Transition { next, effects: Vec::new() }
    }

    /// The step answers by itself when its wait is over, so the deadline, which is for those that do not answer,
    /// is as much later as for any answer.
    fn with_wait_for(&self, step: Step, until: Timestamp) -> Transition {
        let mut next = self.successor();
        next.set(step, StepStatus::Backordered);
        next.deadline = self.deadline.max(Some(after(until, self.step_timeout)));
        Transition { next, effects: Vec::new() }
    }

    fn timed_out(&self) -> Transition {
        match self.steps.iter().find(|state| state.status != StepStatus::Succeeded) {
            Some(late) => {
                let detail = format!("step {} did not answer within {:?}", late.step, self.step_timeout);
                self.cancelled(late.step, StepStatus::TimedOut, CancelReason::StepTimedOut, detail)
            }
            // Cannot be: with its last success a saga stops being pending.
            None => self.unchanged(),
        }
    }

    fn cancelled(
        &self,
        culprit: Step,
        fault: StepStatus,
        reason: CancelReason,
        detail: String,
    ) -> Transition {
        let mut next = self.successor();
        next.set(culprit, fault);
        next.status = OrderStatus::Cancelled { reason, detail: detail.clone() };
        next.deadline = None;
        next.announcing(Announcement::Cancelled { reason, detail })
    }

    fn completed(&self) -> Transition {
        let mut next = self.successor();
        next.status = OrderStatus::Completed;
        next.deadline = None;
        next.announcing(Announcement::Completed)
    }

    fn unchanged(&self) -> Transition {
        Transition { next: self.clone(), effects: Vec::new() }
    }

    fn successor(&self) -> Self {
        Self { version: self.version.saturating_add(1), ..self.clone() }
    }

    fn announcing(self, announcement: Announcement) -> Transition {
        Transition { next: self, effects: vec![Effect::Publish(announcement)] }
    }

    fn set(&mut self, step: Step, status: StepStatus) {
        for state in self.steps.iter_mut().filter(|state| state.step == step) {
            state.status = status;
        }
    }

    fn start_next_step(&mut self) {
        let next = self.steps.iter_mut().find(|state| state.status != StepStatus::Succeeded);
        // What runs already may be waiting.
        if let Some(state) = next.filter(|state| state.status == StepStatus::Waiting) {
            state.status = StepStatus::Running;
        }
    }
}
