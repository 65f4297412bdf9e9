//! Stock and reservations, case by case.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail")]

use contract::{InventoryFailure, OrderId, ReleaseReason, Shortage, StockItem};
use domain::{
    stock::{StockError, StockLevel},
    warehouse::{Outcome, ReservationStatus, Warehouse},
};
use jiff::Timestamp;
use rstest::rstest;
use uuid::Uuid;

const ORDER: OrderId = OrderId::new(Uuid::from_u128(1));

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn items(list: &[(&str, u32)]) -> Vec<StockItem> {
    list.iter()
        .map(|(product, quantity)| StockItem { product_id: product.parse().unwrap(), quantity: *quantity })
        .collect()
}

fn shortage(product: &str, requested: u32, available: u64) -> Shortage {
    Shortage { product_id: product.parse().unwrap(), requested, available }
}

fn level(on_hand: u64, reserved: u64, sold: u64) -> StockLevel {
    StockLevel { on_hand, reserved, sold, backordered: 0 }
}

/// Ten burgers and one pizza.
fn warehouse() -> Warehouse {
    let levels = [("burger".parse().unwrap(), level(10, 0, 0)), ("pizza".parse().unwrap(), level(1, 0, 0))];
    Warehouse::new(levels.into(), [].into())
}

fn holding(list: &[(&str, u32)]) -> Warehouse {
    let mut warehouse = warehouse();
    let outcome = warehouse.on_created(ORDER, &items(list), at(900)).unwrap();
    assert!(matches!(outcome, Outcome::Reserved { .. }), "{outcome:?}");
    warehouse
}

fn levels(warehouse: &Warehouse) -> Vec<(&str, StockLevel)> {
    warehouse.changed_levels().map(|(product, level)| (product.as_str(), *level)).collect()
}

fn status(warehouse: &Warehouse) -> Option<ReservationStatus> {
    warehouse.changed_reservations().map(|changed| changed.reservation.status).next()
}

#[test]
fn an_order_holds_all_of_its_items() {
    let mut warehouse = warehouse();

    let outcome = warehouse.on_created(ORDER, &items(&[("pizza", 1), ("burger", 4)]), at(900)).unwrap();

    let held = items(&[("burger", 4), ("pizza", 1)]);
    assert_eq!(outcome, Outcome::Reserved { items: held, expires_at: at(900) });
    assert_eq!(levels(&warehouse), [("burger", level(6, 4, 0)), ("pizza", level(0, 1, 0))]);
}

#[rstest]
#[case::short(&[("burger", 4), ("pizza", 2)], InventoryFailure::OutOfStock, &[shortage("pizza", 2, 1)])]
#[case::summed_over_lines(
    &[("burger", 6), ("burger", 5)], InventoryFailure::OutOfStock, &[shortage("burger", 11, 10)]
)]
#[case::unknown(&[("soup", 1)], InventoryFailure::UnknownProduct, &[shortage("soup", 1, 0)])]
fn an_order_that_cannot_be_served_in_full_holds_nothing(
    #[case] ordered: &[(&str, u32)],
    #[case] reason: InventoryFailure,
    #[case] shortages: &[Shortage],
) {
    let mut warehouse = warehouse();

    let outcome = warehouse.on_created(ORDER, &items(ordered), at(900)).unwrap();

    assert_eq!(outcome, Outcome::Refused { reason, shortages: shortages.to_vec() });
    assert_eq!(levels(&warehouse), []);
    assert_eq!(status(&warehouse), Some(ReservationStatus::Refused));
}

#[test]
fn a_confirmed_order_turns_held_units_into_sold_ones() {
    let mut warehouse = holding(&[("burger", 4)]);

    assert_eq!(warehouse.on_confirmed(ORDER, &items(&[("burger", 4)]), at(5)), Ok(Outcome::Sold));

    assert_eq!(levels(&warehouse), [("burger", level(6, 0, 4))]);
    assert_eq!(status(&warehouse), Some(ReservationStatus::Sold));
}

#[test]
fn a_cancelled_order_frees_what_was_recorded_for_it() {
    let mut warehouse = holding(&[("burger", 4)]);

    let outcome = warehouse.on_cancelled(ORDER, at(5)).unwrap();

    let reason = ReleaseReason::OrderCancelled;
    assert_eq!(outcome, Outcome::Released { items: items(&[("burger", 4)]), reason });
    assert_eq!(levels(&warehouse), [("burger", level(10, 0, 0))]);
}

