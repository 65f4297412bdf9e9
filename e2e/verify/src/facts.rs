//! What topics and databases say, in the smallest form that the invariants can be checked on: a long run leaves
//! hundreds of thousands of events.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Money, NotificationKind, OrderId, ProductId, Service, Step, Topic};
use uuid::Uuid;

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What the order service has on record about each order.
    pub orders: BTreeMap<OrderId, Order>,
    /// What was said about each order, each event once, however often it is in its topic.
    pub said: BTreeMap<OrderId, Vec<Said>>,
    /// The levels of each product.
    pub stock: BTreeMap<ProductId, Stock>,
    /// What the inventory has on record about each order.
    pub reservations: BTreeMap<OrderId, Reservation>,
    /// What the payment service has on record; empty where it takes no part.
    pub payments: BTreeMap<OrderId, Payment>,
    /// What the shipping service has on record; empty where it takes no part.
    pub shipments: BTreeMap<OrderId, Shipment>,
    /// What each service still has to do.
    pub waiting: BTreeMap<Service, Waiting>,
    /// The dead letters of each service, those of one origin counted once.
    pub dead_letters: BTreeMap<Service, u64>,
}

/// What the order service has on record about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// As it is stored: `COMPLETED`, `PENDING`, ….
    pub status: String,
    /// The steps of its own saga: an order ends by the rules under which it began.
    pub steps: Vec<Step>,
}

/// An event about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The topic: there is one type of event on each.
    pub topic: Topic,
    /// The event's id, the same in all of its copies.
    pub event_id: Uuid,
    /// The part of the payload that is checked.
    pub about: About,
}

/// The part of an event's payload that is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// Nothing: that it was said is all.
    Nothing,
    /// An amount captured or given back.
    Amount(Money),
    /// What was confirmed: the order's total and its items, a product once.
    Order(Money, BTreeMap<ProductId, u64>),
    /// Which message the customer got.
    Message(NotificationKind),
}

/// The levels of a product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stock {
    /// Units that nobody holds.
    pub on_hand: u64,
    /// Units held for undecided orders.
    pub reserved: u64,
    /// Units sold.
    pub sold: u64,
}

/// What the inventory has on record about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// `HELD`, `SOLD`, `RELEASED`, ….
    pub status: String,
}

/// What the payment service has on record about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// `CAPTURED`, `REFUNDED`, `FAILED`, ….
    pub status: String,
    /// What is, or would be, captured.
    pub amount: Money,
}

/// What the shipping service has on record about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// `SCHEDULED`, `DELIVERED`, `CANCELLED`, ….
    pub status: String,
}

/// What a service still has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Events that wait to be published.
    pub outbox: u64,
    /// Events that wait to be tried again.
    pub parked: u64,
    /// Records that its consumer group has not handled.
    pub lag: u64,
}

/// What whoever checks knows from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The orders that were answered with 202, where somebody kept count; they must be all there are.
    pub accepted: Option<BTreeSet<OrderId>>,
    /// The units of each product that were ever put into stock, where they are known.
    pub stocked: BTreeMap<ProductId, u64>,
    /// The most dead letters there may be: what was injected on purpose.
    pub dead_letters: u64,
}

impl Facts {
    /// Whether `order` goes, or went, through `step`.
    pub(crate) fn takes(&self, order: OrderId, step: Step) -> bool {
        self.orders.get(&order).is_some_and(|order| order.steps.contains(&step))
    }

    /// What was said about `order` on `topic`.
    pub(crate) fn said(&self, order: OrderId, topic: Topic) -> impl Iterator<Item = &Said> {
        let said = self.said.get(&order).map_or(&[][..], Vec::as_slice);
        said.iter().filter(move |said| said.topic == topic)
    }

    /// Whether anything was said about `order` on `topic`.
    pub(crate) fn has_said(&self, order: OrderId, topic: Topic) -> bool {
        self.said(order, topic).next().is_some()
    }

    /// What was said, unless the very event is there already.
    pub(crate) fn add(&mut self, order: OrderId, said: Said) {
        let all = self.said.entry(order).or_default();
        if !all.iter().any(|other| (other.topic, other.event_id) == (said.topic, said.event_id)) {
            all.push(said);
        }
    }
}
