//! What the notification service says.

use serde::{Deserialize, Serialize};

use crate::OrderId;

/// The customer was told something about the order, or could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationSent {
    /// The order.
    pub order_id: OrderId,
    /// What about.
    pub kind: NotificationKind,
    /// What became of each channel.
    pub channels: Vec<ChannelResult>,
}

/// What a customer is told about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum NotificationKind {
    /// The order was received.
    Created,
    /// The order is confirmed.
    Confirmed,
    /// The order was cancelled.
    Cancelled,
}

/// What became of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelResult {
    /// The channel.
    pub channel: Channel,
    /// What became of it.
    pub outcome: ChannelOutcome,
    /// Why, where it was not sent; without addresses or other personal data.
    pub detail: Option<String>,
}

/// A way to reach a customer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Channel {
    /// E-mail.
    Email,
    /// Text message.
    Sms,
}

/// What became of a message on one channel.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ChannelOutcome {
    /// Handed over to the provider.
    Sent,
    /// Given up after retries.
    Failed,
    /// Not tried: no address, or the channel is not configured.
    Skipped,
}
