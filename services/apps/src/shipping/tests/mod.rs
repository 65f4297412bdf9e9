//! The shipping service against a real database, and a carrier that behaves as a test says.

use std::time::Duration;

use contract::{
    CancelReason, Currency, Event, Money, OrderCancelled, OrderConfirmed, OrderId, PaymentCaptured,
    PaymentId, Service, ShippingFailed, ShippingFailure, Step,
};
use devcluster::testing::postgres;
use jiff::Timestamp;
use messaging::Messaging;
use prometheus::Registry;
use sqlx::PgPool;
use tokio::sync::mpsc::Receiver;
use uuid::Uuid;

use super::carrier::SimulatedCarrier;
use super::clerk::ShippingClerk;
use super::handler::ShippingHandler;
use super::store;
use super::{Role, Shipping};
use crate::provider::desk::{Desk, NewsCounter};
use crate::provider::gate::Gate;
use crate::provider::record::Task;
use crate::provider::simulator::{Conduct, Simulator};
use crate::provider::worker::{Handover, LEASE};
use crate::testing::{details, new_order, nowhere};

/// One test's shipping service, whose worker runs when the test says.
struct Yard {
    pool: PgPool,
    handler: ShippingHandler,
    desk: Desk<ShippingClerk<SimulatedCarrier>>,
    simulator: Simulator,
    _handed_over: Receiver<Vec<Task<store::Shipment>>>,
}

impl Yard {
    async fn open(transit: Duration) -> Self {
        let url = tokio::task::block_in_place(|| postgres().create_database("shipping"));
        let pool = PgPool::connect(&url).await.unwrap();
        messaging::migrate(&pool).await.unwrap();
        Shipping::migrations().run(&pool).await.unwrap();
        let registry = Registry::new();
        let metrics = messaging::Metrics::register(&registry).unwrap();
        let messaging = Messaging::new(nowhere(), Service::Shipping, pool.clone(), &metrics).unwrap();
        let news = NewsCounter::register("news_total", "What was told.", &registry).unwrap();
        let simulator = Simulator::default();
        let desk = Desk {
            pool: pool.clone(),
            outbox: messaging.outbox().clone(),
            clerk: ShippingClerk(SimulatedCarrier::new(simulator.clone())),
            gate: Gate::register("shipping", &registry).unwrap(),
            budget: Duration::from_secs(3600),
            news: news.clone(),
        };
        let (handover, handed_over) = Handover::new();
        let handler = ShippingHandler::new(handover, transit, news);
        Self { pool, handler, desk, simulator, _handed_over: handed_over }
    }

    /// Hands over `events` in one batch, and returns what was emitted.
    async fn react(&self, events: &[Event]) -> Vec<Event> {
        let outgoing = crate::testing::react(&self.handler, &self.pool, events).await.unwrap();
        outgoing.into_iter().map(|envelope| envelope.event).collect()
    }

    /// What the worker has to do when every lease and every wait is over.
    async fn due(&self) -> Vec<Task<store::Shipment>> {
        let later = Timestamp::now() + LEASE * 2;
        self.desk.take(later, later, 100).await.unwrap()
    }

    /// Asks the carrier for everything, and saves its answers.
    async fn work(&self) {
        let mut reports = Vec::new();
        for task in self.due().await {
            reports.push(self.desk.attempt(task).await);
        }
        self.desk.finish(reports).await.unwrap();
    }

    async fn status(&self, order: OrderId) -> String {
        sqlx::query_scalar("SELECT status FROM shipments WHERE order_id = $1")
            .bind(order.as_uuid())
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// The topics of what waits in the outbox; each test has one order, whose events are in order.
    async fn told(&self) -> Vec<&'static str> {
        let mut conn = self.pool.acquire().await.unwrap();
        let pending = self.desk.outbox.pending(&mut conn).await.unwrap();
        pending.into_iter().map(|envelope| envelope.event.topic().name()).collect()
    }
}

fn asked_by(order_id: OrderId, customer: &str) -> Event {
    let (payment_id, amount) = (PaymentId::new(Uuid::now_v7()), Money::new(899, Currency::USD));
    PaymentCaptured { order_id, payment_id, amount, details: details(customer, Vec::new()) }.into()
}

fn confirmed(order_id: OrderId) -> Event {
    OrderConfirmed { order_id, details: details("ada", Vec::new()) }.into()
}

fn asked(order_id: OrderId) -> Event {
    asked_by(order_id, "ada")
}

fn cancelled(order_id: OrderId) -> Event {
    let (reason, detail) = (CancelReason::StepTimedOut, String::new());
    OrderCancelled { order_id, details: details("ada", Vec::new()), reason, detail }.into()
}

