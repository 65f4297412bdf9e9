//! What the order service says, and what an order is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CustomerId, Money, OrderId, ProductId, Step};

/// An order was accepted. Its saga begins: the first step's service acts on this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    /// The order.
    pub order_id: OrderId,
    /// What was ordered, by whom, and where it goes.
    pub details: OrderDetails,
}

/// Every step succeeded. The order is never cancelled from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: OrderId,
    /// What was ordered, by whom, and where it goes.
    pub details: OrderDetails,
}

/// The order reached the end of its life well: delivered, or the customer told where nothing is shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCompleted {
    /// The order.
    pub order_id: OrderId,
    /// The sum of the items.
    pub total: Money,
}

/// The order ended without success. Whoever did something for it undoes it, from its own record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: OrderId,
    /// What was ordered, by whom, and where it goes.
    pub details: OrderDetails,
    /// Why, for programs.
    pub reason: CancelReason,
    /// Why, for people.
    pub detail: String,
}

/// Why an order was cancelled.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelReason {
    /// There was less stock than ordered.
    OutOfStock,
    /// A product that the inventory does not have was ordered.
    UnknownProduct,
    /// The payment was declined.
    PaymentDeclined,
    /// The order cannot be shipped.
    NotShippable,
    /// A step's service did not answer before the deadline.
    StepTimedOut,
    /// A step was refused for a reason of its own.
    StepRefused,
}

/// What an order is about. It travels with every event that asks a service to act for the order, so that none
/// has to ask another service, or to remember orders that may never be its business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderDetails {
    /// Who ordered.
    pub customer: Contact,
    /// Where it goes; empty where the customer gave no address.
    #[serde(default)]
    pub ship_to: Address,
    /// What was ordered; at least one, each product once.
    pub items: Vec<OrderItem>,
    /// The sum of the items.
    pub total: Money,
    /// The steps of the order's saga, by which it ends whatever the pipeline's are meanwhile. None in events from
    /// before they were told, and before the order is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
}

/// Where an order goes to. Its `Debug` form shows nothing, so that no log does.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Street and number.
    pub address: Option<String>,
    /// Town.
    pub city: Option<String>,
    /// State or region.
    pub state: Option<String>,
    /// Postal code.
    pub zip_code: Option<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

/// Who ordered and how to reach them. Its `Debug` form shows the id only, so that no log tells the rest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The customer.
    pub customer_id: CustomerId,
    /// Given name.
    pub first_name: String,
    /// Family name; may be empty.
    pub last_name: String,
    /// Where e-mail goes.
    pub email: Option<String>,
    /// Where text messages go.
    pub phone: Option<String>,
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contact").field("customer_id", &self.customer_id).finish_non_exhaustive()
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderItem {
    /// The product.
    pub product_id: ProductId,
    /// How many; at least one.
    pub quantity: u32,
    /// Price of one, in minor units of the order's currency.
    pub unit_price_minor: i64,
}
