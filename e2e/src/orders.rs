//! A client of the order and inventory APIs, as a shop would write it.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// The HTTP APIs of one pipeline.
#[derive(Debug, Clone)]
pub struct Shop {
    http: reqwest::Client,
    orders: String,
    inventory: String,
}

/// An accepted order: the 202 answer and where to follow it.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Path of the order, from the `Location` header.
    pub location: String,
    /// The answer's body: `orderId`, `correlationId`, `status`.
    pub body: Value,
}

impl Placed {
    /// The order's id.
    #[must_use]
    pub fn order_id(&self) -> &str {
        self.body.get("orderId").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Shop {
    /// The shop whose APIs the cluster publishes on this machine.
    ///
    /// # Errors
    /// When the cluster names no such endpoints.
    pub fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        // Every client needs a provider of cryptography, also for plain HTTP; one that is there already is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        Ok(Self {
            http: reqwest::Client::new(),
            orders: cluster.endpoint("orders")?.to_owned(),
            inventory: cluster.endpoint("inventory")?.to_owned(),
        })
    }

    /// The address of the order API.
    #[must_use]
    pub fn orders_url(&self) -> &str {
        &self.orders
    }

    /// Places an order; `key` is its `Idempotency-Key`.
    ///
    /// # Errors
    /// When the answer is not 202; the answer's body is part of the message.
    pub async fn place(&self, order: &Value, key: Option<&str>) -> anyhow::Result<Placed> {
        let mut request = self.http.post(format!("{}/api/v1/orders", self.orders)).json(order);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let location =
            answer.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = answer.text().await?;
        ensure!(status == 202, "the order was answered {status}: {text}");
        Ok(Placed { location: location.context("202 without Location")?, body: serde_json::from_str(&text)? })
    }

    /// The order, waiting up to ten seconds for its end.
    ///
    /// # Errors
    /// When the API does not answer 200.
    pub async fn follow(&self, location: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}{location}?wait=10s", self.orders)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Sets what is on hand of a product.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn set_stock(&self, product: &str, on_hand: u64) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/inventory/{product}", self.inventory);
        self.http.put(url).json(&json!({ "onHand": on_hand })).send().await?.error_for_status()?;
        Ok(())
    }

    /// What is on hand, reserved and sold of a product.
    ///
    /// # Errors
    /// When the API does not answer 200.
    pub async fn stock(&self, product: &str) -> anyhow::Result<Value> {
        let url = format!("{}/api/v1/inventory/{product}", self.inventory);
        Ok(self.http.get(url).send().await?.error_for_status()?.json().await?)
    }
}

/// The order that the README places: two of `product`, by a customer with an e-mail address.
#[must_use]
pub fn order_for(product: &str, quantity: u32) -> Value {
    let cents = u64::from(quantity) * 2599;
    let total = serde_json::from_str::<Value>(&format!("{}.{:02}", cents / 100, cents % 100));
    json!({
        "customerInfo": {
            "customerId": "john", "firstName": "John", "lastName": "Doe", "email": "john@example.com",
            "phone": "+15550100", "address": "1 Main St", "city": "Springfield", "state": "IL", "zipCode": "62701"
        },
        "orderItems": [{ "productId": product, "quantity": quantity, "unitPrice": 25.99 }],
        "totalAmount": total.unwrap_or_default(),
        "currency": "USD"
    })
}

/// Whether the status is one that never changes again.
#[must_use]
pub fn is_final(order: &Value) -> bool {
    matches!(order.get("status").and_then(Value::as_str), Some("COMPLETED" | "CANCELLED"))
}
