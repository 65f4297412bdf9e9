//! One service as two processes: its API, and what happens to events.

use clap::Parser;
use contract::Service;
use orders::config::{Cli, Command};
use reqwest::Client;
use serde_json::Value;

use crate::lifecycle::Binary;
use crate::support::{Realm, System, eventually, full_order, short_order};

/// The order service's processes, with all that an order needs beside them.
struct Apart {
    realm: Realm,
    client: Client,
    others: System,
}

impl Apart {
    async fn new() -> Self {
        let realm = Realm::create().await;
        let others =
            System::start(realm.config("all"), &[Service::Inventory, Service::Payment, Service::Shipping])
                .await;
        Self { realm, client: Client::new(), others }
    }

    fn process(&self, parts: &str) -> Binary {
        let variables = [
            ("PARTS", parts),
            ("DATABASE_URL", self.realm.database_url.as_str()),
            ("SAGA_NOTIFICATION_TIMEOUT", "1s"),
            ("DRAIN_DELAY", "0s"),
        ];
        Binary::role(&self.realm, "order", &variables)
    }

    async fn until_ready(&self, admin: &str) -> String {
        eventually("the process is ready", async || {
            let answer = self.client.get(format!("{admin}/readyz")).send().await.ok()?;
            if answer.status().is_success() { answer.text().await.ok() } else { None }
        })
        .await
    }

    async fn post(&self, http: &str, order: &Value) -> String {
        let answer = self.client.post(format!("{http}/api/v1/orders")).json(order).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 202);
        let accepted: Value = answer.json().await.unwrap();
        accepted["orderId"].as_str().unwrap().to_owned()
    }

    async fn ended(&self, http: &str, id: &str) -> Value {
        let url = format!("{http}/api/v1/orders/{id}?wait=20s");
        eventually("the order has ended", async || {
            let order: Value = self.client.get(&url).send().await.unwrap().json().await.unwrap();
            matches!(order["status"].as_str(), Some("COMPLETED" | "CANCELLED")).then_some(order)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_comes_to_its_end_though_its_service_is_two_processes() {
    let apart = Apart::new().await;
    let (api, events) = (apart.process("api"), apart.process("events"));
    let api_admin = api.address("probes and metrics");
    let http = api.address("the order service is served");
    let ready = apart.until_ready(&api_admin).await;
    let events_ready = apart.until_ready(&events.address("probes and metrics")).await;

    let accepted = apart.post(&http, &full_order()).await;
    let refused = apart.post(&http, &short_order("john", "pizza", 51)).await;

    assert_eq!(apart.ended(&http, &accepted).await["status"], "COMPLETED");
    assert_eq!(apart.ended(&http, &refused).await["reason"], "OUT_OF_STOCK");
    // Each says how it is itself: whoever answers requests does not depend on Kafka.
    assert!(
        !ready.contains("order.consumer") && events_ready.contains("order.consumer"),
        "{ready} {events_ready}"
    );
    for process in [api, events] {
        process.signal("-TERM");
        let lines = process.log_until("the process has stopped");
        assert!(lines.iter().all(|line| line["level"] != "ERROR"), "{lines:#?}");
        assert!(process.wait().await.success());
    }
    apart.others.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_taken_while_nothing_happens_to_events_and_proceed_afterwards() {
    let apart = Apart::new().await;
    let api = apart.process("api");
    let http = api.address("the order service is served");

    let accepted = apart.post(&http, &full_order()).await;
    let url = format!("{http}/api/v1/orders/{accepted}?wait=1s");
    let waiting: Value = apart.client.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(waiting["status"], "PENDING");

    // A long poll is under way when the other process ends the order.
    let ended = apart.ended(&http, &accepted);
    let (order, _events) = tokio::join!(ended, async { apart.process("events") });

    assert_eq!(order["status"], "COMPLETED", "{order}");
    apart.others.stop().await;
}

#[test]
fn a_service_without_an_api_has_no_parts() {
    let said = ["orders", "notification", "--kafka-bootstrap-servers", "kafka:9092", "--parts", "events"];
    let Command::Notification(config) = Cli::try_parse_from(said).unwrap().command else { panic!() };

    let error = config.validate(&[Service::Notification]).unwrap_err().to_string();

    assert!(error.starts_with("PARTS must be all: the notification service has no API"), "{error}");
}
