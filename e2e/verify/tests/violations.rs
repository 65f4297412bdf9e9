//! Sound facts have no violation; and for each invariant there are facts that break it, and it alone.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

use std::collections::BTreeMap;

use contract::{Currency, Money, NotificationKind, OrderId, ProductId, Service, Step, Topic};
use uuid::Uuid;
use verify::{
    About, Expected, Facts, Order, Payment, Report, Reservation, Said, Shipment, Stock, Violation, Waiting,
    check,
};

const GOOD: u128 = 1;
const BAD: u128 = 2;
const TOTAL: Money = Money::new(500, Currency::USD);

fn order(number: u128) -> OrderId {
    OrderId::new(Uuid::from_u128(number))
}

fn burger() -> ProductId {
    "burger".parse().unwrap()
}

/// One order that was completed and one that was cancelled after everything had been done for it.
struct World {
    facts: Facts,
    expected: Expected,
    next_id: u128,
}

impl World {
    fn sound() -> Self {
        let mut world = Self { facts: Facts::default(), expected: Expected::default(), next_id: 1000 };
        world.tell_both_stories();
        for (number, end, stock, money, parcel) in [
            (GOOD, "COMPLETED", "SOLD", "CAPTURED", "DELIVERED"),
            (BAD, "CANCELLED", "RELEASED", "REFUNDED", "CANCELLED"),
        ] {
            let facts = &mut world.facts;
            let steps = Step::ALL.to_vec();
            facts.orders.insert(order(number), Order { status: end.to_owned(), steps });
            facts.reservations.insert(order(number), Reservation { status: stock.to_owned() });
            facts.payments.insert(order(number), Payment { status: money.to_owned(), amount: TOTAL });
            facts.shipments.insert(order(number), Shipment { status: parcel.to_owned() });
        }
        world.facts.stock.insert(burger(), Stock { on_hand: 97, reserved: 0, sold: 3 });
        world.facts.waiting.insert(Service::Order, Waiting::default());
        world.facts.dead_letters.insert(Service::Order, 1);
        world.expected = Expected {
            accepted: Some([GOOD, BAD].map(order).into()),
            stocked: BTreeMap::from([(burger(), 100)]),
            dead_letters: 1,
        };
        world
    }

    fn tell_both_stories(&mut self) {
        use Topic::*;
        for number in [GOOD, BAD] {
            self.say(number, OrdersCreated, About::Nothing);
            self.say(number, InventoryReserved, About::Nothing);
            self.say(number, PaymentsCaptured, About::Amount(TOTAL));
            self.say(number, ShippingScheduled, About::Nothing);
        }
        self.say(GOOD, OrdersConfirmed, About::Order(TOTAL, BTreeMap::from([(burger(), 3)])));
        self.say(GOOD, ShippingDelivered, About::Nothing);
        self.say(GOOD, OrdersCompleted, About::Nothing);
        self.say(GOOD, NotificationsSent, About::Message(NotificationKind::Created));
        self.say(GOOD, NotificationsSent, About::Message(NotificationKind::Confirmed));
        self.say(BAD, OrdersCancelled, About::Nothing);
        self.say(BAD, InventoryReleased, About::Nothing);
        self.say(BAD, PaymentsRefunded, About::Amount(TOTAL));
        self.say(BAD, ShippingCancelled, About::Nothing);
    }

    fn say(&mut self, number: u128, topic: Topic, about: About) {
        self.next_id += 1;
        let said = Said { topic, event_id: Uuid::from_u128(self.next_id), about };
        self.facts.said.entry(order(number)).or_default().push(said);
    }

    fn unsay(&mut self, number: u128, topic: Topic) {
        self.facts.said.get_mut(&order(number)).unwrap().retain(|said| said.topic != topic);
    }

    fn set_stock(&mut self, on_hand: u64, reserved: u64, sold: u64) {
        self.facts.stock.insert(burger(), Stock { on_hand, reserved, sold });
    }

    fn set_reservation(&mut self, number: u128, status: &str) {
        self.facts.reservations.insert(order(number), Reservation { status: status.to_owned() });
    }

