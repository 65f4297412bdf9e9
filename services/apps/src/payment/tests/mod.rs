//! The payment service against a real database, and a provider that behaves as a test says.

use std::time::Duration;

use contract::{
    CancelReason, Event, InventoryReserved, OrderCancelled, OrderId, PaymentFailed, PaymentFailure, Service,
    Step,
};
use devcluster::testing::postgres;
use jiff::Timestamp;
use messaging::Messaging;
use prometheus::Registry;
use sqlx::PgPool;
use tokio::sync::mpsc::Receiver;

use super::clerk::PaymentClerk;
use super::handler::PaymentHandler;
use super::provider::SimulatedProvider;
use super::store;
use super::{Payment, Role};
use crate::provider::desk::{Desk, NewsCounter};
use crate::provider::gate::Gate;
use crate::provider::record::Task;
use crate::provider::simulator::{Conduct, Simulator};
use crate::provider::worker::{Handover, LEASE};
use crate::testing::{details, new_order, nowhere};

/// One test's payment service, whose worker runs when the test says.
struct Till {
    pool: PgPool,
    handler: PaymentHandler,
    desk: Desk<PaymentClerk<SimulatedProvider>>,
    simulator: Simulator,
    _handed_over: Receiver<Vec<Task<store::Payment>>>,
}

impl Till {
    async fn open() -> Self {
        let url = tokio::task::block_in_place(|| postgres().create_database("payment"));
        let pool = PgPool::connect(&url).await.unwrap();
        messaging::migrate(&pool).await.unwrap();
        Payment::migrations().run(&pool).await.unwrap();
        let registry = Registry::new();
        let metrics = messaging::Metrics::register(&registry).unwrap();
        let messaging = Messaging::new(nowhere(), Service::Payment, pool.clone(), &metrics).unwrap();
        let news = NewsCounter::register("news_total", "What was told.", &registry).unwrap();
        let simulator = Simulator::default();
        let desk = Desk {
            pool: pool.clone(),
            outbox: messaging.outbox().clone(),
            clerk: PaymentClerk(SimulatedProvider::new(simulator.clone())),
            gate: Gate::register("payment", &registry).unwrap(),
            budget: Duration::from_secs(3600),
            news: news.clone(),
        };
        let (handover, handed_over) = Handover::new();
        let handler = PaymentHandler::new(handover, news);
        Self { pool, handler, desk, simulator, _handed_over: handed_over }
    }

    /// Hands over `events` in one batch, and returns what was emitted.
    async fn react(&self, events: &[Event]) -> Vec<Event> {
        let outgoing = crate::testing::react(&self.handler, &self.pool, events).await.unwrap();
        outgoing.into_iter().map(|envelope| envelope.event).collect()
    }

    /// What the worker has to do when every lease and every wait is over.
    async fn due(&self) -> Vec<Task<store::Payment>> {
        let later = Timestamp::now() + LEASE * 2;
        self.desk.take(later, later, 100).await.unwrap()
    }

    /// Asks the provider for everything, and saves its answers.
    async fn work(&self) {
        let mut reports = Vec::new();
        for task in self.due().await {
            reports.push(self.desk.attempt(task).await);
        }
        self.desk.finish(reports).await.unwrap();
    }

