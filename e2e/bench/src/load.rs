//! The load: orders by HTTP over some connections, as many as are allowed (closed) or as many as are due (open).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::system::PRODUCTS;

/// Connections of the load; each has one request on its way at a time. Requests that come together are committed
/// together, so with few connections it is their number that is measured: 64 gave 1,800 orders/s where 512 gave 2,600.
const CONNECTIONS: usize = 512;

/// An order that was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) order_id: Uuid,
    /// When it was to be sent. Latency counts from here, so that a load that is held up by a slow system does not
    /// hide it (coordinated omission).
    pub(crate) intended: Timestamp,
    /// From then until the answer.
    pub(crate) answered_after: Duration,
}

/// What paces the load.
#[derive(Debug, Clone)]
pub(crate) enum Pace {
    /// An order per permit, which somebody adds.
    Permits(Arc<Semaphore>),
    /// So many orders per second, whatever becomes of those before.
    PerSecond(u64),
}

/// Sends orders at `pace` for `lasts`; returns those that were accepted.
///
/// # Errors
/// An order was refused, or a connection failed: nothing about this load may fail.
pub(crate) async fn run(api: &str, pace: Pace, lasts: Duration) -> Result<Vec<Accepted>> {
    let (begin, next) = (Begin::now(), Arc::new(AtomicU64::new(0)));
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let sender = Sender { connection: connect(api).await?, api: api.to_owned() };
        senders.spawn(sender.send_until(begin, lasts, pace.clone(), next.clone()));
    }
    let mut accepted = Vec::new();
    while let Some(sent) = senders.join_next().await {
        accepted.extend(sent??);
    }
    Ok(accepted)
}

/// One moment by two clocks: the monotonic one paces, the other one is comparable with the database's.
#[derive(Debug, Clone, Copy)]
struct Begin {
    instant: Instant,
    time: Timestamp,
}

impl Begin {
    fn now() -> Self {
        Self { instant: Instant::now(), time: Timestamp::now() }
    }
}

async fn connect(api: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(api).await.with_context(|| format!("could not connect to {api}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender; what goes wrong shows at the request.
    tokio::spawn(connection);
    Ok(sender)
}

struct Sender {
    connection: SendRequest<Full<Bytes>>,
    api: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    order_id: Uuid,
}

impl Sender {
    async fn send_until(
        mut self,
        begin: Begin,
        lasts: Duration,
        pace: Pace,
        next: Arc<AtomicU64>,
    ) -> Result<Vec<Accepted>> {
        let mut accepted = Vec::new();
        loop {
            let due = match &pace {
                Pace::Permits(permits) => {
                    let left = lasts.saturating_sub(begin.instant.elapsed());
                    match tokio::time::timeout(left, permits.acquire()).await {
                        Ok(permit) => permit?.forget(),
                        Err(_) => return Ok(accepted),
                    }
                    begin.instant.elapsed()
                }
                Pace::PerSecond(rate) => {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let due = Duration::from_nanos(number.saturating_mul(1_000_000_000) / (*rate).max(1));
                    tokio::time::sleep_until((begin.instant + due).into()).await;
                    due
                }
            };
            if due >= lasts {
                return Ok(accepted);
            }
            let order_id = self.post(u64::try_from(accepted.len()).unwrap_or_default()).await?;
            let answered_after = begin.instant.elapsed().saturating_sub(due);
            accepted.push(Accepted { order_id, intended: begin.time + due, answered_after });
        }
    }

    async fn post(&mut self, number: u64) -> Result<Uuid> {
        let request = Request::post("/api/v1/orders")
            .header(header::HOST, &self.api)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(order(number))))?;
        self.connection.ready().await?;
        let response = self.connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == StatusCode::ACCEPTED, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice::<Answer>(&body)?.order_id)
    }
}

/// A customer's order, complete as a shop sends it; one to two products.
fn order(number: u64) -> String {
    let count = u64::try_from(PRODUCTS.len()).unwrap_or(1);
    let product = |number: u64| {
        let index = usize::try_from(number % count).unwrap_or_default();
        PRODUCTS.get(index).copied().unwrap_or_default()
    };
    let item = |product: &str| format!(r#"{{"productId":"{product}","quantity":1,"unitPrice":25.99}}"#);
    let (items, total) = match number % 2 {
        0 => (item(product(number)), "25.99"),
        _ => (format!("{},{}", item(product(number)), item(product(number + 1))), "51.98"),
    };
    format!(
        r#"{{"customerInfo":{{"customerId":"C-{}","firstName":"Ada","lastName":"Lovelace","email":"ada@example.com","phone":"+15550100","address":"12 St James's Square","city":"London","state":"LDN","zipCode":"SW1Y 4JH"}},"orderItems":[{items}],"totalAmount":{total},"currency":"USD"}}"#,
        number % 1000
    )
}
