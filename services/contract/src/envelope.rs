//! What every event travels in.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use crate::{CorrelationId, Event};

/// An event and what has to be known about it to deliver it once, to follow it and to place it in time.
///
/// The wire also carries `event_type` and `event_version`; both are the [`Event`]'s own, so that an envelope
/// whose label and content disagree cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Which event this is. Kafka delivers at least once, and a relay or a replay may send the same event
    /// again at another offset: the id is the only thing that stays, so consumers deduplicate by it. A v7
    /// UUID, because ids that grow with time keep the tables that hold them compact.
    pub event_id: Uuid,
    /// When it happened, by the clock of the service that says so. Windows and statistics count by this and
    /// not by the time of arrival, so that a replay gives the same answer.
    pub timestamp: Timestamp,
    /// Which request started it all; the same on every event that follows. It joins the logs, events and
    /// mails of one order across services, and the client may choose it.
    pub correlation_id: CorrelationId,
    /// The `event_id` of the event that led to this one; none where a request or a clock did. Correlation
    /// gathers a story's events, causation puts them in a tree: it tells which of two paths was taken.
    pub causation_id: Option<Uuid>,
    /// What comes along without being part of the fact: the user who acted, experiment variants. Handlers
    /// pass it on and decide nothing by it, so that adding a key never needs a new event version.
    pub metadata: BTreeMap<String, String>,
    /// What happened: `event_type`, `event_version` and `payload` on the wire.
    pub event: Event,
}

impl Envelope {
    /// The first event of a story, caused by a request rather than by an event.
    #[must_use]
    pub fn new(event: Event, correlation_id: CorrelationId, now: Timestamp) -> Self {
        Self {
            event_id: event_id_at(now),
            timestamp: now,
            correlation_id,
            causation_id: None,
            metadata: BTreeMap::new(),
            event,
        }
    }

    /// An event that `cause` led to: same correlation and metadata, and `cause` as its causation.
    #[must_use]
    pub fn caused_by(cause: &Self, event: Event, now: Timestamp) -> Self {
        Self {
            event_id: event_id_at(now),
            timestamp: now,
            correlation_id: cause.correlation_id.clone(),
            causation_id: Some(cause.event_id),
            metadata: cause.metadata.clone(),
            event,
        }
    }
}

/// A v7 UUID of the moment that the event carries, so that sorting by id and by timestamp agree.
fn event_id_at(now: Timestamp) -> Uuid {
    let since_epoch = now.as_duration();
    // Before 1970 there are no orders; a clock that says so still gets a unique id.
    let seconds = u64::try_from(since_epoch.as_secs()).unwrap_or_default();
    let nanoseconds = u32::try_from(since_epoch.subsec_nanos()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Currency, Money, OrderCompleted, OrderId};

    fn completed() -> Event {
        let total = Money::new(100, Currency::USD);
        OrderCompleted { order_id: OrderId::new(Uuid::from_u128(1)), total }.into()
    }

    #[test]
    fn an_effect_names_its_cause_and_keeps_the_story() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut cause = Envelope::new(completed(), "req-1".parse().unwrap(), now);
        cause.metadata.insert("user".into(), "ada".into());

        let effect = Envelope::caused_by(&cause, completed(), now);

        assert_eq!(effect.causation_id, Some(cause.event_id));
        assert_eq!(effect.correlation_id, cause.correlation_id);
        assert_eq!(effect.metadata, cause.metadata);
        assert_ne!(effect.event_id, cause.event_id);
    }

    #[test]
    fn event_ids_sort_by_time() {
        let earlier: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-03-01T12:00:00.001Z".parse().unwrap();

        assert!(event_id_at(earlier) < event_id_at(later));
        assert_eq!(event_id_at(earlier).get_version_num(), 7);
    }
}
