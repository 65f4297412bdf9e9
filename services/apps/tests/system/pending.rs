//! What a service is still to ask its provider for, as `<service>_pending` shows it.

use std::time::Duration;

use contract::Service;
use serde_json::json;

use crate::full_saga::full_but;
use crate::support::{Realm, System, eventually, short_order};

/// Waits until the gauge of `service` shows so many orders with each status.
async fn pending_becomes(system: &System, service: Service, wanted: &[(&str, u64)]) {
    let line = |(status, orders): &(&str, u64)| format!(r#"{service}_pending{{status="{status}"}} {orders}"#);
    let lines: Vec<String> = wanted.iter().map(line).collect();
    eventually(&format!("the metrics show {lines:?}"), async || {
        let metrics = system.metrics().await;
        lines.iter().all(|wanted| metrics.lines().any(|line| line == wanted)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_is_still_to_be_asked_for_shows_until_it_is_done() {
    let realm = Realm::create().await;
    // Nothing is given up meanwhile, however slow the machine is.
    let system = full_but(&realm, |config| {
        config.order.saga_step_timeout = Duration::from_secs(900);
        config.payment.payment_budget = Duration::from_secs(600);
        config.shipping.shipping_budget = Duration::from_secs(600);
    })
    .await;
    let (payment, shipping) = (Service::Payment, Service::Shipping);
    let (down, up) = (json!({"outage": true}), json!({}));
    pending_becomes(&system, payment, &[("REQUESTED", 0), ("REFUNDING", 0), ("VOIDING", 0)]).await;
    let nothing = [("REQUESTED", 0), ("DISPATCHED", 0), ("RECALLING", 0), ("VOIDING", 0)];
    pending_becomes(&system, shipping, &nothing).await;

    system.simulate("payment", down.clone()).await;
    let mut orders = Vec::new();
    // No carrier goes to the second one.
    for user in ["ada", "remote-bob"] {
        orders.push(system.post(&short_order(user, "burger", 1)).await.order_id());
    }
    pending_becomes(&system, payment, &[("REQUESTED", 2)]).await;

    system.simulate("shipping", down.clone()).await;
    system.simulate("payment", up.clone()).await;
    pending_becomes(&system, shipping, &[("REQUESTED", 2)]).await;
    pending_becomes(&system, payment, &[("REQUESTED", 0)]).await;

    system.simulate("payment", down).await;
    system.simulate("shipping", json!({"refusedCustomers": "remote-"})).await;
    pending_becomes(&system, payment, &[("REFUNDING", 1)]).await;
    pending_becomes(&system, shipping, &nothing).await;

    system.simulate("payment", up).await;
    pending_becomes(&system, payment, &[("REQUESTED", 0), ("REFUNDING", 0), ("VOIDING", 0)]).await;
    assert_eq!(system.ended(&orders[0]).await["status"], "COMPLETED");
    assert_eq!(system.ended(&orders[1]).await["reason"], "NOT_SHIPPABLE");
    system.stop().await;
}