    fn set_payment(&mut self, number: u128, status: &str) {
        let payment = Payment { status: status.to_owned(), amount: TOTAL };
        self.facts.payments.insert(order(number), payment);
    }

    fn set_state(&mut self, number: u128, state: &str) {
        state.clone_into(&mut self.facts.orders.get_mut(&order(number)).unwrap().status);
    }
}

/// The kinds of what is wrong after `break_it`, in a row once.
fn broken(break_it: impl FnOnce(&mut World)) -> Vec<String> {
    let mut world = World::sound();
    break_it(&mut world);
    let mut kinds: Vec<String> = check(&world.facts, &world.expected).iter().map(Violation::kind).collect();
    kinds.dedup();
    kinds
}

#[test]
fn sound_facts_have_no_violation() {
    assert_eq!(broken(|_| {}), [""; 0]);
}

#[test]
fn the_accepted_orders_are_the_known_ones() {
    let lost = |world: &mut World| assert!(world.expected.accepted.as_mut().unwrap().insert(order(9)));
    let unasked = |world: &mut World| assert!(world.expected.accepted.as_mut().unwrap().remove(&order(BAD)));

    assert_eq!(broken(lost), ["order-lost"]);
    assert_eq!(broken(unasked), ["order-from-nowhere"]);
}

#[test]
fn every_order_ends_once() {
    assert_eq!(broken(|world| world.say(GOOD, Topic::OrdersCompleted, About::Nothing)), ["not-one-end"]);
    assert_eq!(broken(|world| world.unsay(GOOD, Topic::OrdersCompleted)), ["not-one-end"]);
    assert_eq!(broken(|world| world.unsay(BAD, Topic::OrdersCancelled)), ["not-one-end"]);
    assert_eq!(broken(|world| world.say(BAD, Topic::OrdersCancelled, About::Nothing)), ["not-one-end"]);
    assert_eq!(broken(|world| world.set_state(GOOD, "CONFIRMED")), ["not-ended"]);
}

#[test]
fn the_record_agrees_with_the_topics() {
    let ended_otherwise = broken(|world| world.set_state(GOOD, "CANCELLED"));
    let both_ends = broken(|world| world.say(GOOD, Topic::OrdersCancelled, About::Nothing));

    assert_eq!(ended_otherwise[0], "end-disagrees", "{ended_otherwise:?}");
    assert_eq!(both_ends[..2], ["not-one-end", "end-disagrees"], "{both_ends:?}");
    assert!(both_ends.contains(&"contradiction".to_owned()), "{both_ends:?}");
}

#[test]
fn each_effect_is_once() {
    for topic in [Topic::OrdersCreated, Topic::InventoryReserved, Topic::ShippingScheduled] {
        assert_eq!(broken(|world| world.say(BAD, topic, About::Nothing)), ["said-twice"], "{topic}");
    }
    let confirmed = || About::Message(NotificationKind::Confirmed);
    assert_eq!(broken(|world| world.say(GOOD, Topic::NotificationsSent, confirmed())), ["told-twice"]);
}

#[test]
fn what_was_done_is_undone_and_nothing_else() {
    for undone in [Topic::InventoryReleased, Topic::ShippingCancelled] {
        assert_eq!(broken(|world| world.unsay(BAD, undone)), ["missing"], "{undone}");
    }
    for needed in [Topic::OrdersCreated, Topic::InventoryReserved] {
        assert_eq!(broken(|world| world.unsay(GOOD, needed)), ["missing"], "{needed}");
    }
    let undone = broken(|world| world.say(GOOD, Topic::InventoryReleased, About::Nothing));
    assert_eq!(undone, ["contradiction"]);
    assert_eq!(broken(|world| world.say(BAD, Topic::ShippingDelivered, About::Nothing)), ["contradiction"]);
}

#[test]
fn events_speak_of_orders_that_exist() {
    assert_eq!(broken(|world| world.say(9, Topic::OrdersCreated, About::Nothing)), ["stray"]);
}

