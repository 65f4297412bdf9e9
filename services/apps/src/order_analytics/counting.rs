//! The stream: from confirmed orders to rows of sales.

use contract::{Envelope, Event, Topic};
use domain::sales::{self, Sales, StateKey, StateValue};
use domain::windows::Tumbling;
use jiff::Timestamp;
use messaging::streams::{Application, Fate, StateChange, Yield};

/// Counts the sales of each hour.
#[derive(Debug, Clone)]
pub struct SalesCounting {
    hours: Tumbling,
}

impl SalesCounting {
    /// Counts by `hours`.
    pub const fn new(hours: Tumbling) -> Self {
        Self { hours }
    }
}

impl Application for SalesCounting {
    type State = Sales;

    fn input(&self) -> Topic {
        Topic::OrdersConfirmed
    }

    fn changelog(&self) -> Topic {
        Topic::OrderAnalyticsChangelog
    }

    fn apply(&self, sales: &mut Sales, envelope: &Envelope) -> Fate {
        // The topic carries no other event; the runtime has seen to that.
        let Event::OrderConfirmed(order) = &envelope.event else { return Fate::Processed };
        match sales.count(&self.hours, order, envelope.timestamp) {
            sales::Fate::Counted => Fate::Processed,
            sales::Fate::Duplicate => Fate::Duplicate,
            sales::Fate::Late => Fate::Late,
        }
    }

    fn rest(&self, sales: &mut Sales, now: Timestamp) -> bool {
        sales.rest(&self.hours, now)
    }

    fn take_changes(&self, sales: &mut Sales, partition: u32) -> Yield {
        let changes = sales.take_changes(&self.hours, partition);
        Yield {
            state: changes.state.into_iter().map(|(key, value)| entry_of(&key, value.as_ref())).collect(),
            events: changes.rows.into_iter().map(Event::from).collect(),
        }
    }

    fn restore(&self, sales: &mut Sales, key: &[u8], value: &[u8]) -> Result<(), messaging::Cause> {
        let (key, value): (StateKey, StateValue) =
            (serde_json::from_slice(key)?, serde_json::from_slice(value)?);
        sales.restore(key, value);
        Ok(())
    }

    fn size(&self, sales: &Sales) -> usize {
        sales.len()
    }
}

/// The changelog's entry: both as JSON, so that a person can read what a service remembers.
fn entry_of(key: &StateKey, value: Option<&StateValue>) -> StateChange {
    let json = |result: serde_json::Result<Vec<u8>>| result.expect("numbers, names and times are valid JSON");
    StateChange {
        key: json(serde_json::to_vec(key)),
        value: value.map(|value| json(serde_json::to_vec(value))),
    }
}
