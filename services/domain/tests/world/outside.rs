//! Payment and shipping in the toy world: the real rules, and providers that answer late, twice, or never.

use std::collections::{BTreeMap, BTreeSet};

use contract::OrderId;
use domain::payment::{self, PaymentInput, PaymentNews, PaymentStatus};
use domain::shipment::{self, ShipmentInput, ShipmentNews, ShipmentStatus};

/// What a provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// To capture the money, to book the parcel.
    Do,
    /// To give it back, to cancel the booking.
    Undo,
}

/// What a provider answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Done,
    Refused,
    Undone,
}

/// The books of a provider, by idempotency key (here: by order).
#[derive(Debug, Default)]
pub(super) struct Provider {
    pub(super) done: BTreeSet<OrderId>,
    refused: BTreeSet<OrderId>,
    undone: BTreeSet<OrderId>,
}

impl Provider {
    /// The same call gets the same answer, and what was undone is never done again.
    pub(super) fn call(&mut self, order: OrderId, call: Call) -> Reply {
        match call {
            Call::Undo => {
                self.done.remove(&order);
                self.undone.insert(order);
                Reply::Undone
            }
            Call::Do if self.undone.contains(&order) || self.refused.contains(&order) => Reply::Refused,
            Call::Do => {
                self.done.insert(order);
                Reply::Done
            }
        }
    }

    /// Decides to refuse, unless it has done it already.
    pub(super) fn refuse(&mut self, order: OrderId) -> Reply {
        if !self.done.contains(&order) {
            self.refused.insert(order);
        }
        self.call(order, Call::Do)
    }
}

/// The payment service.
#[derive(Debug, Default)]
pub(super) struct Payments {
    pub(super) provider: Provider,
    pub(super) statuses: BTreeMap<OrderId, PaymentStatus>,
}

impl Payments {
    pub(super) fn hear(
        &mut self,
        order: OrderId,
        input: PaymentInput,
    ) -> (Option<PaymentNews>, Option<Call>) {
        let Some((status, news)) = payment::react(self.statuses.get(&order).copied(), input) else {
            return (None, None);
        };
        self.statuses.insert(order, status);
        let call = match status {
            PaymentStatus::Requested => Some(Call::Do),
            PaymentStatus::Refunding | PaymentStatus::Voiding => Some(Call::Undo),
            _ => None,
        };
        assert_eq!(call.is_some(), status.is_open());
        (news, call)
    }
}

/// The shipping service.
#[derive(Debug, Default)]
pub(super) struct Shipments {
    pub(super) carrier: Provider,
    pub(super) statuses: BTreeMap<OrderId, ShipmentStatus>,
}

impl Shipments {
    pub(super) fn hear(
        &mut self,
        order: OrderId,
        input: ShipmentInput,
    ) -> (Option<ShipmentNews>, Option<Call>) {
        let Some((status, news)) = shipment::react(self.statuses.get(&order).copied(), input) else {
            return (None, None);
        };
        self.statuses.insert(order, status);
        let call = match status {
            ShipmentStatus::Requested => Some(Call::Do),
            ShipmentStatus::Recalling | ShipmentStatus::Voiding => Some(Call::Undo),
            _ => None,
        };
        (news, call)
    }
}
