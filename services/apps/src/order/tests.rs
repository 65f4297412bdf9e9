//! What goes in and out of the order service, without a database or a broker.

use contract::{
    Address, CancelReason, Contact, Currency, Envelope, Event, InventoryFailed, InventoryFailure,
    InventoryReleased, InventoryReserved, Money, NotificationKind, NotificationSent, OrderCompleted,
    OrderConfirmed, OrderDetails, OrderId, OrderItem, ReleaseReason, Shortage, Step, Topic,
};
use domain::saga::{Input, OrderSaga, OrderStatus, SagaConfig, Timeouts};
use jiff::Timestamp;
use messaging::Delivery;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

use super::handler::input_of;
use super::metrics::Metrics;
use super::progress::Loaded;
use super::store::{Order, Origin, StoredSaga};
use super::view::OrderView;

const NOW: &str = "2026-03-01T12:00:00Z";

pub(super) fn order_id() -> OrderId {
    OrderId::new(Uuid::from_u128(1))
}

pub(super) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub(super) fn order() -> Order {
    let minute = Duration::from_secs(60);
    let timeouts = Timeouts { step: Duration::from_secs(30), notification: minute, delivery: minute };
    let config = SagaConfig::new(vec![Step::Inventory], timeouts).unwrap();
    Order {
        id: order_id(),
        correlation_id: "req-1".parse().unwrap(),
        details: details(),
        saga: OrderSaga::begin(&config, now()),
        created_at: now(),
        updated_at: now(),
    }
}

fn stored() -> StoredSaga {
    let order = order();
    StoredSaga { order_id: order.id, total: order.details.total, saga: order.saga }
}

pub(super) fn details() -> OrderDetails {
    let customer = Contact {
        customer_id: "CUST-1".parse().unwrap(),
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: None,
        phone: None,
    };
    let items = vec![OrderItem { product_id: "ramen".parse().unwrap(), quantity: 2, unit_price_minor: 1200 }];
    let total = Money::new(2400, Currency::JPY);
    OrderDetails { customer, ship_to: Address::default(), items, total, steps: None }
}

pub(super) fn delivery(event: impl Into<Event>) -> Delivery {
    let envelope = Envelope::new(event.into(), "req-1".parse().unwrap(), now());
    Delivery { key: envelope.event.key(), topic: Topic::InventoryReserved, partition: 0, offset: 0, envelope }
}

#[test]
fn events_of_others_are_inputs_of_the_saga() {
    let reserved =
        InventoryReserved { order_id: order_id(), items: Vec::new(), expires_at: now(), details: details() };
    let told =
        NotificationSent { order_id: order_id(), kind: NotificationKind::Confirmed, channels: Vec::new() };
    let own = OrderCompleted { order_id: order_id(), total: Money::new(1, Currency::USD) };

    assert_eq!(input_of(&delivery(reserved)), Some((order_id(), Input::StepSucceeded(Step::Inventory))));
    let notified = Input::Notified(NotificationKind::Confirmed);
    assert_eq!(input_of(&delivery(told)), Some((order_id(), notified)));
    assert_eq!(input_of(&delivery(own)), None);
}

#[test]
fn an_order_that_waits_for_stock_has_not_failed() {
    let until = Timestamp::UNIX_EPOCH;
    let (reason, shortages, waits_until) = (InventoryFailure::OutOfStock, Vec::new(), Some(until));

    let input = input_of(&delivery(InventoryFailed { order_id: order_id(), reason, shortages, waits_until }));

    assert_eq!(input, Some((order_id(), Input::StepWaits { step: Step::Inventory, until })));
}

#[test]
fn a_failure_tells_people_what_was_short() {
    let shortage =
        |product: &str| Shortage { product_id: product.parse().unwrap(), requested: 3, available: 1 };
    for (reason, shortages, expected, detail) in [
        (
            InventoryFailure::OutOfStock,
            vec![shortage("burger"), shortage("pizza")],
            CancelReason::OutOfStock,
            "there is not enough stock: 3 burger ordered, 1 available, 3 pizza ordered, 1 available",
        ),
        (InventoryFailure::UnknownProduct, Vec::new(), CancelReason::UnknownProduct, "a product is unknown"),
        (
            InventoryFailure::OrderCancelled,
            Vec::new(),
            CancelReason::StepRefused,
            "the order had been cancelled",
        ),
    ] {
        let failed = InventoryFailed { order_id: order_id(), reason, shortages, waits_until: None };

        let input = input_of(&delivery(failed));

        let failed = Input::StepFailed { step: Step::Inventory, reason: expected, detail: detail.to_owned() };
        assert_eq!(input, Some((order_id(), failed)));
    }
}

#[test]
fn units_that_were_held_too_long_end_the_order_and_those_of_a_cancelled_one_are_no_news() {
    let released = |reason| {
        let released = InventoryReleased { order_id: order_id(), items: Vec::new(), reason };
        input_of(&delivery(released))
    };

    let taken_back = Input::StepFailed {
        step: Step::Inventory,
        reason: CancelReason::StepTimedOut,
        detail: "its units were held too long and are free again".to_owned(),
    };
    assert_eq!(released(ReleaseReason::Expired), Some((order_id(), taken_back)));
    assert_eq!(released(ReleaseReason::OrderCancelled), None);
}

#[test]
fn a_success_confirms_the_order_once() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let mut loaded = Loaded::new(stored());
    let origin = Origin { correlation_id: "req-1".parse().unwrap(), details: details() };
    let origins = BTreeMap::from([(order_id(), origin)]);

    let first = loaded.advance(Input::StepSucceeded(Step::Inventory), now(), &metrics);
    let second = loaded.advance(Input::StepSucceeded(Step::Inventory), now(), &metrics);

    assert_eq!((first.len(), second.len()), (1, 0));
    let told: Vec<Event> = first.into_iter().map(|news| loaded.tell(news, &origins).unwrap()).collect();
    assert_eq!(told, [OrderConfirmed { order_id: order_id(), details: details() }.into()]);
    assert!(loaded.is_changed());
    assert_eq!(loaded.stored.saga.status, OrderStatus::Confirmed);
}

#[test]
fn an_order_that_is_gone_is_not_told_of() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let mut loaded = Loaded::new(stored());

    let news = loaded.advance(Input::StepSucceeded(Step::Inventory), now(), &metrics).remove(0);

    assert!(loaded.tell(news, &BTreeMap::new()).is_err());
}

#[test]
fn an_order_is_shown_with_exact_amounts() {
    let view = serde_json::to_string(&OrderView::from(order())).unwrap();

    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&view).unwrap(),
        json!({
            "orderId": order_id(), "customerId": "CUST-1", "status": "PENDING", "reason": null,
            "reasonDetail": null, "correlationId": "req-1", "totalAmount": 2400, "currency": "JPY",
            "steps": {"inventory": "RUNNING"},
            "items": [{"productId": "ramen", "quantity": 2, "unitPrice": 1200}],
            "createdAt": NOW, "updatedAt": NOW
        })
    );
}