#[test]
fn a_cancellation_that_comes_first_refuses_the_order_later() {
    let mut warehouse = warehouse();
    assert_eq!(warehouse.on_cancelled(ORDER, at(5)), Ok(Outcome::Nothing));

    let outcome = warehouse.on_created(ORDER, &items(&[("burger", 1)]), at(900)).unwrap();

    let reason = InventoryFailure::OrderCancelled;
    assert_eq!(outcome, Outcome::Refused { reason, shortages: Vec::new() });
    assert_eq!(levels(&warehouse), []);
    assert_eq!(status(&warehouse), Some(ReservationStatus::Refused));
    assert_eq!(warehouse.on_created(ORDER, &items(&[("burger", 1)]), at(900)), Ok(Outcome::Nothing));
}

#[test]
fn a_reservation_is_freed_when_its_time_is_over_and_not_before() {
    let mut warehouse = holding(&[("burger", 4)]);

    assert_eq!(warehouse.expire(ORDER, at(899)), Ok(Outcome::Nothing));
    let outcome = warehouse.expire(ORDER, at(900)).unwrap();

    let reason = ReleaseReason::Expired;
    assert_eq!(outcome, Outcome::Released { items: items(&[("burger", 4)]), reason });
    assert_eq!(levels(&warehouse), [("burger", level(10, 0, 0))]);
}

#[test]
fn an_order_confirmed_after_its_reservation_expired_gets_free_units() {
    let mut warehouse = holding(&[("burger", 4)]);
    warehouse.expire(ORDER, at(900)).unwrap();

    assert_eq!(warehouse.on_confirmed(ORDER, &items(&[("burger", 4)]), at(901)), Ok(Outcome::Sold));

    assert_eq!(levels(&warehouse), [("burger", level(6, 0, 4))]);
}

#[test]
fn an_order_confirmed_when_its_units_are_gone_is_recorded_as_oversold() {
    let mut warehouse = holding(&[("pizza", 1)]);
    warehouse.expire(ORDER, at(900)).unwrap();
    let other = OrderId::new(Uuid::from_u128(2));
    warehouse.on_created(other, &items(&[("pizza", 1)]), at(2000)).unwrap();

    let outcome = warehouse.on_confirmed(ORDER, &items(&[("pizza", 1)]), at(901)).unwrap();

    assert_eq!(outcome, Outcome::Oversold { shortages: vec![shortage("pizza", 1, 0)] });
    assert_eq!(levels(&warehouse), [("pizza", level(0, 1, 0))]);
    assert_eq!(status(&warehouse), Some(ReservationStatus::Oversold));
}

#[test]
fn doing_it_again_changes_nothing() {
    let mut warehouse = holding(&[("burger", 4)]);
    let ordered = items(&[("burger", 4)]);

    assert_eq!(warehouse.on_created(ORDER, &ordered, at(901)), Ok(Outcome::Nothing));
    warehouse.on_confirmed(ORDER, &ordered, at(5)).unwrap();
    assert_eq!(warehouse.on_confirmed(ORDER, &ordered, at(6)), Ok(Outcome::Nothing));
    assert_eq!(warehouse.on_cancelled(ORDER, at(7)), Ok(Outcome::Nothing));
    assert_eq!(warehouse.expire(ORDER, at(9999)), Ok(Outcome::Nothing));

    assert_eq!(levels(&warehouse), [("burger", level(6, 0, 4))]);
}

#[rstest]
#[case(level(3, 0, 0).reserve(4), StockError::NotEnough { wanted: 4, available: 3 })]
#[case(level(3, 1, 0).release(2), StockError::NotHeld { wanted: 2, reserved: 1 })]
#[case(level(3, 1, 0).sell(2), StockError::NotHeld { wanted: 2, reserved: 1 })]
#[case(level(0, 0, 1).set(StockLevel::MAX), StockError::TooMany)]
#[case(level(StockLevel::MAX, 0, 0).restock(1), StockError::TooMany)]
fn stock_that_is_not_there_cannot_be_moved(
    #[case] outcome: Result<StockLevel, StockError>,
    #[case] error: StockError,
) {
    assert_eq!(outcome, Err(error));
}

#[test]
fn counting_and_restocking_leave_promises_alone() {
    assert_eq!(level(3, 1, 5).set(10), Ok(level(10, 1, 5)));
    assert_eq!(level(3, 1, 5).restock(10), Ok(level(13, 1, 5)));
}
