//! Hourly sales, end to end: the binary is killed again and again, and every order counts once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex};

use contract::{
    Address, Contact, Currency, Envelope, Event, Money, OrderConfirmed, OrderDetails, OrderId, OrderItem,
    SalesUpdated, Service, Topic,
};
use domain::sales::{HourlySales, Sales, Table};
use domain::windows::Tumbling;
use jiff::{SignedDuration, Timestamp};
use messaging::streams::{Application, Fate, Metrics, Streams, Yield};
use messaging::{Cause, Delivery, Effects, HandleError, Handler, KafkaConfig};
use orders::order_analytics::SalesCounting;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Binary;
use crate::support::{Realm, System, eventually, short_order};

/// When the first wave begins, at the start of an hour. Long ago, so that every hour is over; not longer, because a
/// broker deletes records that are older than the topic's retention as soon as it looks.
static OPENING: LazyLock<Timestamp> =
    LazyLock::new(|| hour_of(Timestamp::now() - SignedDuration::from_hours(24)));

const GRACE: SignedDuration = SignedDuration::from_mins(30);
const WAVES: u32 = 5;
const ORDERS_PER_WAVE: u32 = 400;

fn hour_of(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second() / 3600 * 3600).unwrap()
}

/// A new order that was confirmed `minutes` after the opening.
fn confirmed(number: u32, minutes: i64) -> Envelope {
    let item = |product: &str, quantity: u32, price: i64| OrderItem {
        product_id: product.parse().unwrap(),
        quantity,
        unit_price_minor: price,
    };
    let mut items = vec![item("burger", number % 4 + 1, 899)];
    if number.is_multiple_of(3) {
        items.push(item("soda", 1, 199));
    }
    let total = items.iter().map(|item| item.unit_price_minor * i64::from(item.quantity)).sum();
    let currency = if number.is_multiple_of(5) { Currency::EUR } else { Currency::USD };
    let customer = Contact {
        customer_id: "C-1".parse().unwrap(),
        first_name: "Ada".to_owned(),
        last_name: String::new(),
        email: None,
        phone: None,
    };
    let details = OrderDetails {
        customer,
        ship_to: Address::default(),
        items,
        total: Money::new(total, currency),
        steps: None,
    };
    let order_id = OrderId::new(uuid::Uuid::now_v7());
    let at = *OPENING + SignedDuration::from_mins(minutes);
    Envelope::new(OrderConfirmed { order_id, details }.into(), "sales".parse().unwrap(), at)
}

/// Orders of some 40 minutes, out of order and some of them much too late, and copies of orders before them.
fn wave(number: u32, before: &[Envelope]) -> Vec<Envelope> {
    let mut events = Vec::new();
    for order in 0..ORDERS_PER_WAVE {
        let late = if order.is_multiple_of(20) { 120 } else { 0 };
        let jitter = i64::from(order * 7919 % 40);
        events.push(confirmed(order, i64::from(number) * 40 + jitter - late));
    }
    let copies: Vec<Envelope> = events.iter().chain(before).step_by(9).cloned().collect();
    events.into_iter().chain(copies).collect()
}

/// Everything on `orders.confirmed`, as the partitions have it. (The inbox of who reads swallows the copies, which
/// change nothing: each is as old as its original.)
struct Ledger {
    read: Arc<Mutex<Vec<(i32, Envelope)>>>,
    _stop: tokio_util::sync::DropGuard,
}

struct Copying(Arc<Mutex<Vec<(i32, Envelope)>>>);

impl Handler for Copying {
    async fn handle(&self, _fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let read = batch.iter().map(|delivery| (delivery.partition, delivery.envelope.clone()));
        self.0.lock().unwrap().extend(read);
        Ok(())
    }
}

impl Ledger {
    async fn open(realm: &Realm) -> Self {
        let messaging = realm.messaging(Service::Notification).await;
        let (read, stop) = (Arc::<Mutex<Vec<_>>>::default(), CancellationToken::new());
        let (handler, stopping) = (Copying(read.clone()), stop.clone());
        tokio::spawn(async move { messaging.consume(&[Topic::OrdersConfirmed], handler, stopping).await });
        Self { read, _stop: stop.drop_guard() }
    }

    async fn of(&self, orders: usize) -> Vec<(i32, Envelope)> {
        eventually("all orders to be read", async || {
            let read = self.read.lock().unwrap();
            (read.len() == orders).then(|| read.clone())
        })
        .await
    }
}

