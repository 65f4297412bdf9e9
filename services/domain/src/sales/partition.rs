//! The sales of one partition of `orders.confirmed`, and what has to be remembered to count each order once.

use std::collections::{BTreeMap, HashSet};

use contract::{
    Currency, OrderConfirmed, OrderDetails, OrderId, ProductId, SalesRow, SalesUpdated, WindowStatus,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::table::Numbers;
use crate::windows::{StreamTime, Tumbling};

/// Most orders in one entry of the remembered state: some 400 KB, below the megabyte that Kafka takes.
const ORDERS_PER_PART: usize = 10_000;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It counts.
    Counted,
    /// The order was counted before: the event came twice.
    Duplicate,
    /// Its hour has closed. It is not counted; how many there were is.
    Late,
}

/// Sales of one partition.
///
/// Orders are remembered until their hour closes, so that an order that comes twice (the wire is at least once)
/// counts once. A copy that comes after that is late, and does not count either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sales {
    stream_time: StreamTime,
    late: u64,
    hours: BTreeMap<Timestamp, Hour>,
    counted: HashSet<OrderId>,
    /// Hours that closed since the changes were last taken.
    closed: Vec<(Timestamp, Hour)>,
    moved: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hour {
    status: WindowStatus,
    rows: BTreeMap<Slice, Row>,
    /// In the order in which they came; `noted` of them were among the changes already, in `parts` entries.
    orders: Vec<OrderId>,
    noted: usize,
    parts: u32,
}

/// What a row is about, within its hour.
type Slice = (Currency, Option<ProductId>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Row {
    numbers: Numbers,
    changed: bool,
}

/// The name of a piece of state that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateKey {
    /// How far the partition was read.
    Progress,
    /// One row of an open hour.
    Row {
        /// When the hour starts.
        hour: Timestamp,
        /// The currency of its amounts.
        currency: Currency,
        /// The product; none: all of them.
        product: Option<ProductId>,
    },
    /// Some of the orders that were counted in an open hour.
    Orders {
        /// When the hour starts.
        hour: Timestamp,
        /// Which of its parts.
        part: u32,
    },
}

/// A piece of state that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateValue {
    /// Of [`StateKey::Progress`].
    Progress {
        /// The latest time seen.
        stream_time: Option<Timestamp>,
        /// How many events came too late.
        late: u64,
    },
    /// Of [`StateKey::Row`].
    Row {
        /// What was counted.
        numbers: Numbers,
        /// Whether the hour is thought to be over.
        status: WindowStatus,
    },
    /// Of [`StateKey::Orders`].
    Orders(Vec<OrderId>),
}

/// What changed since the changes were last taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Pieces of state to remember, or (none) to forget.
    pub state: Vec<(StateKey, Option<StateValue>)>,
    /// Rows to tell others.
    pub rows: Vec<SalesUpdated>,
}

impl Sales {
    /// Counts an order that was confirmed at `at`.
    pub fn count(&mut self, hours: &Tumbling, order: &OrderConfirmed, at: Timestamp) -> Fate {
        self.moved |= self.stream_time.advance(at);
        let start = hours.of(at).start;
        let fate = if self.stream_time.has_reached(hours.closes_at(start)) {
            self.late += 1;
            self.moved = true;
            Fate::Late
        } else if self.counted.insert(order.order_id) {
            self.hours.entry(start).or_default().count(order);
            Fate::Counted
        } else {
            Fate::Duplicate
        };
        self.close(hours);
        fate
    }

    /// Closes the hours that stream time has left behind, and forgets their orders.
    fn close(&mut self, hours: &Tumbling) {
        while let Some(first) = self.hours.first_entry() {
            if !self.stream_time.has_reached(hours.closes_at(*first.key())) {
                return;
            }
            let (start, hour) = first.remove_entry();
            for order in &hour.orders {
                self.counted.remove(order);
            }
            self.closed.push((start, hour));
        }
    }

    /// Nothing has come for a while, and it is `now` on the wall. Hours that would have closed by now, had
    /// stream time gone on, are thought to be over and say so; they stay open for what may still come, because
    /// whether that counts must not depend on a clock. Whether anything changed.
    pub fn rest(&mut self, hours: &Tumbling, now: Timestamp) -> bool {
        let mut changed = false;
        for (start, hour) in &mut self.hours {
            if hour.status == WindowStatus::Open && hours.closes_at(*start) <= now {
                hour.set_status(WindowStatus::Idle);
                changed = true;
            }
        }
        changed
    }

