//! The saga of the order service, with this test in the parts of the other services.

use contract::{
    Event, InventoryFailed, InventoryFailure, InventoryReleased, InventoryReserved, NotificationKind,
    NotificationSent, OrderCancelled, OrderId, ReleaseReason, Service, Shortage, Step,
};
use jiff::Timestamp;
use messaging::Messaging;

use crate::support::{Realm, System, details, eventually, short_order};

pub(crate) async fn tell(messaging: &Messaging, event: impl Into<Event>) {
    let envelope = contract::Envelope::new(event.into(), "test".parse().unwrap(), Timestamp::now());
    // Twice: what arrives again changes nothing.
    messaging.producer().publish(&[envelope.clone(), envelope]).await.unwrap();
}

pub(crate) fn reserved(order_id: &str) -> InventoryReserved {
    let order_id = order_id.parse().unwrap();
    InventoryReserved { order_id, items: Vec::new(), expires_at: Timestamp::MAX, details: details() }
}

fn told(order_id: &str, kind: NotificationKind) -> NotificationSent {
    NotificationSent { order_id: order_id.parse().unwrap(), kind, channels: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_from_pending_over_confirmed_to_completed() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;
    let others = realm.messaging(Service::Inventory).await;
    let spy = realm.spy(Service::Notification).await;
    let order_id = system.post(&short_order("ada", "burger", 1)).await.order_id();

    tell(&others, told(&order_id, NotificationKind::Created)).await;
    tell(&others, reserved(&order_id)).await;
    eventually("the order is confirmed", async || {
        let order = system.get(&format!("/api/v1/orders/{order_id}")).await.body;
        (order["status"] == "CONFIRMED").then_some(())
    })
    .await;
    tell(&others, told(&order_id, NotificationKind::Confirmed)).await;
    let order = system.ended(&order_id).await;

    assert_eq!(order["status"], "COMPLETED");
    let types = spy.types_of(&order_id, 6).await;
    for once in ["OrderCreated", "OrderConfirmed", "OrderCompleted"] {
        assert_eq!(types[once], 1, "{types:?}");
    }
    let metrics =
        system.client.get(format!("{}/metrics", system.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"saga_transitions_total{from="PENDING",to="CONFIRMED"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"saga_in_flight{state="PENDING"} 0"#), "{metrics}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_step_cancels_the_order_and_late_answers_change_nothing() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;
    let others = realm.messaging(Service::Inventory).await;
    let spy = realm.spy(Service::Notification).await;
    let order_id = system.post(&short_order("ada", "burger", 7)).await.order_id();

    let shortage = Shortage { product_id: "burger".parse().unwrap(), requested: 7, available: 3 };
    let failed = InventoryFailed {
        order_id: order_id.parse().unwrap(),
        reason: InventoryFailure::OutOfStock,
        shortages: vec![shortage],
        waits_until: None,
    };
    tell(&others, failed).await;
    let order = system.ended(&order_id).await;
    tell(&others, reserved(&order_id)).await;
    tell(&others, told(&order_id, NotificationKind::Confirmed)).await;
    // A marker behind the late answers: once it is handled, so are they.
    let marker = system.post(&short_order("ada", "burger", 1)).await.order_id();
    tell(&others, told(&marker, NotificationKind::Created)).await;
    spy.types_of(&order_id, 5).await;

    assert_eq!(order["reason"], "OUT_OF_STOCK");
    assert_eq!(order["reasonDetail"], "there is not enough stock: 7 burger ordered, 3 available");
    assert_eq!(system.get(&format!("/api/v1/orders/{order_id}")).await.body, order);
    assert_eq!(spy.events(|event| matches!(event, Event::OrderCancelled(_))).len(), 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_units_were_held_too_long_is_cancelled_although_the_step_had_succeeded() {
    let realm = Realm::create().await;
    let mut config = realm.config("order");
    config.saga_steps = vec![Step::Inventory, Step::Payment];
    let system = System::start(config, &[Service::Order]).await;
    let others = realm.messaging(Service::Inventory).await;
    let order_id = system.post(&short_order("ada", "burger", 1)).await.order_id();

    tell(&others, reserved(&order_id)).await;
    eventually("the units are held", async || {
        let order = system.get(&format!("/api/v1/orders/{order_id}")).await.body;
        (order["steps"]["inventory"] == "SUCCEEDED").then_some(())
    })
    .await;
    let (id, items) = (order_id.parse().unwrap(), Vec::new());
    tell(&others, InventoryReleased { order_id: id, items, reason: ReleaseReason::Expired }).await;
    let order = system.ended(&order_id).await;

    assert_eq!((&order["status"], &order["reason"]), (&"CANCELLED".into(), &"STEP_TIMED_OUT".into()));
    assert_eq!(order["reasonDetail"], "its units were held too long and are free again");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nobody_answers_is_cancelled_once_although_two_replicas_sweep() {
    let realm = Realm::create().await;
    let mut config = realm.config("order");
    config.order.saga_step_timeout = std::time::Duration::from_millis(300);
    let replicas = [
        System::start(config.clone(), &[Service::Order]).await,
        System::start(config, &[Service::Order]).await,
    ];
    let spy = realm.spy(Service::Notification).await;

    let ids: Vec<String> = futures::future::join_all((0..40).map(async |n| {
        replicas[n % 2].post(&short_order(&format!("user-{n}"), "burger", 1)).await.order_id()
    }))
    .await;
    // Followed through the other replica than the one that took it.
    for (n, id) in ids.iter().enumerate() {
        let order = replicas[(n + 1) % 2].ended(id).await;
        assert_eq!(
            (order["reason"].as_str(), order["steps"]["inventory"].as_str()),
            (Some("STEP_TIMED_OUT"), Some("TIMED_OUT"))
        );
    }

    let cancelled = eventually("all cancellations are announced", async || {
        let cancelled = spy.events(|event| matches!(event, Event::OrderCancelled(_)));
        (cancelled.len() >= ids.len()).then_some(cancelled)
    })
    .await;
    let mut announced: Vec<OrderId> = cancelled
        .iter()
        .filter_map(|envelope| match &envelope.event {
            Event::OrderCancelled(OrderCancelled { order_id, .. }) => Some(*order_id),
            _ => None,
        })
        .collect();
    announced.sort();
    announced.dedup();
    assert_eq!((cancelled.len(), announced.len()), (ids.len(), ids.len()));
    for replica in replicas {
        replica.stop().await;
    }
}