/// Longer than the test's worker looks ahead.
const FAR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_parcel_is_booked_once_leaves_on_confirmation_and_arrives_after_its_way() {
    let yard = Yard::open(Duration::from_secs(1)).await;
    let order = new_order();

    yard.react(&[asked(order), asked(order)]).await;
    yard.work().await;
    yard.work().await;
    assert_eq!(yard.status(order).await, "SCHEDULED");
    assert_eq!(yard.react(&[confirmed(order), confirmed(order)]).await, []);
    assert_eq!(yard.status(order).await, "DISPATCHED");
    yard.work().await;
    yard.react(&[confirmed(order), asked(order), cancelled(order)]).await;
    yard.work().await;

    assert_eq!(yard.status(order).await, "DELIVERED");
    assert_eq!(yard.told().await, ["shipping.scheduled", "shipping.delivered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parcel_is_not_there_before_its_way_is_over() {
    let yard = Yard::open(FAR).await;
    let order = new_order();
    yard.react(&[asked(order)]).await;
    yard.work().await;

    yard.react(&[confirmed(order)]).await;
    yard.work().await;

    assert_eq!(yard.status(order).await, "DISPATCHED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parcel_without_a_way_arrives_as_it_leaves() {
    let yard = Yard::open(Duration::ZERO).await;
    let order = new_order();
    yard.react(&[asked(order)]).await;
    yard.work().await;

    let told = yard.react(&[confirmed(order)]).await;
    let told_again = yard.react(&[confirmed(order)]).await;

    assert!(matches!(told[..], [Event::ShippingDelivered(_)]), "{told:?}");
    assert_eq!(told_again, []);
    assert_eq!(yard.status(order).await, "DELIVERED");
    assert!(yard.due().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_parcel_fails_with_the_reason() {
    let yard = Yard::open(FAR).await;
    let order = new_order();

    yard.react(&[asked_by(order, "refused-ada")]).await;
    yard.work().await;

    assert_eq!(yard.status(order).await, "FAILED");
    assert_eq!(yard.told().await, ["shipping.failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_has_its_booking_taken_back_once() {
    let yard = Yard::open(FAR).await;
    let order = new_order();
    yard.react(&[asked(order)]).await;
    yard.work().await;

    yard.react(&[cancelled(order)]).await;
    yard.work().await;
    yard.react(&[cancelled(order), asked(order)]).await;
    yard.work().await;

    assert_eq!(yard.status(order).await, "RECALLED");
    assert_eq!(yard.told().await, ["shipping.scheduled", "shipping.cancelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_after_the_cancellation_is_refused_once() {
    let yard = Yard::open(FAR).await;
    let order = new_order();

    assert_eq!(yard.react(&[cancelled(order)]).await, []);
    let told = yard.react(&[asked(order)]).await;
    let told_again = yard.react(&[asked(order), cancelled(order)]).await;

    let (reason, detail) = (ShippingFailure::OrderCancelled, "the order had been cancelled".to_owned());
    assert_eq!(told, [ShippingFailed { order_id: order, reason, detail }.into()]);
    assert_eq!(told_again, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_answers_after_the_cancellation_is_taken_back() {
    let yard = Yard::open(FAR).await;
    let order = new_order();
    yard.react(&[asked(order)]).await;
    let [under_way] = yard.due().await.try_into().unwrap();
    let report = yard.desk.attempt(under_way).await;

    yard.react(&[cancelled(order)]).await;
    yard.desk.finish(vec![report]).await.unwrap();
    yard.work().await;

    assert_eq!(yard.status(order).await, "VOIDED");
    assert_eq!(yard.told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_answers_that_come_together_one_counts_and_is_told() {
    for booked_first in [true, false] {
        let mut yard = Yard::open(FAR).await;
        yard.desk.budget = Duration::ZERO;
        let order = new_order();
        yard.react(&[asked(order)]).await;
        // Two workers have it: the lease of the first was over.
        let ([first], [second]) =
            (yard.due().await.try_into().unwrap(), yard.due().await.try_into().unwrap());
        let booked = yard.desk.attempt(first).await;
        yard.simulator.behave(Conduct { outage: true, ..Conduct::default() });
        let given_up = yard.desk.attempt(second).await;
        yard.simulator.behave(Conduct::default());

        let both = if booked_first { vec![booked, given_up] } else { vec![given_up, booked] };
        yard.desk.finish(both).await.unwrap();
        yard.react(&[cancelled(order)]).await;
        yard.work().await;

        let (status, told) = (yard.status(order).await, yard.told().await);
        if booked_first {
            assert_eq!((&*status, told), ("RECALLED", vec!["shipping.scheduled", "shipping.cancelled"]));
        } else {
            assert_eq!((&*status, told), ("VOIDED", vec!["shipping.failed"]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shipped_of_an_order_from_before_the_pipeline_had_this_step() {
    let yard = Yard::open(Duration::ZERO).await;
    let mut details = details("ada", Vec::new());
    details.steps = Some(vec![Step::Inventory]);

    let told = yard.react(&[OrderConfirmed { order_id: new_order(), details }.into()]).await;

    assert_eq!(told, []);
    assert!(yard.due().await.is_empty());
}
