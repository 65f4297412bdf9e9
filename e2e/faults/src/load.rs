//! A shop full of careful customers: each order has an `Idempotency-Key` and is sent again until it is answered, so
//! that the accepted orders are known exactly.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use contract::OrderId;
use rand::prelude::*;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::system::http_client;

/// How long a customer waits for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a customer tries: longer than any outage lasts.
const PERSISTENCE: Duration = Duration::from_secs(150);
/// How soon a customer tries again.
const RETRY_WAIT: Duration = Duration::from_millis(250);
/// Customers at a time. During an outage they gather, and none comes after these.
const CUSTOMERS: usize = 200;
/// The price of everything, in cents.
const PRICE: u64 = 2599;

/// Orders on their way.
#[derive(Debug)]
pub struct Load {
    accepted: Arc<Mutex<BTreeSet<OrderId>>>,
    stop: Arc<Semaphore>,
    shop: JoinHandle<Result<()>>,
}

impl Load {
    /// Sends orders to the order service at `url`, one per `interval`; what is ordered follows from `seed`.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn start(url: &str, seed: u64, interval: Duration) -> Result<Self> {
        let client = http_client(ANSWER_TIMEOUT)?;
        let (accepted, stop) =
            (Arc::<Mutex<BTreeSet<OrderId>>>::default(), Arc::new(Semaphore::new(CUSTOMERS)));
        let (url, customers, orders) = (format!("{url}/api/v1/orders"), stop.clone(), accepted.clone());
        let shop = tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut placing = JoinSet::new();
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for number in 0_u64.. {
                ticks.tick().await;
                let Ok(customer) = customers.clone().acquire_owned().await else { break };
                let key = format!("{seed:x}-{number}");
                let (body, client, url, orders) =
                    (order(&mut rng), client.clone(), url.clone(), orders.clone());
                placing.spawn(async move {
                    let id = place(&client, &url, &key, &body).await?;
                    orders.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                    drop(customer);
                    anyhow::Ok(())
                });
                while let Some(placed) = placing.try_join_next() {
                    placed??;
                }
            }
            while let Some(placed) = placing.join_next().await {
                placed??;
            }
            Ok(())
        });
        Ok(Self { accepted, stop, shop })
    }

    /// Orders accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until `more` orders have been accepted from now on.
    ///
    /// # Errors
    /// When one was refused, or they are not accepted in time.
    pub async fn accept(&self, more: usize) -> Result<()> {
        let (goal, deadline) = (self.accepted() + more, Instant::now() + PERSISTENCE);
        while self.accepted() < goal {
            ensure!(!self.shop.is_finished(), "the load has ended early");
            ensure!(Instant::now() < deadline, "no {more} orders accepted in {PERSISTENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// No more orders; waits for the answers to those on their way, and tells which were accepted.
    ///
    /// # Errors
    /// When one was refused, or never answered.
    pub async fn finish(self) -> Result<BTreeSet<OrderId>> {
        self.stop.close();
        self.shop.await??;
        Ok(std::mem::take(&mut self.accepted.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

async fn place(client: &reqwest::Client, url: &str, key: &str, body: &Value) -> Result<OrderId> {
    let deadline = Instant::now() + PERSISTENCE;
    loop {
        let request = client.post(url).header("Idempotency-Key", key).json(body);
        let why = match request.send().await {
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                // The answer can be cut off behind its head; the same key asks for it again.
                match answer.json::<Value>().await {
                    Ok(answer) => return id_of(&answer),
                    Err(error) => error.to_string(),
                }
            }
            Ok(answer) => {
                let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
                ensure!(status.is_server_error(), "a good order was answered {status}: {text}");
                text
            }
            Err(error) => error.to_string(),
        };
        ensure!(Instant::now() < deadline, "order {key} was not accepted in {PERSISTENCE:?}: {why}");
        tokio::time::sleep(RETRY_WAIT).await;
    }
}

fn id_of(answer: &Value) -> Result<OrderId> {
    let id = answer.get("orderId").and_then(Value::as_str).context("202 without orderId")?;
    Ok(id.parse()?)
}

/// One or two products; one order in ten asks for what soon runs out, one in thirty for what never was. Some customers
/// cannot pay, and some live where no carrier goes.
fn order(rng: &mut StdRng) -> Value {
    let mut products = vec![if rng.random_ratio(1, 2) { "burger" } else { "pizza" }];
    if rng.random_ratio(1, 10) {
        products.push("truffle");
    } else if rng.random_ratio(1, 30) {
        products.push("unicorn");
    }
    let customer = match rng.random_range(0..40) {
        0 => "refused",
        1 => "remote",
        _ => "customer",
    };
    let quantities: Vec<u64> = products.iter().map(|_| rng.random_range(1..=3)).collect();
    let cents = PRICE * quantities.iter().sum::<u64>();
    let items: Vec<Value> = products
        .iter()
        .zip(&quantities)
        .map(|(product, quantity)| json!({"productId": product, "quantity": quantity, "unitPrice": "25.99"}))
        .collect();
    json!({
        "customerInfo": {
            "customerId": format!("{customer}-{}", rng.random_range(0..100)), "firstName": "Ada",
            "lastName": "Lovelace", "email": "ada@example.com", "phone": "+15550100", "address": "1 Main St",
            "city": "Springfield", "state": "IL", "zipCode": "62701"
        },
        "orderItems": items,
        "totalAmount": format!("{}.{:02}", cents / 100, cents % 100),
        "currency": "USD"
    })
}
