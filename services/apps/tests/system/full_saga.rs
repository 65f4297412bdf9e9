//! Orders that go through all three steps, with every service real: money, parcel and stock in one story.

use std::time::Duration;

use contract::{Event, Service, Step};
use orders::config::Config;
use serde_json::{Value, json};

use crate::support::{Realm, System, eventually, short_order};

/// Every step in the saga, and every service but the notification's, whose place is the spy's.
async fn full(realm: &Realm) -> System {
    full_but(realm, |_| {}).await
}

/// The same, configured otherwise.
pub(crate) async fn full_but(realm: &Realm, change: impl FnOnce(&mut Config)) -> System {
    let mut config = realm.config("all");
    config.saga_steps = Step::ALL.to_vec();
    config.shipping.shipping_transit = Duration::ZERO;
    change(&mut config);
    System::start(config, &[Service::Order, Service::Inventory, Service::Payment, Service::Shipping]).await
}

impl System {
    async fn of(&self, service: &str, path: &str) -> Value {
        let url = format!("{}{path}", self.http[service]);
        self.client.get(&url).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn payment_status(&self, order_id: &str) -> String {
        text(&self.of("payment", &format!("/api/v1/payments/{order_id}")).await["status"])
    }

    async fn shipment_status(&self, order_id: &str) -> String {
        text(&self.of("shipping", &format!("/api/v1/shipments/{order_id}")).await["status"])
    }

    pub(crate) async fn simulate(&self, service: &str, conduct: Value) {
        let url = format!("{}/simulator/{service}", self.admin);
        let answer = self.client.put(&url).body(conduct.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    async fn burgers_become(&self, on_hand: u64, reserved: u64, sold: u64) {
        let wanted = [on_hand, reserved, sold];
        eventually(&format!("on hand, reserved and sold are {wanted:?}"), async || {
            let stock = self.of("inventory", "/api/v1/inventory/burger").await;
            (["onHand", "reserved", "sold"].map(|field| stock[field].as_u64().unwrap()) == wanted)
                .then_some(())
        })
        .await;
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_reserved_paid_shipped_and_completed_when_it_arrives() {
    let realm = Realm::create().await;
    let (system, spy) = (full(&realm).await, realm.spy(Service::Notification).await);

    let order_id = system.post(&short_order("ada", "burger", 2)).await.order_id();
    let order = system.ended(&order_id).await;

    assert_eq!(order["status"], "COMPLETED", "{order}");
    for step in ["inventory", "payment", "shipping"] {
        assert_eq!(order["steps"][step], "SUCCEEDED", "{order}");
    }
    assert_eq!(system.payment_status(&order_id).await, "CAPTURED");
    assert_eq!(system.shipment_status(&order_id).await, "DELIVERED");
    system.burgers_become(98, 0, 2).await;
    let types = spy.types_of(&order_id, 7).await;
    for once in
        ["PaymentCaptured", "ShippingScheduled", "OrderConfirmed", "ShippingDelivered", "OrderCompleted"]
    {
        assert_eq!(types.get(once), Some(&1), "{once}: {types:?}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_payment_cancels_the_order_and_its_stock_is_free_again() {
    let realm = Realm::create().await;
    let system = full(&realm).await;

    let order_id = system.post(&short_order("refused-ada", "burger", 2)).await.order_id();
    let order = system.ended(&order_id).await;

    assert_eq!((&order["status"], &order["reason"]), (&json!("CANCELLED"), &json!("PAYMENT_DECLINED")));
    assert_eq!(system.payment_status(&order_id).await, "FAILED");
    system.burgers_become(100, 0, 0).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parcel_that_no_carrier_takes_costs_nothing() {
    let realm = Realm::create().await;
    let (system, spy) = (full(&realm).await, realm.spy(Service::Notification).await);

    let order_id = system.post(&short_order("remote-ada", "burger", 2)).await.order_id();
    let order = system.ended(&order_id).await;

    assert_eq!((&order["status"], &order["reason"]), (&json!("CANCELLED"), &json!("NOT_SHIPPABLE")));
    eventually("the money went back", async || {
        (system.payment_status(&order_id).await == "REFUNDED").then_some(())
    })
    .await;
    system.burgers_become(100, 0, 0).await;
    eventually("the refund is announced", async || {
        let refunded = spy.events(|event| matches!(event, Event::PaymentRefunded(_)));
        (refunded.len() == 1).then_some(())
    })
    .await;
    system.stop().await;
}

/// Takes the provider of `service` away until its breaker opens, while twenty orders want it.
async fn outage_of(service: &str) {
    let realm = Realm::create().await;
    let system = full(&realm).await;
    system.simulate(service, json!({"outage": true})).await;

    let bodies: Vec<_> = (0..20).map(|n| short_order(&format!("user-{n}"), "burger", 1)).collect();
    let posted = futures::future::join_all(bodies.iter().map(|body| system.post(body))).await;
    eventually("the breaker opens", async || {
        let open = format!(r#"{service}_provider_breaker{{state="open"}} 1"#);
        system.metrics().await.contains(&open).then_some(())
    })
    .await;
    system.simulate(service, json!({})).await;

    for accepted in &posted {
        let order = system.ended(&accepted.order_id()).await;
        assert_eq!(order["status"], "COMPLETED", "{order}");
    }
    system.burgers_become(80, 0, 20).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_provider_opens_the_breaker_and_costs_no_order() {
    outage_of("payment").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_carrier_opens_the_breaker_and_costs_no_order() {
    outage_of("shipping").await;
}
