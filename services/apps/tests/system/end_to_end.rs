//! Order, inventory and notification together: what a customer sees.

use contract::Service;
use devcluster::mail::MailSink;

use crate::support::{PATIENCE, Realm, System, eventually, full_order, short_order};

async fn everything(realm: &Realm, sink: &MailSink) -> System {
    let mut config = realm.config("all");
    config.notification.smtp_url = Some(format!("smtp://{}", sink.address()).into());
    System::start(config, Service::ALL).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_in_stock_completes_and_the_customer_is_told() {
    let (realm, sink) = (Realm::create().await, MailSink::for_tests().unwrap());
    let system = everything(&realm, &sink).await;

    let accepted = system.post(&full_order()).await;
    let order = system.ended(&accepted.order_id()).await;

    assert_eq!(order["status"], "COMPLETED", "{order}");
    assert_eq!(order["steps"]["inventory"], "SUCCEEDED");
    let confirmed = sink.wait_for(PATIENCE, |mail| {
        mail.body().contains(&accepted.order_id()) && mail.content.contains("onfirm")
    });
    assert!(confirmed.is_some(), "{:?}", sink.mails());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_beyond_the_stock_is_cancelled_with_its_reason() {
    let (realm, sink) = (Realm::create().await, MailSink::for_tests().unwrap());
    let system = everything(&realm, &sink).await;

    let accepted = system.post(&short_order("john", "pizza", 51)).await;
    let order = system.ended(&accepted.order_id()).await;

    assert_eq!(
        (order["status"].as_str(), order["reason"].as_str()),
        (Some("CANCELLED"), Some("OUT_OF_STOCK"))
    );
    assert_eq!(order["steps"]["inventory"], "FAILED");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_orders_take_is_what_the_stock_loses() {
    let (realm, sink) = (Realm::create().await, MailSink::for_tests().unwrap());
    let system = everything(&realm, &sink).await;

    // 50 pizzas for 12 orders of 5: ten fit.
    let bodies: Vec<_> = (0..12).map(|n| short_order(&format!("user-{n}"), "pizza", 5)).collect();
    let posted = futures::future::join_all(bodies.iter().map(|body| system.post(body))).await;
    let mut completed = 0;
    for accepted in &posted {
        completed += usize::from(system.ended(&accepted.order_id()).await["status"] == "COMPLETED");
    }

    assert_eq!(completed, 10);
    let url = format!("{}/api/v1/inventory/pizza", system.http["inventory"]);
    eventually("all pizzas are sold", async || {
        let stock: serde_json::Value = system.client.get(&url).send().await.unwrap().json().await.unwrap();
        (stock["sold"] == 50 && stock["reserved"] == 0 && stock["available"] == 0).then_some(())
    })
    .await;
    system.stop().await;
}

/// Ingresses and HTTPRoutes lead where the roster says; what an API has elsewhere nobody outside would reach.
#[tokio::test(flavor = "multi_thread")]
async fn every_path_of_an_api_is_in_the_roster() {
    let (realm, sink) = (Realm::create().await, MailSink::for_tests().unwrap());
    let system = everything(&realm, &sink).await;

    for (name, url) in &system.http {
        let prefixes = name.parse::<Service>().unwrap().spec().api_paths;
        let url = format!("{url}/openapi.json");
        let document: serde_json::Value = system.client.get(url).send().await.unwrap().json().await.unwrap();
        let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();

        assert!(!paths.is_empty());
        for path in paths {
            let leads = |prefix: &&str| {
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            assert!(prefixes.iter().any(leads), "{name} has {path}, and the roster {prefixes:?}");
        }
    }
    assert_eq!(system.http.len(), Service::ALL.iter().filter(|service| service.spec().has_api()).count());
    system.stop().await;
}
