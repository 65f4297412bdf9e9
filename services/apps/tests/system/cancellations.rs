//! Cancellations that meet a payment where it is least expected; the test takes the other services' parts.

use std::time::Duration;

use contract::{
    CancelReason, Envelope, Event, InventoryReserved, OrderCancelled, OrderId, PaymentFailed, PaymentFailure,
    Service, Step,
};
use jiff::Timestamp;
use messaging::Messaging;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Realm, Spy, System, details, eventually};

/// The payment service, those that it hears, and all that is said.
struct Scene {
    system: System,
    order: Messaging,
    inventory: Messaging,
    spy: Spy,
    _realm: Realm,
}

impl Scene {
    async fn set() -> Self {
        let realm = Realm::create().await;
        let mut config = realm.config("payment");
        config.saga_steps = Step::ALL.to_vec();
        // No payment is given up here.
        config.payment.payment_budget = Duration::from_secs(3600);
        let (order, inventory) =
            (realm.messaging(Service::Order).await, realm.messaging(Service::Inventory).await);
        let spy = realm.spy(Service::Notification).await;
        let system = System::start(config, &[Service::Payment]).await;
        Self { system, order, inventory, spy, _realm: realm }
    }

    /// Twice: what arrives again changes nothing.
    async fn ask(&self, order_id: OrderId) {
        let (items, expires_at) = (Vec::new(), Timestamp::MAX);
        let event = InventoryReserved { order_id, items, expires_at, details: details() };
        publish(&self.inventory, event.into()).await;
    }

    async fn cancel(&self, order_id: OrderId) {
        let (reason, detail) = (CancelReason::StepTimedOut, String::new());
        publish(&self.order, OrderCancelled { order_id, details: details(), reason, detail }.into()).await;
    }

    async fn becomes(&self, order_id: OrderId, wanted: &str) {
        eventually(&format!("the payment is {wanted}"), async || {
            (self.system.payment_status(&order_id.to_string()).await == wanted).then_some(())
        })
        .await;
    }

    fn said(&self) -> Vec<Event> {
        let payments = |event: &Event| {
            matches!(event, Event::PaymentCaptured(_) | Event::PaymentFailed(_) | Event::PaymentRefunded(_))
        };
        self.spy.events(payments).into_iter().map(|envelope| envelope.event).collect()
    }
}

async fn publish(by: &Messaging, event: Event) {
    let envelope = Envelope::new(event, "req-1".parse().unwrap(), Timestamp::now());
    by.producer().publish(&[envelope.clone(), envelope]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_without_an_answer_is_taken_back_when_the_order_is_cancelled() {
    let scene = Scene::set().await;
    let (order, marker) = (OrderId::new(Uuid::now_v7()), OrderId::new(Uuid::now_v7()));
    // Half of the calls have their effect, and none is answered.
    scene.system.simulate("payment", json!({"failureRate": 1.0})).await;

    scene.ask(order).await;
    scene.becomes(order, "REQUESTED").await;
    scene.cancel(order).await;
    scene.becomes(order, "VOIDING").await;
    scene.system.simulate("payment", json!({})).await;
    scene.becomes(order, "VOIDED").await;
    // Behind it: once this one is heard of, all is said about the other.
    scene.ask(marker).await;
    let said = eventually("the marker is paid", async || {
        let said = scene.said();
        (!said.is_empty()).then_some(said)
    })
    .await;

    let paid: Vec<_> = said.iter().map(|event| (event.event_type(), event.order_id())).collect();
    assert_eq!(paid, [("PaymentCaptured", Some(marker))]);
    scene.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_after_its_cancellation_is_refused_once() {
    let scene = Scene::set().await;
    let (order, marker) = (OrderId::new(Uuid::now_v7()), OrderId::new(Uuid::now_v7()));

    scene.cancel(order).await;
    scene.becomes(order, "CANCELLED").await;
    scene.ask(order).await;
    scene.becomes(order, "FAILED").await;
    scene.ask(marker).await;
    scene.becomes(marker, "CAPTURED").await;

    let refusals = eventually("the refusal is told", async || {
        let failed = scene.said().into_iter().filter(|event| matches!(event, Event::PaymentFailed(_)));
        Some(failed.collect::<Vec<_>>()).filter(|failed| !failed.is_empty())
    })
    .await;
    let (reason, detail) = (PaymentFailure::OrderCancelled, "the order had been cancelled".to_owned());
    assert_eq!(refusals, [PaymentFailed { order_id: order, reason, detail }.into()]);
    scene.system.stop().await;
}