#[test]
fn stock_is_conserved() {
    assert_eq!(broken(|world| world.set_stock(96, 0, 3)), ["stock-leaks"]);
    assert_eq!(broken(|world| world.set_stock(96, 1, 3)), ["stock-held"]);
    assert_eq!(broken(|world| world.set_stock(96, 0, 4)), ["sales-disagree"]);
    assert_eq!(broken(|world| world.set_reservation(BAD, "HELD")), ["reservation-disagrees"]);
    assert_eq!(broken(|world| world.set_reservation(GOOD, "OVERSOLD")), ["reservation-disagrees"]);
    assert_eq!(broken(|world| world.facts.reservations.clear()), ["reservation-disagrees"]);
}

#[test]
fn money_adds_up() {
    let half_back = |world: &mut World| {
        world.unsay(BAD, Topic::PaymentsRefunded);
        world.say(BAD, Topic::PaymentsRefunded, About::Amount(Money::new(250, Currency::USD)));
    };

    assert_eq!(broken(half_back), ["money-disagrees", "ledger-disagrees"]);
    let kept = broken(|world| world.unsay(BAD, Topic::PaymentsRefunded));
    assert_eq!(kept, ["missing", "money-disagrees", "ledger-disagrees"]);
    assert_eq!(broken(|world| world.set_payment(BAD, "CAPTURED")), ["ledger-disagrees"]);
    assert_eq!(broken(|world| world.set_payment(GOOD, "REFUNDED")), ["ledger-disagrees"]);
}

#[test]
fn a_parcel_goes_to_whom_the_order_was_completed_for_and_to_nobody_else() {
    let parcel = |number: u128, status: &str| {
        let parcel = Shipment { status: status.to_owned() };
        broken(|world| drop(world.facts.shipments.insert(order(number), parcel)))
    };

    assert_eq!(broken(|world| world.facts.shipments.clear()), ["parcel-disagrees"]);
    assert_eq!(parcel(GOOD, "RECALLED"), ["parcel-disagrees"]);
    assert_eq!(parcel(BAD, "DISPATCHED"), ["parcel-disagrees"]);
    assert_eq!(parcel(BAD, "RECALLED"), [""; 0]);
}

#[test]
fn nothing_waits_and_nothing_was_given_up() {
    let waiting = |waiting: Waiting| {
        broken(|world| {
            world.facts.waiting.insert(Service::Order, waiting);
        })
    };

    assert_eq!(waiting(Waiting { outbox: 1, ..Waiting::default() }), ["outbox-not-empty"]);
    assert_eq!(waiting(Waiting { parked: 1, ..Waiting::default() }), ["parked-not-empty"]);
    assert_eq!(waiting(Waiting { lag: 1, ..Waiting::default() }), ["behind"]);
    assert_eq!(broken(|world| world.expected.dead_letters = 0), ["dead-letters"]);
}

#[test]
fn steps_that_orders_do_not_take_are_not_asked_for() {
    let smallest = |world: &mut World| {
        // One of each kind, as after a change of the pipeline's saga.
        world.facts.orders.get_mut(&order(GOOD)).unwrap().steps = vec![Step::Inventory];
        for topic in [Topic::PaymentsCaptured, Topic::ShippingScheduled, Topic::ShippingDelivered] {
            world.unsay(GOOD, topic);
        }
        world.facts.payments.remove(&order(GOOD));
        world.facts.shipments.remove(&order(GOOD));
    };

    assert_eq!(broken(smallest), [""; 0]);
}

#[test]
fn a_report_says_what_is_wrong_to_people_and_to_programs() {
    let mut world = World::sound();
    world.set_stock(96, 0, 3);
    let violations = check(&world.facts, &world.expected);

    let report = Report::new(&world.facts, violations);
    let (text, json) = (report.to_string(), serde_json::to_value(&report).unwrap());

    assert!(!report.holds());
    assert!(text.starts_with("2 orders (1 CANCELLED, 1 COMPLETED)"), "{text}");
    assert!(
        text.contains("burger: 99 units on hand, reserved or sold, and 100 were put into stock"),
        "{text}"
    );
    assert_eq!(json.pointer("/violations/0/kind"), Some(&"stock-leaks".into()));
    assert_eq!(json.pointer("/violations/0/found"), Some(&99.into()));
}
