//! Orders that wait for stock, with the inventory as a process that is killed, and with the real order service.

use std::time::Duration;

use contract::{CancelReason, OrderItem};
use contract::{Envelope, Event, InventoryReserved, OrderCancelled, OrderCreated, OrderId, Service};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::lifecycle::Binary;
use crate::support::{Realm, Spy, System, details, eventually, short_order};

fn envelope(event: impl Into<Event>) -> Envelope {
    Envelope::new(event.into(), "req-1".parse().unwrap(), Timestamp::now())
}

/// An order of two burgers.
fn created(order_id: OrderId) -> Envelope {
    let mut details = details();
    details.items =
        vec![OrderItem { product_id: "burger".parse().unwrap(), quantity: 2, unit_price_minor: 899 }];
    envelope(OrderCreated { order_id, details })
}

fn cancelled(order_id: OrderId) -> Envelope {
    let Event::OrderCreated(OrderCreated { details, .. }) = created(order_id).event else { unreachable!() };
    let (reason, detail) = (CancelReason::StepTimedOut, String::new());
    envelope(OrderCancelled { order_id, details, reason, detail })
}

/// An inventory without burgers, whose orders wait for them.
fn inventory(realm: &Realm) -> (Binary, String) {
    let binary = Binary::role(
        realm,
        "inventory",
        &[
            ("DATABASE_URL", &realm.database_url),
            ("INVENTORY_INITIAL_STOCK", "burger=0"),
            ("INVENTORY_BACKORDER_TIMEOUT", "10m"),
        ],
    );
    let address = binary.address("the inventory service is served");
    (binary, address)
}

async fn ask(method: reqwest::Method, url: &str, body: &Value) -> Value {
    let request = reqwest::Client::new().request(method, url).json(body);
    // The process may be starting.
    eventually("the inventory answers", async || {
        let answer = request.try_clone()?.send().await.ok()?;
        if answer.status().is_success() { answer.json().await.ok() } else { None }
    })
    .await
}

async fn backordered_become(inventory: &str, wanted: u64) {
    let url = format!("{inventory}/api/v1/inventory/burger");
    eventually(&format!("{wanted} units are waited for"), async || {
        let stock = ask(reqwest::Method::GET, &url, &Value::Null).await;
        (stock["backordered"] == wanted).then_some(())
    })
    .await;
}

fn served(spy: &Spy) -> Vec<OrderId> {
    let reserved = spy.events(|event| matches!(event, Event::InventoryReserved(_)));
    let order = |envelope: &Envelope| match &envelope.event {
        Event::InventoryReserved(InventoryReserved { order_id, .. }) => Some(*order_id),
        _ => None,
    };
    let mut orders: Vec<OrderId> = reserved.iter().filter_map(order).collect();
    orders.sort();
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn new_stock_goes_to_those_who_came_first_although_the_inventory_is_killed_in_between() {
    let realm = Realm::create().await;
    let (shop, spy) = (realm.messaging(Service::Order).await, realm.spy(Service::Notification).await);
    let orders: Vec<OrderId> = (0..4).map(|_| OrderId::new(Uuid::now_v7())).collect();
    let (first, address) = inventory(&realm);
    // One after the other: the topic has several partitions.
    for (order, waiting) in orders.iter().zip([2, 4, 6, 8]) {
        shop.producer().publish(&[created(*order)]).await.unwrap();
        backordered_become(&address, waiting).await;
    }
    shop.producer().publish(&[cancelled(orders[1])]).await.unwrap();
    backordered_become(&address, 6).await;

    first.signal("-KILL");
    let (second, address) = inventory(&realm);
    let restock = format!("{address}/api/v1/inventory/burger/restock");
    ask(reqwest::Method::POST, &restock, &json!({"quantity": 5})).await;
    // Killed while it serves, or before, or after: the next one looks.
    second.signal("-KILL");
    let (_third, address) = inventory(&realm);

    let reserved = eventually("two orders are served", async || {
        let served = served(&spy);
        (served.len() >= 2).then_some(served)
    })
    .await;
    backordered_become(&address, 2).await;
    assert_eq!(reserved, [orders[0], orders[2]]);
    let stock = ask(reqwest::Method::GET, &format!("{address}/api/v1/inventory/burger"), &Value::Null).await;
    let units = ["onHand", "reserved", "sold", "available"].map(|field| stock[field].as_u64().unwrap());
    assert_eq!(units, [1, 4, 0, 0], "the last unit is kept for the one who waits");
}

/// The order service and an inventory with one burger.
async fn orders_that_wait(realm: &Realm, timeout: Duration) -> System {
    let mut config = realm.config("all");
    config.inventory.inventory_initial_stock = "burger=1".parse().unwrap();
    config.inventory.inventory_backorder_timeout = timeout;
    // Nobody notifies here.
    config.order.saga_notification_timeout = Duration::from_millis(100);
    System::start(config, &[Service::Order, Service::Inventory]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_shows_that_it_waits_and_goes_on_when_there_is_stock() {
    let realm = Realm::create().await;
    let system = orders_that_wait(&realm, Duration::from_secs(600)).await;
    let step = async |order_id: &str| {
        let order = system.get(&format!("/api/v1/orders/{order_id}")).await.body;
        (order["status"].clone(), order["steps"]["inventory"].clone())
    };
    let waiting = (json!("PENDING"), json!("BACKORDERED"));

    let mut orders = Vec::new();
    for user in ["ada", "bob"] {
        let order_id = system.post(&short_order(user, "burger", 3)).await.order_id();
        eventually("the order waits", async || (step(&order_id).await == waiting).then_some(())).await;
        orders.push(order_id);
    }
    let restock = format!("{}/api/v1/inventory/burger/restock", system.http["inventory"]);
    ask(reqwest::Method::POST, &restock, &json!({"quantity": 3})).await;

    let served = system.ended(&orders[0]).await;
    assert_eq!(
        (&served["status"], &served["steps"]["inventory"]),
        (&json!("COMPLETED"), &json!("SUCCEEDED"))
    );
    assert_eq!(step(&orders[1]).await, waiting);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_waits_for_nothing_ends_with_the_reason() {
    let realm = Realm::create().await;
    let system = orders_that_wait(&realm, Duration::from_millis(1)).await;

    let order_id = system.post(&short_order("ada", "burger", 3)).await.order_id();
    let order = system.ended(&order_id).await;

    assert_eq!((&order["status"], &order["reason"]), (&json!("CANCELLED"), &json!("OUT_OF_STOCK")));
    assert_eq!(order["steps"]["inventory"], "FAILED", "it ended by the inventory's answer: {order}");
    system.stop().await;
}
