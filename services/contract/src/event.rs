//! The events: one struct per payload, one line per event in the table below.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{CustomerId, DecodeError, Money, OrderId, ProductId, Topic};

/// Declares [`Event`]: per line the payload, its version, its topic and the field that is the record's key.
macro_rules! events {
    ($($payload:ident v $version:literal on $topic:ident by $key:ident,)+) => {
        /// A fact of the order system. Serialized, it is its payload.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        #[expect(missing_docs, reason = "each variant is documented at its payload")]
        pub enum Event {
            $($payload($payload),)+
        }

        impl Event {
            /// Every event, as the catalogue declares it.
            pub const TYPES: &'static [EventType] = &[
                $(EventType { name: stringify!($payload), version: $version, topic: Topic::$topic },)+
            ];

            /// What the catalogue declares about this event.
            #[must_use]
            pub const fn declared(&self) -> EventType {
                match self {
                    $(Self::$payload(_) => EventType {
                        name: stringify!($payload),
                        version: $version,
                        topic: Topic::$topic,
                    },)+
                }
            }

            /// The record's key: what the event is in order with.
            #[must_use]
            pub fn key(&self) -> String {
                match self {
                    $(Self::$payload(payload) => payload.$key.to_string(),)+
                }
            }

            pub(crate) fn decode(name: &str, version: u16, payload: &RawValue) -> Result<Self, DecodeError> {
                match (name, version) {
                    $((stringify!($payload), $version) => serde_json::from_str(payload.get())
                        .map(Self::$payload)
                        .map_err(|source| DecodeError::InvalidPayload {
                            event_type: stringify!($payload),
                            source,
                        }),)+
                    _ => Err(undeclared(name, version)),
                }
            }
        }

        $(impl From<$payload> for Event {
            fn from(payload: $payload) -> Self {
                Self::$payload(payload)
            }
        })+
    };
}

events! {
    OrderCreated v 1 on OrdersCreated by order_id,
    OrderConfirmed v 1 on OrdersConfirmed by order_id,
    OrderCompleted v 1 on OrdersCompleted by order_id,
    OrderCancelled v 1 on OrdersCancelled by order_id,
    InventoryReserved v 1 on InventoryReserved by order_id,
    InventoryFailed v 1 on InventoryFailed by order_id,
    InventoryReleased v 1 on InventoryReleased by order_id,
    InventoryUpdated v 1 on InventoryUpdated by product_id,
    NotificationSent v 1 on NotificationsSent by order_id,
}

/// What the catalogue declares about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventType {
    /// `event_type` on the wire.
    pub name: &'static str,
    /// `event_version` on the wire: raised when a reader of the old one would misunderstand the new one.
    pub version: u16,
    /// The one topic that carries it.
    pub topic: Topic,
}

impl Event {
    /// The topic that carries the event.
    #[must_use]
    pub const fn topic(&self) -> Topic {
        self.declared().topic
    }

    /// `event_type` on the wire, such as `OrderCreated`.
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        self.declared().name
    }

    /// `event_version` on the wire.
    #[must_use]
    pub const fn version(&self) -> u16 {
        self.declared().version
    }

    /// The order that the event is about, if it is about one.
    #[must_use]
    pub const fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::OrderCreated(event) => Some(event.order_id),
            Self::OrderConfirmed(event) => Some(event.order_id),
            Self::OrderCompleted(event) => Some(event.order_id),
            Self::OrderCancelled(event) => Some(event.order_id),
            Self::InventoryReserved(event) => Some(event.order_id),
            Self::InventoryFailed(event) => Some(event.order_id),
            Self::InventoryReleased(event) => Some(event.order_id),
            Self::InventoryUpdated(_) => None,
            Self::NotificationSent(event) => Some(event.order_id),
        }
    }
}

fn undeclared(name: &str, version: u16) -> DecodeError {
    match Event::TYPES.iter().find(|declared| declared.name == name) {
        Some(declared) => DecodeError::UnsupportedVersion {
            event_type: declared.name,
            version,
            supported: declared.version,
        },
        // Cut, because it goes into logs and headers and nobody knows who wrote it.
        None => DecodeError::UnknownType { event_type: name.chars().take(100).collect() },
    }
}

/// An order was accepted. Its saga begins: the first step's service acts on this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    /// The order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer: Contact,
    /// What was ordered; at least one, each product once.
    pub items: Vec<OrderItem>,
    /// The sum of the items.
    pub total: Money,
}

/// Every step succeeded. The order is never cancelled from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer: Contact,
    /// What was ordered.
    pub items: Vec<OrderItem>,
    /// The sum of the items.
    pub total: Money,
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
    /// Who ordered.
    pub customer: Contact,
    /// What was ordered.
    pub items: Vec<OrderItem>,
    /// The sum of the items.
    pub total: Money,
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
    /// A step's service did not answer before the deadline.
    StepTimedOut,
    /// A step was refused for a reason of its own.
    StepRefused,
}

/// All of an order's items are held for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReserved {
    /// The order.
    pub order_id: OrderId,
    /// What is held.
    pub items: Vec<StockItem>,
    /// When the inventory may take it back, should nobody confirm or cancel the order.
    pub expires_at: Timestamp,
}

/// Nothing is held for the order: all of it is reserved, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryFailed {
    /// The order.
    pub order_id: OrderId,
    /// Why.
    pub reason: InventoryFailure,
    /// The items that stood in the way; empty where stock was not the reason.
    pub shortages: Vec<Shortage>,
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
    /// Units in the warehouse that nobody holds.
    pub on_hand: u64,
    /// Units held for orders that are not decided yet.
    pub reserved: u64,
    /// Units sold since the product is known.
    pub sold: u64,
    /// Units that a new order can get. Stated, so that consumers need not know how it follows from the rest.
    pub available: u64,
}

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