    async fn status(&self, order: OrderId) -> String {
        sqlx::query_scalar("SELECT status FROM payments WHERE order_id = $1")
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
    let (items, expires_at) = (Vec::new(), Timestamp::MAX);
    InventoryReserved { order_id, items, expires_at, details: details(customer, Vec::new()) }.into()
}

fn asked(order_id: OrderId) -> Event {
    asked_by(order_id, "ada")
}

fn cancelled(order_id: OrderId) -> Event {
    let (reason, detail) = (CancelReason::StepTimedOut, String::new());
    OrderCancelled { order_id, details: details("ada", Vec::new()), reason, detail }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_captured_once_however_often_it_is_asked_for() {
    let till = Till::open().await;
    let order = new_order();

    assert_eq!(till.react(&[asked(order), asked(order)]).await, []);
    assert_eq!(till.react(&[asked(order)]).await, []);
    till.work().await;
    assert_eq!(till.react(&[asked(order)]).await, []);
    till.work().await;

    assert_eq!(till.status(order).await, "CAPTURED");
    assert_eq!(till.told().await, ["payments.captured"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_customer_fails_with_the_reason() {
    let till = Till::open().await;
    let order = new_order();

    till.react(&[asked_by(order, "refused-ada")]).await;
    till.work().await;

    assert_eq!(till.status(order).await, "FAILED");
    assert_eq!(till.told().await, ["payments.failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_gets_its_money_back_once() {
    let till = Till::open().await;
    let order = new_order();
    till.react(&[asked(order)]).await;
    till.work().await;

    till.react(&[cancelled(order)]).await;
    till.work().await;
    till.react(&[cancelled(order), asked(order)]).await;
    till.work().await;

    assert_eq!(till.status(order).await, "REFUNDED");
    assert_eq!(till.told().await, ["payments.captured", "payments.refunded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_after_the_cancellation_is_refused_once() {
    let till = Till::open().await;
    let order = new_order();

    assert_eq!(till.react(&[cancelled(order)]).await, []);
    let told = till.react(&[asked(order)]).await;
    let told_again = till.react(&[asked(order), cancelled(order)]).await;
    till.work().await;

    let (reason, detail) = (PaymentFailure::OrderCancelled, "the order had been cancelled".to_owned());
    assert_eq!(told, [PaymentFailed { order_id: order, reason, detail }.into()]);
    assert_eq!(told_again, []);
    assert_eq!(till.status(order).await, "FAILED");
    assert_eq!(till.told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_answers_after_the_cancellation_is_taken_back() {
    let till = Till::open().await;
    let order = new_order();
    till.react(&[asked(order)]).await;
    let [under_way] = till.due().await.try_into().unwrap();
    let report = till.desk.attempt(under_way).await;

    till.react(&[cancelled(order)]).await;
    till.desk.finish(vec![report]).await.unwrap();
    assert_eq!(till.status(order).await, "VOIDING");
    till.work().await;

    assert_eq!(till.status(order).await, "VOIDED");
    assert_eq!(till.told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_answers_that_come_together_one_counts_and_is_told() {
    for captured_first in [true, false] {
        let mut till = Till::open().await;
        till.desk.budget = Duration::ZERO;
        let order = new_order();
        till.react(&[asked(order)]).await;
        // Two workers have it: the lease of the first was over.
        let ([first], [second]) =
            (till.due().await.try_into().unwrap(), till.due().await.try_into().unwrap());
        let captured = till.desk.attempt(first).await;
        till.simulator.behave(Conduct { outage: true, ..Conduct::default() });
        let given_up = till.desk.attempt(second).await;
        till.simulator.behave(Conduct::default());

        let both = if captured_first { vec![captured, given_up] } else { vec![given_up, captured] };
        till.desk.finish(both).await.unwrap();
        till.react(&[cancelled(order)]).await;
        till.work().await;

        let (status, told) = (till.status(order).await, till.told().await);
        if captured_first {
            assert_eq!((&*status, told), ("REFUNDED", vec!["payments.captured", "payments.refunded"]));
        } else {
            assert_eq!((&*status, told), ("VOIDED", vec!["payments.failed"]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_asked_for_again_and_a_refund_until_it_is_done() {
    let till = Till::open().await;
    let order = new_order();
    let outage = Conduct { outage: true, ..Conduct::default() };

    till.simulator.behave(outage.clone());
    till.react(&[asked(order)]).await;
    till.work().await;
    till.work().await;
    assert_eq!(till.status(order).await, "REQUESTED");
    till.simulator.behave(Conduct::default());
    till.work().await;
    assert_eq!(till.status(order).await, "CAPTURED");

    till.simulator.behave(outage);
    till.react(&[cancelled(order)]).await;
    till.work().await;
    till.work().await;
    assert_eq!(till.status(order).await, "REFUNDING");
    till.simulator.behave(Conduct::default());
    till.work().await;

    assert_eq!(till.status(order).await, "REFUNDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_without_an_answer_in_time_fails_and_whatever_was_captured_goes_back() {
    let mut till = Till::open().await;
    till.desk.budget = Duration::ZERO;
    let order = new_order();
    till.simulator.behave(Conduct { outage: true, ..Conduct::default() });
    till.react(&[asked(order)]).await;

    till.work().await;
    assert_eq!(till.status(order).await, "VOIDING");
    assert_eq!(till.told().await, ["payments.failed"]);
    till.simulator.behave(Conduct::default());
    till.react(&[cancelled(order)]).await;
    till.work().await;

    assert_eq!(till.status(order).await, "VOIDED");
    assert_eq!(till.told().await, ["payments.failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_pays_for_an_order_from_before_the_pipeline_had_this_step() {
    let till = Till::open().await;
    let (order_id, mut details) = (new_order(), details("ada", Vec::new()));
    details.steps = Some(vec![Step::Inventory]);
    let reserved = InventoryReserved {
        order_id,
        items: Vec::new(),
        expires_at: Timestamp::MAX,
        details: details.clone(),
    };
    let (reason, detail) = (CancelReason::StepTimedOut, String::new());
    let cancelled = OrderCancelled { order_id, details, reason, detail };

    assert_eq!(till.react(&[reserved.into(), cancelled.into()]).await, []);

    assert!(till.due().await.is_empty());
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM payments").fetch_one(&till.pool).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_cannot_be_read_keeps_no_other_waiting() {
    let till = Till::open().await;
    let (spoilt, sound) = (new_order(), new_order());
    till.react(&[asked(spoilt), asked(sound)]).await;
    sqlx::query("UPDATE payments SET cause = '\\x00' WHERE order_id = $1")
        .bind(spoilt.as_uuid())
        .execute(&till.pool)
        .await
        .unwrap();

    till.work().await;

    assert_eq!(
        (till.status(spoilt).await, till.status(sound).await),
        ("REQUESTED".into(), "CAPTURED".into())
    );
    assert_eq!(till.due().await, [], "it is not looked at again at once");
}
