//! Which dead letters are meant.

use std::ops::Range;

use contract::Topic;
use jiff::Timestamp;

use super::DeadLetter;

/// Which dead letters are meant: those that meet every condition that is set. The default means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this key.
    pub key: Option<String>,
    /// Of this event type, such as `OrderCreated`.
    pub event_type: Option<String>,
    /// That came from this topic.
    pub topic: Option<Topic>,
    /// Given up for this reason, such as `retries_exhausted`: the label of the dead-letter metric.
    pub reason: Option<String>,
    /// Whose event was published in this span; the end is not part of it.
    pub published: Option<Range<Timestamp>>,
    /// In this partition of the dead-letter topic.
    pub partition: Option<i32>,
    /// With these offsets in the dead-letter topic.
    pub offsets: Option<Range<i64>>,
}

impl Filter {
    /// Whether `letter`, which came from `origin` as far as the catalogue knows, is meant.
    pub(super) fn selects(&self, letter: &DeadLetter, origin: Option<Topic>) -> bool {
        let is =
            |wanted: &Option<String>, actual: Option<&String>| wanted.is_none() || wanted.as_ref() == actual;
        let published = |span: &Range<Timestamp>| letter.timestamp.is_some_and(|time| span.contains(&time));
        is(&self.key, letter.key.as_ref())
            && is(&self.event_type, letter.event_type.as_ref())
            && is(&self.reason, letter.reason.as_ref())
            && (self.topic.is_none() || self.topic == origin)
            && self.published.as_ref().is_none_or(published)
            && self.partition.is_none_or(|partition| partition == letter.partition)
            && self.offsets.as_ref().is_none_or(|offsets| offsets.contains(&letter.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            partition: 1,
            offset: 7,
            key: Some("burger".into()),
            event_id: None,
            event_type: Some("InventoryUpdated".into()),
            timestamp: Some(Timestamp::from_second(100).unwrap()),
            original_topic: Some("inventory.updated".into()),
            original_partition: None,
            original_offset: None,
            reason: Some("rejected".into()),
            message: None,
            replays: 0,
        }
    }

    fn selected(filter: &Filter) -> bool {
        filter.selects(&letter(), Some(Topic::InventoryUpdated))
    }

    #[test]
    fn every_condition_that_is_set_must_be_met() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let all = Filter {
            key: Some("burger".into()),
            event_type: Some("InventoryUpdated".into()),
            topic: Some(Topic::InventoryUpdated),
            reason: Some("rejected".into()),
            published: Some(at(100)..at(101)),
            partition: Some(1),
            offsets: Some(7..8),
        };

        assert!(selected(&Filter::default()));
        assert!(selected(&all));
        for one_off in [
            Filter { key: Some("pizza".into()), ..all.clone() },
            Filter { event_type: Some("OrderCreated".into()), ..all.clone() },
            Filter { topic: Some(Topic::OrdersCreated), ..all.clone() },
            Filter { reason: Some("malformed".into()), ..all.clone() },
            Filter { published: Some(at(99)..at(100)), ..all.clone() },
            Filter { partition: Some(0), ..all.clone() },
            Filter { offsets: Some(8..9), ..all },
        ] {
            assert!(!selected(&one_off), "{one_off:?}");
        }
    }
}