    /// What changed since this was last asked; `partition` is whose sales these are.
    pub fn take_changes(&mut self, hours: &Tumbling, partition: u32) -> Changes {
        let mut changes = Changes::default();
        for (start, hour) in std::mem::take(&mut self.closed) {
            hour.forget(start, &mut changes.state);
            let row_of = |slice: &Slice| row_of(hours, start, slice, partition);
            changes.rows.extend(
                hour.rows.iter().map(|(slice, row)| row.numbers.updated(row_of(slice), WindowStatus::Closed)),
            );
        }
        for (start, hour) in &mut self.hours {
            hour.take_rows(hours, *start, partition, &mut changes);
            hour.take_orders(*start, &mut changes.state);
        }
        if std::mem::take(&mut self.moved) {
            let progress = StateValue::Progress { stream_time: self.stream_time.get(), late: self.late };
            changes.state.push((StateKey::Progress, Some(progress)));
        }
        changes
    }

    /// Puts back a piece of state that was remembered. The order in which pieces come does not matter.
    pub fn restore(&mut self, key: StateKey, value: StateValue) {
        match (key, value) {
            (StateKey::Row { hour, currency, product }, StateValue::Row { numbers, status }) => {
                let hour = self.hours.entry(hour).or_default();
                hour.status = status;
                hour.rows.insert((currency, product), Row { numbers, changed: false });
            }
            (StateKey::Orders { hour, part }, StateValue::Orders(orders)) => {
                let hour = self.hours.entry(hour).or_default();
                self.counted.extend(&orders);
                hour.orders.extend(orders);
                hour.noted = hour.orders.len();
                hour.parts = hour.parts.max(part + 1);
            }
            (_, StateValue::Progress { stream_time, late }) => {
                self.stream_time = StreamTime::at(stream_time);
                self.late = late;
            }
            // Written by this module only, which never pairs them so; what cannot be is not remembered.
            (_, StateValue::Row { .. } | StateValue::Orders(_)) => {}
        }
    }

    /// How many pieces of state are held: rows and orders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counted.len() + self.hours.values().map(|hour| hour.rows.len()).sum::<usize>()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Hour {
    fn default() -> Self {
        Self { status: WindowStatus::Open, rows: BTreeMap::new(), orders: Vec::new(), noted: 0, parts: 0 }
    }
}

impl Hour {
    fn count(&mut self, order: &OrderConfirmed) {
        // Something came after all.
        self.set_status(WindowStatus::Open);
        self.orders.push(order.order_id);
        let OrderDetails { items, total, .. } = &order.details;
        let currency = total.currency;
        let mut units = 0;
        for item in items {
            let quantity = u64::from(item.quantity);
            units += quantity;
            let revenue = item.unit_price_minor.saturating_mul(i64::from(item.quantity));
            self.add((currency, Some(item.product_id.clone())), Numbers::one_order(quantity, revenue));
        }
        self.add((currency, None), Numbers::one_order(units, total.amount_minor));
    }

    fn add(&mut self, slice: Slice, numbers: Numbers) {
        let row = self.rows.entry(slice).or_default();
        row.numbers += numbers;
        row.changed = true;
    }

    fn set_status(&mut self, status: WindowStatus) {
        if self.status != status {
            self.status = status;
            self.rows.values_mut().for_each(|row| row.changed = true);
        }
    }

    fn take_rows(&mut self, hours: &Tumbling, start: Timestamp, partition: u32, changes: &mut Changes) {
        for (slice, row) in self.rows.iter_mut().filter(|(_, row)| row.changed) {
            row.changed = false;
            let value = StateValue::Row { numbers: row.numbers, status: self.status };
            changes.state.push((row_key(start, slice), Some(value)));
            changes.rows.push(row.numbers.updated(row_of(hours, start, slice, partition), self.status));
        }
    }

    fn take_orders(&mut self, start: Timestamp, state: &mut Vec<(StateKey, Option<StateValue>)>) {
        for orders in self.orders.get(self.noted..).unwrap_or_default().chunks(ORDERS_PER_PART) {
            let key = StateKey::Orders { hour: start, part: self.parts };
            state.push((key, Some(StateValue::Orders(orders.to_vec()))));
            self.parts += 1;
        }
        self.noted = self.orders.len();
    }

    /// Forgets all that was remembered of the hour.
    fn forget(&self, start: Timestamp, state: &mut Vec<(StateKey, Option<StateValue>)>) {
        state.extend(self.rows.keys().map(|slice| (row_key(start, slice), None)));
        state.extend((0..self.parts).map(|part| (StateKey::Orders { hour: start, part }, None)));
    }
}

fn row_key(start: Timestamp, (currency, product): &Slice) -> StateKey {
    StateKey::Row { hour: start, currency: *currency, product: product.clone() }
}

fn row_of(hours: &Tumbling, start: Timestamp, (currency, product): &Slice, partition: u32) -> SalesRow {
    SalesRow {
        window_start: start,
        window_end: hours.end_of(start),
        currency: *currency,
        product_id: product.clone(),
        partition,
    }
}
