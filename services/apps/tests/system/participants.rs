//! Inventory and notification, each alone: the test takes the order service's part.

use std::time::Duration;

use contract::{
    Channel, ChannelOutcome, Envelope, Event, NotificationSent, OrderConfirmed, OrderCreated, OrderId,
    ReleaseReason, Service,
};
use devcluster::mail::MailSink;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{PATIENCE, Realm, Spy, System, details, eventually};

fn envelope(event: impl Into<Event>) -> Envelope {
    Envelope::new(event.into(), "req-1".parse().unwrap(), Timestamp::now())
}

fn created(order_id: OrderId) -> Envelope {
    envelope(OrderCreated { order_id, details: details() })
}

fn confirmed(order_id: OrderId) -> Envelope {
    envelope(OrderConfirmed { order_id, details: details() })
}

async fn burgers(system: &System) -> Value {
    let url = format!("{}/api/v1/inventory/burger", system.http["inventory"]);
    system.client.get(&url).send().await.unwrap().json().await.unwrap()
}

async fn seen(spy: &Spy, what: &str, wanted: impl Fn(&Event) -> bool) -> Envelope {
    eventually(what, async || spy.events(&wanted).into_iter().next()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_reserved_once_however_often_the_event_comes_and_sold_on_confirmation() {
    let realm = Realm::create().await;
    let (shop, spy) = (realm.messaging(Service::Order).await, realm.spy(Service::Notification).await);
    let system = System::start(realm.config("inventory"), &[Service::Inventory]).await;
    let order_id = OrderId::new(Uuid::now_v7());
    let order = created(order_id);

    shop.producer().publish(&[order.clone(), order.clone(), order.clone()]).await.unwrap();
    let is_reserved =
        |event: &Event| matches!(event, Event::InventoryReserved(it) if it.order_id == order_id);
    let reserved = seen(&spy, "the reservation", is_reserved).await;
    assert_eq!((reserved.causation_id, reserved.correlation_id.as_str()), (Some(order.event_id), "req-1"));
    let stock = burgers(&system).await;
    assert_eq!((&stock["onHand"], &stock["reserved"]), (&96.into(), &4.into()));

    shop.producer().publish(&[confirmed(order_id), order]).await.unwrap();
    let is_sold =
        |event: &Event| matches!(event, Event::InventoryUpdated(it) if it.sold == 4 && it.reserved == 0);
    seen(&spy, "the sale", is_sold).await;

    let stock = burgers(&system).await;
    assert_eq!((&stock["onHand"], &stock["reserved"], &stock["sold"]), (&96.into(), &0.into(), &4.into()));
    assert_eq!(spy.events(is_reserved).len(), 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_is_held_for_nobody_is_given_back() {
    let realm = Realm::create().await;
    let (shop, spy) = (realm.messaging(Service::Order).await, realm.spy(Service::Notification).await);
    let mut config = realm.config("inventory");
    config.inventory.inventory_reservation_ttl = Duration::from_millis(1);
    let system = System::start(config, &[Service::Inventory]).await;

    shop.producer().publish(&[created(OrderId::new(Uuid::now_v7()))]).await.unwrap();

    let is_expired =
        |event: &Event| matches!(event, Event::InventoryReleased(it) if it.reason == ReleaseReason::Expired);
    let released = seen(&spy, "the reservation to expire", is_expired).await;
    assert_eq!(released.correlation_id.as_str(), "req-1");
    assert_eq!(burgers(&system).await["onHand"], 100);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_told_once_across_redeliveries_and_restarts() {
    let (realm, sink) = (Realm::create().await, MailSink::for_tests().unwrap());
    let (shop, spy) = (realm.messaging(Service::Order).await, realm.spy(Service::Inventory).await);
    let mut config = realm.config("notification");
    config.notification.smtp_url = Some(format!("smtp://{}", sink.address()).into());
    let order_id = OrderId::new(Uuid::now_v7());
    let order = created(order_id);
    let is_told = |event: &Event| matches!(event, Event::NotificationSent(it) if it.order_id == order_id);

    for _ in 0..2 {
        let system = System::start(config.clone(), &[Service::Notification]).await;
        // The second event comes after the first one's copies and shows that they were passed.
        let after = created(OrderId::new(Uuid::now_v7()));
        let after_id = after.event.key();
        shop.producer().publish(&[order.clone(), order.clone(), after]).await.unwrap();
        let named = |mail: &devcluster::mail::Mail| mail.content.contains(&after_id);
        assert!(sink.wait_for(PATIENCE, named).is_some());
        seen(&spy, "the customer to be told", is_told).await;
        system.stop().await;
    }

    let [told] = spy.events(is_told).try_into().unwrap();
    let Event::NotificationSent(NotificationSent { channels, .. }) = &told.event else { panic!("{told:?}") };
    let outcomes: Vec<_> = channels.iter().map(|result| (result.channel, result.outcome)).collect();
    assert_eq!(outcomes, [(Channel::Email, ChannelOutcome::Sent), (Channel::Sms, ChannelOutcome::Skipped)]);
    let id = format!("<{order_id}.created@example.com>");
    assert_eq!(sink.mails().iter().filter(|mail| mail.header("Message-ID").as_ref() == Some(&id)).count(), 1);
}
