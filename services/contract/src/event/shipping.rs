//! What the shipping service says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{OrderId, ShipmentId};

/// A carrier will take the order's parcel. It leaves when the order is confirmed, and not before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippingScheduled {
    /// The order.
    pub order_id: OrderId,
    /// The shipment.
    pub shipment_id: ShipmentId,
    /// Who carries it.
    pub carrier: String,
    /// By which the customer follows it.
    pub tracking_number: String,
}

/// The order cannot be shipped; nothing is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippingFailed {
    /// The order.
    pub order_id: OrderId,
    /// Why, for programs.
    pub reason: ShippingFailure,
    /// Why, for people; without the address.
    pub detail: String,
}

/// Why an order cannot be shipped.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ShippingFailure {
    /// The carrier does not deliver this, or not there.
    Refused,
    /// The carrier could not be reached in time.
    CarrierUnavailable,
    /// The order had been cancelled before its shipment was asked for.
    OrderCancelled,
}

/// The parcel arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippingDelivered {
    /// The order.
    pub order_id: OrderId,
    /// The shipment.
    pub shipment_id: ShipmentId,
    /// When.
    pub delivered_at: Timestamp,
}

/// A scheduled shipment will not leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippingCancelled {
    /// The order.
    pub order_id: OrderId,
    /// The shipment.
    pub shipment_id: ShipmentId,
}