/// Orders, units and revenue in minor units.
type Sums = (u64, u64, i64);
/// By start of the hour, currency and product (none: all).
type Sheet = BTreeMap<(Timestamp, String, Option<String>), Sums>;

/// What a person would count in the topic: partition by partition, leaving out what came after its hour and the
/// grace were over there.
fn by_hand(read: &[(i32, Envelope)]) -> (Sheet, usize) {
    let (mut sheet, mut late) = (Sheet::new(), 0);
    let (mut latest, mut seen) = (HashMap::<i32, Timestamp>::new(), HashSet::new());
    for (partition, envelope) in read {
        let Event::OrderConfirmed(order) = &envelope.event else { panic!("{envelope:?}") };
        let latest = latest.entry(*partition).or_insert(envelope.timestamp);
        *latest = envelope.timestamp.max(*latest);
        let hour = hour_of(envelope.timestamp);
        if hour + SignedDuration::from_hours(1) + GRACE <= *latest {
            late += 1;
        } else if seen.insert(order.order_id) {
            let mut add = |product: Option<String>, units: u64, revenue: i64| {
                let key = (hour, order.details.total.currency.to_string(), product);
                let sums = sheet.entry(key).or_default();
                *sums = (sums.0 + 1, sums.1 + units, sums.2 + revenue);
            };
            let items = &order.details.items;
            for item in items {
                let revenue = item.unit_price_minor * i64::from(item.quantity);
                add(Some(item.product_id.to_string()), item.quantity.into(), revenue);
            }
            let units = items.iter().map(|item| u64::from(item.quantity)).sum();
            add(None, units, order.details.total.amount_minor);
        }
    }
    (sheet, late)
}

/// What the API answers, as a sheet.
async fn shown(address: &str) -> Option<Sheet> {
    let (from, to) = (*OPENING - SignedDuration::from_hours(9), *OPENING + SignedDuration::from_hours(15));
    let url = format!("{address}/api/v1/analytics/sales?from={from}&to={to}");
    let body: Value = reqwest::get(url).await.ok()?.json().await.ok()?;
    let mut sheet = Sheet::new();
    for hour in body["hours"].as_array()? {
        let key = (hour["start"].as_str()?.parse().ok()?, hour["currency"].as_str()?.to_owned());
        sheet.insert((key.0, key.1.clone(), None), sums(hour)?);
        for product in hour["products"].as_array()? {
            let name = product["productId"].as_str()?.to_owned();
            sheet.insert((key.0, key.1.clone(), Some(name)), sums(product)?);
        }
    }
    Some(sheet)
}

fn sums(value: &Value) -> Option<Sums> {
    let revenue = value["revenue"].as_f64()? * 100.0;
    #[expect(clippy::cast_possible_truncation, reason = "a test's amounts are small")]
    Some((value["orders"].as_u64()?, value["units"].as_u64()?, revenue.round() as i64))
}

