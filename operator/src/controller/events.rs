//! Events: what people are told besides statuses. A courtesy, so they are rationed: a thousand objects that change at
//! once would otherwise cost the apiserver as many writes again. What is not told by an event stands in the status
//! and the log.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};

use super::context::Context;

/// Longest note that the events API takes is 1 kB.
const NOTE_MAX_BYTES: usize = 1000;

/// Events of one type that may come at once, as in client-go, and how many per second after that.
const BURST: f64 = 25.0;
const PER_SECOND: f64 = 5.0;

/// Publishes events, within a ration for each type: news of what went well never crowds out a warning.
pub struct Events {
    recorder: Recorder,
    normal: Ration,
    warning: Ration,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Events that `recorder` publishes.
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder, normal: Ration::default(), warning: Ration::default() }
    }

    fn may_publish(&self, event: &Event) -> bool {
        let ration = match event.type_ {
            EventType::Normal => &self.normal,
            EventType::Warning => &self.warning,
        };
        ration.take(Instant::now())
    }
}

/// A token bucket.
#[derive(Debug)]
struct Ration {
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    tokens: f64,
    /// When they were counted; none before the first.
    at: Option<Instant>,
}

impl Default for Ration {
    fn default() -> Self {
        Self { left: Mutex::new(Left { tokens: BURST, at: None }) }
    }
}

impl Ration {
    /// Whether there is one left at `now`, which then is gone.
    fn take(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let since = left.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        left.tokens = (left.tokens + since * PER_SECOND).min(BURST);
        left.at = Some(now);
        let is_left = left.tokens >= 1.0;
        if is_left {
            left.tokens -= 1.0;
        }
        is_left
    }
}

/// An event; a note that is too long is cut.
pub fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    let end =
        note.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= NOTE_MAX_BYTES).last();
    let note = note.get(..end.unwrap_or(0)).unwrap_or_default().to_owned();
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}

/// Publishes `event` about `object`, unless there have been too many. Where it cannot be published that is logged only.
pub async fn publish<K: Resource<DynamicType = ()>>(ctx: &Context, object: &K, event: Event) {
    if !ctx.events.may_publish(&event) {
        ctx.metrics.withheld_event(&event.reason);
        tracing::debug!(reason = event.reason, "event not published, there are too many");
        return;
    }
    if let Err(error) = ctx.events.recorder.publish(&event, &object.object_ref(&())).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(reason = event.reason, error, "event not published");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn notes_are_cut_between_characters() {
        let cut = event(EventType::Normal, "R", "A", &"ä".repeat(600));

        assert_eq!(cut.note.unwrap().len(), NOTE_MAX_BYTES);
    }

    #[test]
    fn a_burst_is_told_and_then_a_few_per_second() {
        let (ration, now) = (Ration::default(), Instant::now());
        let taken = |at: Instant| (0..100).filter(|_| ration.take(at)).count();

        assert_eq!(taken(now), 25);
        assert_eq!(taken(now + Duration::from_secs(2)), 10);
        assert_eq!(taken(now + Duration::from_secs(3600)), 25);
    }
}
