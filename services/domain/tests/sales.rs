//! Hourly sales: what counts, when, and that nothing but the order of a partition's records decides it.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail")]

use std::collections::{BTreeMap, HashSet};

use contract::{
    Address, Contact, Currency, Money, OrderConfirmed, OrderDetails, OrderId, OrderItem, WindowStatus,
};
use domain::sales::{Fate, HourlySales, Numbers, Sales, StateKey, StateValue, Table};
use domain::windows::Tumbling;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

const GRACE: SignedDuration = SignedDuration::from_mins(30);

fn hours() -> Tumbling {
    Tumbling::new(SignedDuration::from_hours(1), GRACE).unwrap()
}

/// `minutes` after nine o'clock.
fn minute(minutes: i64) -> Timestamp {
    "2026-03-20T09:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

#[derive(Debug, Clone)]
struct Confirmed {
    order: OrderConfirmed,
    at: Timestamp,
}

fn order(number: u128, currency: Currency, items: &[(&str, u32, i64)]) -> OrderConfirmed {
    let items: Vec<OrderItem> = items
        .iter()
        .map(|(product, quantity, price)| OrderItem {
            product_id: product.parse().unwrap(),
            quantity: *quantity,
            unit_price_minor: *price,
        })
        .collect();
    let total = items.iter().map(|item| item.unit_price_minor * i64::from(item.quantity)).sum();
    let customer = Contact {
        customer_id: "C-1".parse().unwrap(),
        first_name: "Ada".into(),
        last_name: String::new(),
        email: None,
        phone: None,
    };
    OrderConfirmed {
        order_id: OrderId::new(Uuid::from_u128(number)),
        details: OrderDetails {
            customer,
            ship_to: Address::default(),
            steps: None,
            items,
            total: Money::new(total, currency),
        },
    }
}

fn burger(number: u128, minutes: i64) -> Confirmed {
    Confirmed { order: order(number, Currency::USD, &[("burger", 2, 899)]), at: minute(minutes) }
}

/// Sales of partition 0 after `events`, changes taken every `batch` events, as a reader sees them.
fn told(events: &[Confirmed], batch: usize) -> (Sales, Table, Vec<Fate>) {
    let (mut sales, mut table, mut fates) = (Sales::default(), Table::default(), Vec::new());
    for events in events.chunks(batch) {
        fates.extend(events.iter().map(|event| sales.count(&hours(), &event.order, event.at)));
        sales.take_changes(&hours(), 0).rows.into_iter().for_each(|row| table.take(row));
    }
    (sales, table, fates)
}

fn all(table: &Table) -> Vec<HourlySales> {
    table.between(Timestamp::MIN, Timestamp::MAX, usize::MAX)
}

#[test]
fn a_row_for_everything_and_one_per_product() {
    let event =
        Confirmed { order: order(1, Currency::USD, &[("burger", 2, 899), ("soda", 1, 199)]), at: minute(5) };

    let (_, table, _) = told(&[event, burger(2, 59)], 1);

    let [hour] = all(&table).try_into().unwrap();
    assert_eq!((hour.start, hour.end, hour.status), (minute(0), minute(60), WindowStatus::Open));
    assert_eq!(hour.all, Numbers { orders: 2, units: 5, revenue_minor: 3795 });
    let product = |name: &str| hour.products[&name.parse().unwrap()];
    assert_eq!(product("burger"), Numbers { orders: 2, units: 4, revenue_minor: 3596 });
    assert_eq!(product("soda"), Numbers { orders: 1, units: 1, revenue_minor: 199 });
}

#[test]
fn currencies_are_never_added_up() {
    let euro = Confirmed { order: order(2, Currency::EUR, &[("burger", 1, 799)]), at: minute(1) };

    let (_, table, _) = told(&[burger(1, 0), euro], 10);

    let revenues: Vec<_> = all(&table).iter().map(|hour| (hour.currency, hour.all.revenue_minor)).collect();
    assert_eq!(revenues, [(Currency::EUR, 799), (Currency::USD, 1798)]);
}

#[test]
fn an_order_counts_once_however_often_it_comes() {
    let (_, table, fates) = told(&[burger(1, 0), burger(1, 0), burger(2, 70), burger(1, 0)], 2);

    assert_eq!(fates, [Fate::Counted, Fate::Duplicate, Fate::Counted, Fate::Duplicate]);
    assert_eq!(all(&table)[0].all.orders, 1);
}

#[test]
fn what_comes_within_grace_counts_and_after_it_is_late() {
    let (_, table, fates) =
        told(&[burger(1, 0), burger(2, 89), burger(3, 59), burger(4, 90), burger(5, 59)], 1);

    assert_eq!(fates, [Fate::Counted, Fate::Counted, Fate::Counted, Fate::Counted, Fate::Late]);
    let [nine, ten] = all(&table).try_into().unwrap();
    assert_eq!((nine.all.orders, nine.status), (2, WindowStatus::Closed));
    assert_eq!((ten.all.orders, ten.status), (2, WindowStatus::Open));
}

#[test]
fn a_closed_hour_is_forgotten() {
    let (mut sales, _, _) = told(&[burger(1, 0), burger(2, 1)], 1);

    sales.count(&hours(), &burger(3, 200).order, minute(200));
    let changes = sales.take_changes(&hours(), 0);

    let forgotten = changes.state.iter().filter(|(_, value)| value.is_none()).count();
    assert_eq!(forgotten, 2 + 2, "two rows, and the orders of two batches");
    assert_eq!(sales.len(), 2 + 1, "the rows and the order of the open hour");
}

#[test]
fn an_idle_hour_says_so_and_still_counts_what_comes() {
    let (mut sales, mut table, _) = told(&[burger(1, 0)], 1);
    let mut show = |sales: &mut Sales| {
        sales.take_changes(&hours(), 0).rows.into_iter().for_each(|row| table.take(row));
        let hour = all(&table).remove(0);
        (hour.status, hour.all.orders)
    };

    assert!(!sales.rest(&hours(), minute(89)), "its grace is not over");
    assert!(sales.rest(&hours(), minute(90)));
    assert_eq!(show(&mut sales), (WindowStatus::Idle, 1));
    assert!(!sales.rest(&hours(), minute(91)), "it was said already");

    assert_eq!(sales.count(&hours(), &burger(2, 59).order, minute(59)), Fate::Counted);
    assert_eq!(show(&mut sales), (WindowStatus::Open, 2));
}

#[test]
fn a_table_forgets_hours_that_are_too_old() {
    let (_, mut table, _) = told(&[burger(1, 0), burger(2, 60), burger(3, 120)], 1);

    table.forget_before(minute(60));

    assert_eq!(all(&table).iter().map(|hour| hour.start).collect::<Vec<_>>(), [minute(60), minute(120)]);
}

#[test]
fn an_hour_is_as_certain_as_its_least_certain_partition() {
    let (mut table, mut left, mut right) = (Table::default(), Sales::default(), Sales::default());
    left.count(&hours(), &burger(1, 0).order, minute(0));
    left.count(&hours(), &burger(2, 200).order, minute(200));
    right.count(&hours(), &burger(3, 0).order, minute(0));
    for (partition, sales) in [(0, &mut left), (1, &mut right)] {
        sales.take_changes(&hours(), partition).rows.into_iter().for_each(|row| table.take(row));
    }

    let nine = &table.between(minute(0), minute(60), 10)[0];

    assert_eq!((nine.all.orders, nine.status), (2, WindowStatus::Open));
}

#[test]
fn hours_are_chosen_by_their_start() {
    let (_, table, _) = told(&[burger(1, 0), burger(2, 60), burger(3, 120)], 1);
    let starts = |from, to, limit| -> Vec<Timestamp> {
        table.between(minute(from), minute(to), limit).iter().map(|hour| hour.start).collect()
    };

    assert_eq!(starts(0, 120, 10), [minute(0), minute(60)]);
    assert_eq!(starts(1, 121, 10), [minute(60), minute(120)]);
    assert_eq!(starts(0, 999, 1), [minute(0)]);
}

/// What a person would do with a list of all orders and a sheet of paper.
fn by_hand(events: &[Confirmed]) -> BTreeMap<(Timestamp, Currency), Numbers> {
    let (mut seen, mut sheet) = (HashSet::new(), BTreeMap::<_, Numbers>::new());
    for event in events.iter().filter(|event| seen.insert(event.order.order_id)) {
        let units = event.order.details.items.iter().map(|item| u64::from(item.quantity)).sum();
        let hour = event.at.as_second().div_euclid(3600) * 3600;
        let key = (Timestamp::from_second(hour).unwrap(), event.order.details.total.currency);
        *sheet.entry(key).or_default() +=
            Numbers { orders: 1, units, revenue_minor: event.order.details.total.amount_minor };
    }
    sheet
}

fn sheet_of(table: &Table) -> BTreeMap<(Timestamp, Currency), Numbers> {
    all(table).into_iter().map(|hour| ((hour.start, hour.currency), hour.all)).collect()
}

prop_compose! {
    /// An order of the `spread` minutes from nine on; ids repeat, as they do on the wire.
    fn confirmed(spread: i64)(
        number in 0..60_u128,
        products in proptest::sample::subsequence(vec!["burger", "pizza", "soda"], 1..=3),
    ) -> Confirmed {
        // All that an order says follows from its number: a copy is a copy.
        let quantity = u32::try_from(number % 5).unwrap() + 1;
        let count = usize::try_from(number % 3).unwrap().min(products.len() - 1) + 1;
        let items: Vec<_> = ["burger", "pizza", "soda"].into_iter().take(count)
            .map(|product| (product, quantity, 100)).collect();
        let currency = if number % 2 == 0 { Currency::USD } else { Currency::JPY };
        let at = minute(i64::try_from(number).unwrap() * spread / 60);
        Confirmed { order: order(number, currency, &items), at }
    }
}

proptest! {
    /// Whatever the order of arrival, and however often each comes: within the grace nothing is lost or counted
    /// twice.
    #[test]
    fn any_order_of_arrival_within_grace_gives_the_sums_on_paper(
        events in proptest::collection::vec(confirmed(30), 0..200),
        batch in 1..50_usize,
    ) {
        let (_, table, fates) = told(&events, batch);

        prop_assert!(!fates.contains(&Fate::Late));
        prop_assert_eq!(sheet_of(&table), by_hand(&events));
    }

    /// With late events among them: a replay, in other batches, comes to the same numbers.
    #[test]
    fn a_replay_gives_the_same_answer(
        events in proptest::collection::vec(confirmed(600), 0..200),
        batches in (1..50_usize, 1..50_usize),
    ) {
        let (first, first_table, fates) = told(&events, batches.0);
        let (_, replayed, replayed_fates) = told(&events, batches.1);

        prop_assert_eq!(&fates, &replayed_fates);
        prop_assert_eq!(all(&first_table), all(&replayed));
        prop_assert!(first.len() <= events.len() * 5);
        // And what was not late is what a person would have counted.
        let counted: Vec<Confirmed> = events.iter().zip(&fates)
            .filter(|(_, fate)| **fate == Fate::Counted).map(|(event, _)| event.clone()).collect();
        prop_assert_eq!(sheet_of(&first_table), by_hand(&counted));
    }

    /// State that is put back from what was remembered goes on as the one that was lost would have.
    #[test]
    fn restored_state_goes_on_as_before(
        before in proptest::collection::vec(confirmed(600), 0..100),
        after in proptest::collection::vec(confirmed(600), 0..100),
        batch in 1..20_usize,
    ) {
        let (mut sales, mut remembered) = (Sales::default(), BTreeMap::<StateKey, StateValue>::new());
        for events in before.chunks(batch) {
            for event in events {
                sales.count(&hours(), &event.order, event.at);
            }
            for (key, value) in sales.take_changes(&hours(), 0).state {
                match value {
                    Some(value) => { remembered.insert(key, value); }
                    None => { remembered.remove(&key); }
                }
            }
        }
        let mut restored = Sales::default();
        for (key, value) in remembered {
            restored.restore(key, value);
        }
        prop_assert_eq!(&restored, &sales);

        for event in &after {
            let fate = sales.count(&hours(), &event.order, event.at);
            prop_assert_eq!(restored.count(&hours(), &event.order, event.at), fate);
        }
        prop_assert_eq!(restored.take_changes(&hours(), 0), sales.take_changes(&hours(), 0));
    }
}
