//! What the order API answers, and what its documentation says it takes.

use std::collections::BTreeMap;

use contract::{CorrelationId, Money, OrderId};
use domain::saga::OrderStatus;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::store::Order;
use crate::amount::amount;

/// The answer to an accepted order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The order; `Location` says where it can be followed.
    #[schema(value_type = String, format = "uuid")]
    pub order_id: OrderId,
    /// Joins everything that this order causes in logs, events and mails.
    #[schema(value_type = String)]
    pub correlation_id: CorrelationId,
    /// `PENDING`, always: what becomes of the order is decided later.
    #[schema(example = "PENDING")]
    pub status: &'static str,
}

/// How far an order is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Order)]
pub struct OrderView {
    /// The order.
    #[schema(value_type = String, format = "uuid")]
    pub order_id: OrderId,
    /// Whose order it is.
    pub customer_id: String,
    /// Its state.
    pub status: Status,
    /// Why it was cancelled, in a form for programs; `null` for every other order.
    #[schema(example = "OUT_OF_STOCK")]
    pub reason: Option<String>,
    /// Why it was cancelled, for people; `null` for every other order.
    pub reason_detail: Option<String>,
    /// Joins everything that this order causes in logs, events and mails.
    #[schema(value_type = String)]
    pub correlation_id: CorrelationId,
    /// The sum of the items, exact.
    #[schema(value_type = f64, example = 51.98)]
    pub total_amount: Box<RawValue>,
    /// The currency of all amounts.
    #[schema(example = "USD")]
    pub currency: String,
    /// How far each step of its saga is.
    #[schema(example = json!({"inventory": "SUCCEEDED"}))]
    pub steps: BTreeMap<String, String>,
    /// What was ordered.
    pub items: Vec<ItemView>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: jiff::Timestamp,
    /// When its state last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: jiff::Timestamp,
}

/// One line of an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OrderItem)]
pub struct ItemView {
    /// The product.
    pub product_id: String,
    /// How many.
    pub quantity: u32,
    /// The price of one, exact.
    #[schema(value_type = f64, example = 25.99)]
    pub unit_price: Box<RawValue>,
}

/// One page of orders.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OrderPage)]
pub struct Page {
    /// The orders, newest first.
    pub orders: Vec<OrderView>,
    /// Pass it as `cursor` to get the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// The state of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, strum::EnumString, strum::IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = OrderStatus)]
pub enum Status {
    /// Steps are under way.
    Pending,
    /// Every step succeeded; the customer is being told.
    Confirmed,
    /// Ended well.
    Completed,
    /// Ended without success; `reason` says why.
    Cancelled,
}

impl From<&OrderStatus> for Status {
    fn from(status: &OrderStatus) -> Self {
        match status {
            OrderStatus::Pending => Self::Pending,
            OrderStatus::Confirmed => Self::Confirmed,
            OrderStatus::Completed => Self::Completed,
            OrderStatus::Cancelled { .. } => Self::Cancelled,
        }
    }
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        let (reason, reason_detail) = match &order.saga.status {
            OrderStatus::Cancelled { reason, detail } => (Some(reason.to_string()), Some(detail.clone())),
            OrderStatus::Pending | OrderStatus::Confirmed | OrderStatus::Completed => (None, None),
        };
        let steps = order.saga.steps.iter().map(|state| (state.step.to_string(), state.status.to_string()));
        let currency = order.details.total.currency;
        let item = |item: contract::OrderItem| ItemView {
            product_id: item.product_id.into(),
            quantity: item.quantity,
            unit_price: amount(Money::new(item.unit_price_minor, currency)),
        };
        Self {
            order_id: order.id,
            customer_id: order.details.customer.customer_id.into(),
            status: Status::from(&order.saga.status),
            reason,
            reason_detail,
            correlation_id: order.correlation_id,
            total_amount: amount(order.details.total),
            currency: currency.to_string(),
            steps: steps.collect(),
            items: order.details.items.into_iter().map(item).collect(),
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

/// The body of an order, in full. Only documentation: bodies are read field by field, so that every fault is
/// found.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", as = NewOrder)]
#[expect(dead_code, reason = "describes the request body to utoipa")]
pub struct FullOrderBody {
    customer_info: CustomerBody,
    /// 1 to 100 lines, each product once.
    order_items: Vec<ItemBody>,
    /// Has to be the exact sum of the items.
    #[schema(example = 51.98)]
    total_amount: f64,
    /// ISO 4217; `USD` where absent.
    #[schema(example = "USD")]
    currency: Option<String>,
}

/// Who orders, and where to.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", as = CustomerInfo)]
#[expect(dead_code, reason = "describes the request body to utoipa")]
pub struct CustomerBody {
    #[schema(example = "CUST-1", max_length = 128)]
    customer_id: String,
    #[schema(example = "Ada", max_length = 200)]
    first_name: String,
    #[schema(example = "Lovelace", max_length = 200)]
    last_name: String,
    #[schema(example = "ada@example.com")]
    email: Option<String>,
    #[schema(example = "+1-555-0100")]
    phone: Option<String>,
    #[schema(example = "1 Main St", max_length = 200)]
    address: Option<String>,
    #[schema(example = "Springfield", max_length = 200)]
    city: Option<String>,
    #[schema(example = "IL", max_length = 200)]
    state: Option<String>,
    #[schema(example = "62701", max_length = 200)]
    zip_code: Option<String>,
}

/// One line of an order to be.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", as = NewOrderItem)]
#[expect(dead_code, reason = "describes the request body to utoipa")]
pub struct ItemBody {
    #[schema(example = "burger", max_length = 128)]
    product_id: String,
    #[schema(example = 2, minimum = 1, maximum = 10000)]
    quantity: u32,
    /// With at most the decimals of the currency.
    #[schema(example = 25.99, minimum = 0)]
    unit_price: f64,
}

/// The body of an order, in short: one product of the catalogue, at its price.
#[derive(ToSchema)]
#[schema(as = ShortOrder)]
#[expect(dead_code, reason = "describes the request body to utoipa")]
pub struct ShortOrderBody {
    /// The order's id; made up where absent.
    #[schema(format = "uuid")]
    order_id: Option<String>,
    #[schema(example = "john")]
    user: String,
    #[schema(example = "burger")]
    item: String,
    #[schema(example = 5, minimum = 1, maximum = 10000)]
    quantity: u32,
}

/// Either body of an order.
#[derive(ToSchema)]
#[schema(as = OrderRequest)]
#[serde(untagged)]
pub enum OrderBody {
    /// In full.
    Full(FullOrderBody),
    /// In short.
    Short(ShortOrderBody),
}
