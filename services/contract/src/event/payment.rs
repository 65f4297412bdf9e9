//! What the payment service says.

use serde::{Deserialize, Serialize};

use crate::{Money, OrderDetails, OrderId, PaymentId};

/// The customer's money is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptured {
    /// The order.
    pub order_id: OrderId,
    /// The payment, as the provider and the customer's statement know it.
    pub payment_id: PaymentId,
    /// How much; the order's total.
    pub amount: Money,
    /// The order, for the step that follows.
    pub details: OrderDetails,
}

/// Nothing was captured for the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    /// The order.
    pub order_id: OrderId,
    /// Why, for programs.
    pub reason: PaymentFailure,
    /// Why, for people; without card or account data.
    pub detail: String,
}

/// Why a payment was not captured.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentFailure {
    /// The provider refused for good.
    Declined,
    /// The provider could not be reached in time.
    ProviderUnavailable,
    /// The order had been cancelled before its payment was asked for.
    OrderCancelled,
}

/// The customer's money went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// The order.
    pub order_id: OrderId,
    /// The payment that was captured.
    pub payment_id: PaymentId,
    /// How much; what was captured.
    pub amount: Money,
}
