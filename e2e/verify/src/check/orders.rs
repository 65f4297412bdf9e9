//! What has to hold for each order by itself.

use std::collections::{BTreeMap, BTreeSet};

use contract::{NotificationKind, OrderId, Step, Topic};

use crate::Violation;
use crate::facts::{About, Expected, Facts, Order};

const COMPLETED: &str = "COMPLETED";
const CANCELLED: &str = "CANCELLED";

/// If the first was said of an order, so was the second: nothing is undone that was not done.
const FOLLOWS: &[(Topic, Topic)] = &[
    (Topic::OrdersCompleted, Topic::OrdersConfirmed),
    (Topic::InventoryReleased, Topic::InventoryReserved),
    (Topic::PaymentsRefunded, Topic::PaymentsCaptured),
    (Topic::ShippingDelivered, Topic::ShippingScheduled),
    (Topic::ShippingCancelled, Topic::ShippingScheduled),
];
/// What a participant did, and what it has to say once the order is cancelled.
const UNDONE_BY: &[(Topic, Topic)] = &[
    (Topic::InventoryReserved, Topic::InventoryReleased),
    (Topic::PaymentsCaptured, Topic::PaymentsRefunded),
    (Topic::ShippingScheduled, Topic::ShippingCancelled),
];
/// Never both of one order.
const EXCLUDE: &[(Topic, Topic)] = &[
    (Topic::OrdersConfirmed, Topic::OrdersCancelled),
    (Topic::OrdersConfirmed, Topic::PaymentsRefunded),
    (Topic::OrdersConfirmed, Topic::InventoryReleased),
    (Topic::OrdersConfirmed, Topic::ShippingCancelled),
    (Topic::OrdersCancelled, Topic::ShippingDelivered),
];
/// Shipments in these states carry something to somebody.
const PARCEL: &[&str] = &["SCHEDULED", "DISPATCHED", "DELIVERED"];

pub(super) fn every_accepted_order_is_known(facts: &Facts, expected: &Expected, found: &mut Vec<Violation>) {
    let Some(accepted) = &expected.accepted else { return };
    let known: BTreeSet<OrderId> = facts.orders.keys().copied().collect();
    found.extend(accepted.difference(&known).map(|order| Violation::OrderLost { order: *order }));
    found.extend(known.difference(accepted).map(|order| Violation::OrderFromNowhere { order: *order }));
}

pub(super) fn events_speak_of_known_orders(facts: &Facts, found: &mut Vec<Violation>) {
    for (order, said) in &facts.said {
        if !facts.orders.contains_key(order) {
            found.extend(said.iter().map(|said| Violation::Stray { order: *order, topic: said.topic }));
        }
    }
}

pub(super) fn has_one_end(facts: &Facts, order: OrderId, status: &str, found: &mut Vec<Violation>) {
    let completed = facts.said(order, Topic::OrdersCompleted).count();
    let cancelled = facts.said(order, Topic::OrdersCancelled).count();
    let ended = matches!(status, COMPLETED | CANCELLED);
    if !ended {
        found.push(Violation::NotEnded { order, status: status.to_owned() });
    }
    if completed + cancelled > 1 || (ended && completed + cancelled == 0) {
        found.push(Violation::NotOneEnd { order, completed, cancelled });
    }
    if (status == COMPLETED && cancelled > 0) || (status == CANCELLED && completed > 0) {
        found.push(Violation::EndDisagrees { order, status: status.to_owned() });
    }
}

pub(super) fn each_effect_is_once(facts: &Facts, order: OrderId, found: &mut Vec<Violation>) {
    let mut topics: BTreeMap<Topic, usize> = BTreeMap::new();
    let mut messages: Vec<(NotificationKind, usize)> = Vec::new();
    for said in facts.said.get(&order).into_iter().flatten() {
        match (said.topic, &said.about) {
            // Counted as ends.
            (Topic::OrdersCompleted | Topic::OrdersCancelled, _) => {}
            (_, About::Message(kind)) => match messages.iter_mut().find(|(other, _)| other == kind) {
                Some((_, count)) => *count += 1,
                None => messages.push((*kind, 1)),
            },
            (topic, _) => *topics.entry(topic).or_default() += 1,
        }
    }
    let twice = topics.into_iter().filter(|(_, count)| *count > 1);
    found.extend(twice.map(|(topic, count)| Violation::SaidTwice { order, topic, count }));
    let twice = messages.into_iter().filter(|(_, count)| *count > 1);
    found.extend(twice.map(|(message, count)| Violation::ToldTwice { order, message, count }));
}

pub(super) fn story_is_whole(facts: &Facts, id: OrderId, order: &Order, found: &mut Vec<Violation>) {
    let has = |topic: Topic| facts.has_said(id, topic);
    let mut missing = |said: Topic, missing: Topic| {
        if has(said) && !has(missing) {
            found.push(Violation::Missing { order: id, said, missing });
        }
    };
    for (said, needed) in FOLLOWS {
        missing(*said, *needed);
    }
    for step in &order.steps {
        missing(Topic::OrdersConfirmed, step.success());
    }
    for end in [Topic::OrdersConfirmed, Topic::OrdersCancelled] {
        missing(end, Topic::OrdersCreated);
    }
    if has(Topic::OrdersCancelled) {
        for (did, undid) in UNDONE_BY {
            missing(*did, *undid);
        }
    }
    let both = EXCLUDE.iter().filter(|(first, second)| has(*first) && has(*second));
    found.extend(both.map(|(first, second)| Violation::Contradiction {
        order: id,
        first: *first,
        second: *second,
    }));
}

/// The inventory's and the shipping service's own records agree with how the order ended.
pub(super) fn participants_agree(facts: &Facts, id: OrderId, order: &Order, found: &mut Vec<Violation>) {
    let (status, order_status) = (order.status.as_str(), || order.status.clone());
    if order.steps.contains(&Step::Inventory) {
        let reservation = facts.reservations.get(&id).map_or("NONE", |found| found.status.as_str());
        let agrees = match status {
            COMPLETED => reservation == "SOLD",
            CANCELLED => !matches!(reservation, "HELD" | "BACKORDERED" | "SOLD" | "OVERSOLD"),
            _ => reservation != "OVERSOLD",
        };
        if !agrees {
            let reservation = reservation.to_owned();
            let order_status = order_status();
            found.push(Violation::ReservationDisagrees { order: id, order_status, reservation });
        }
    }
    if order.steps.contains(&Step::Shipping) && matches!(status, COMPLETED | CANCELLED) {
        let parcel = facts.shipments.get(&id).map_or("NONE", |found| found.status.as_str());
        if PARCEL.contains(&parcel) != (status == COMPLETED) {
            let parcel = parcel.to_owned();
            found.push(Violation::ParcelDisagrees { order: id, order_status: order_status(), parcel });
        }
    }
}