fn analytics(realm: &Realm, instance: &str) -> Binary {
    let variables = [("INSTANCE", instance), ("ORDER_ANALYTICS_GRACE", "30m"), ("DRAIN_DELAY", "0s")];
    Binary::role(realm, "order-analytics", &variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_counts_once_through_kills_and_rebalances_and_a_replay_agrees() {
    let realm = Realm::create().await;
    let ledger = Ledger::open(&realm).await;
    let producer = realm.messaging(Service::Order).await;
    let (mut stays, mut dies) = (analytics(&realm, "one"), analytics(&realm, "two"));
    let mut published = Vec::new();

    for number in 0..WAVES {
        let events = wave(number, &published);
        for chunk in events.chunks(60) {
            producer.producer().publish(chunk).await.unwrap();
        }
        published.extend(events);
        if number > 0 && number < WAVES - 1 {
            // One is killed wherever it stands; another of its name takes its place, and the other is next.
            dies.signal("-KILL");
            let reborn = analytics(&realm, if number % 2 == 1 { "two" } else { "one" });
            dies = std::mem::replace(&mut stays, reborn);
        }
    }

    let orders = usize::try_from(WAVES * ORDERS_PER_WAVE).unwrap();
    let read = ledger.of(orders).await;
    let (expected, late) = by_hand(&read);
    assert!(late > 0, "the test sends late orders");
    for binary in [&stays, &dies] {
        let address = binary.address("the order-analytics service is served");
        let mut last = None;
        eventually("the API to show what was counted by hand", async || {
            last = shown(&address).await;
            (last.as_ref() == Some(&expected)).then_some(())
        })
        .await;
    }
    assert_eq!(replayed(&realm, &expected).await, expected);
}

/// The same topic, counted again from its first record by a group that has never read it.
async fn replayed(realm: &Realm, expected: &Sheet) -> Sheet {
    let kafka = KafkaConfig::plaintext(realm.bootstrap.clone(), "replay", realm.prefix.clone());
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    // A service that does not run here: its group has no offsets.
    let streams = Streams::new(kafka, Service::Shipping, "replay", &metrics);
    let (rows, stop) = (Arc::<Mutex<Table>>::default(), CancellationToken::new());
    let hours = Tumbling::new(SignedDuration::from_hours(1), GRACE).unwrap();
    let replay = Replay { counting: SalesCounting::new(hours), rows: rows.clone() };
    let mut running = tokio::spawn({
        let stop = stop.clone();
        async move { streams.run(replay, stop).await }
    });
    let orders = |sheet: &Sheet| sheet.values().map(|sums| sums.0).sum::<u64>();
    let counted = eventually("the replay to have counted as many", async || {
        let sheet = sheet_of(&rows.lock().unwrap());
        (orders(&sheet) >= orders(expected)).then_some(sheet)
    });
    let sheet = tokio::select! {
        sheet = counted => sheet,
        ended = &mut running => panic!("the replay ended: {ended:?}"),
    };
    stop.cancel();
    running.await.unwrap().unwrap();
    sheet
}

fn sheet_of(table: &Table) -> Sheet {
    let mut sheet = Sheet::new();
    for HourlySales { start, currency, all, products, .. } in
        table.between(Timestamp::MIN, Timestamp::MAX, usize::MAX)
    {
        let products = products.into_iter().map(|(product, numbers)| (Some(product.to_string()), numbers));
        for (product, numbers) in products.chain([(None, all)]) {
            let sums = (numbers.orders, numbers.units, numbers.revenue_minor);
            sheet.insert((start, currency.to_string(), product), sums);
        }
    }
    sheet
}

/// The counting, with a changelog of its own, and its rows kept here.
struct Replay {
    counting: SalesCounting,
    rows: Arc<Mutex<Table>>,
}

impl Application for Replay {
    type State = Sales;

    fn input(&self) -> Topic {
        self.counting.input()
    }

    fn changelog(&self) -> Topic {
        // Any that is empty.
        Topic::InventoryReserved
    }

    fn apply(&self, sales: &mut Sales, event: &Envelope) -> Fate {
        self.counting.apply(sales, event)
    }

    fn rest(&self, sales: &mut Sales, now: Timestamp) -> bool {
        self.counting.rest(sales, now)
    }

    fn take_changes(&self, sales: &mut Sales, partition: u32) -> Yield {
        let Yield { state, events } = self.counting.take_changes(sales, partition);
        let updated = events.into_iter().filter_map(|event| match event {
            Event::SalesUpdated(updated) => Some(updated),
            _ => None,
        });
        let mut rows = self.rows.lock().unwrap();
        updated.for_each(|updated: SalesUpdated| rows.take(updated));
        Yield { state, events: Vec::new() }
    }

    fn restore(&self, sales: &mut Sales, key: &[u8], value: &[u8]) -> Result<(), Cause> {
        self.counting.restore(sales, key, value)
    }

    fn size(&self, sales: &Sales) -> usize {
        self.counting.size(sales)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_shows_in_the_sales_of_its_hour_once_it_is_confirmed() {
    let realm = Realm::create().await;
    let services = [Service::Order, Service::Inventory, Service::OrderAnalytics];
    let system = System::start(realm.config("all"), &services).await;

    system.post(&short_order("ada", "burger", 2)).await;
    let refused = system.post(&short_order("ada", "pizza", 51)).await;
    assert_eq!(system.ended(&refused.order_id()).await["status"], "CANCELLED");

    let url = format!("{}/api/v1/analytics/sales", system.http["order-analytics"]);
    let hour = eventually("the order in the sales", async || {
        let body: Value = system.client.get(&url).send().await.unwrap().json().await.unwrap();
        body["hours"].as_array().unwrap().first().cloned()
    })
    .await;
    let burgers = json!([{"productId": "burger", "orders": 1, "units": 2, "revenue": 17.98}]);
    assert_eq!(hour["products"], burgers, "{hour}");
    assert_eq!(
        (&hour["orders"], &hour["revenue"], &hour["status"]),
        (&json!(1), &json!(17.98), &json!("OPEN"))
    );
    system.stop().await;
}
