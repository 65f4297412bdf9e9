//! What the inventory service says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{OrderDetails, OrderId, ProductId};

/// All of an order's items are held for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReserved {
    /// The order.
    pub order_id: OrderId,
    /// What is held.
    pub items: Vec<StockItem>,
    /// When the inventory may take it back, should nobody confirm or cancel the order.
    pub expires_at: Timestamp,
    /// The order, for the step that follows.
    pub details: OrderDetails,
}

/// Nothing is held for the order: all of it is reserved, or nothing. Final, unless `waits_until` is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryFailed {
    /// The order.
    pub order_id: OrderId,
    /// Why.
    pub reason: InventoryFailure,
    /// The items that stood in the way; empty where stock was not the reason.
    pub shortages: Vec<Shortage>,
    /// Where the order waits for stock: when the inventory will have answered again, by a reservation or by the
    /// final failure. Who does not know this field cancels the order, and with that its waiting.
    pub waits_until: Option<Timestamp>,
}

/// Why stock could not be reserved.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum InventoryFailure {
    /// There was less than ordered.
    OutOfStock,
    /// The inventory does not have a product.
    UnknownProduct,
    /// The order had been cancelled before it could be served.
    OrderCancelled,
}

/// What was held for an order is free again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReleased {
    /// The order.
    pub order_id: OrderId,
    /// What was held.
    pub items: Vec<StockItem>,
    /// Why.
    pub reason: ReleaseReason,
}

/// Why held stock was released.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ReleaseReason {
    /// The order was cancelled.
    OrderCancelled,
    /// Nobody confirmed or cancelled the order in time.
    Expired,
}

/// A product's stock changed; the levels after the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryUpdated {
    /// The product.
    pub product_id: ProductId,
    /// Units in the warehouse that nobody holds; orders may wait for some of them.
    pub on_hand: u64,
    /// Units held for orders that are not decided yet.
    pub reserved: u64,
    /// Units sold since the product is known.
    pub sold: u64,
    /// Units that a new order can get. Stated, so that consumers need not know how it follows from the rest.
    pub available: u64,
}

/// Units of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockItem {
    /// The product.
    pub product_id: ProductId,
    /// How many; at least one.
    pub quantity: u32,
}

/// A product of which less was there than asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// The product.
    pub product_id: ProductId,
    /// How many were asked for.
    pub requested: u32,
    /// How many were there.
    pub available: u64,
}
