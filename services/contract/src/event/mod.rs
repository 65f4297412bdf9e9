//! The events: one line per event in the table below, one struct per payload in the file of the service that
//! says it.

mod inventory;
mod notification;
mod order;
mod payment;
mod sales;
mod shipping;

use serde::{Deserialize, Deserializer, Serialize};

pub use self::inventory::{
    InventoryFailed, InventoryFailure, InventoryReleased, InventoryReserved, InventoryUpdated, ReleaseReason,
    Shortage, StockItem,
};
pub use self::notification::{Channel, ChannelOutcome, ChannelResult, NotificationKind, NotificationSent};
pub use self::order::{
    Address, CancelReason, Contact, OrderCancelled, OrderCompleted, OrderConfirmed, OrderCreated,
    OrderDetails, OrderItem,
};
pub use self::payment::{PaymentCaptured, PaymentFailed, PaymentFailure, PaymentRefunded};
pub use self::sales::{SalesRow, SalesUpdated, WindowStatus};
pub use self::shipping::{
    ShippingCancelled, ShippingDelivered, ShippingFailed, ShippingFailure, ShippingScheduled,
};
use crate::avro::{Records, Shape, Type};
use crate::{DecodeError, OrderId, Step, Topic};

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

            /// Every event with the Avro form of its payload.
            pub(crate) const SHAPES: &'static [(EventType, fn(&mut Records) -> Type)] = &[
                $((
                    EventType { name: stringify!($payload), version: $version, topic: Topic::$topic },
                    <$payload as Shape>::shape,
                ),)+
            ];

            pub(crate) fn decode<'de>(
                name: &str,
                version: u16,
                payload: impl Deserializer<'de, Error = serde_json::Error>,
            ) -> Result<Self, DecodeError> {
                match (name, version) {
                    $((stringify!($payload), $version) => Deserialize::deserialize(payload)
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
    PaymentCaptured v 1 on PaymentsCaptured by order_id,
    PaymentFailed v 1 on PaymentsFailed by order_id,
    PaymentRefunded v 1 on PaymentsRefunded by order_id,
    ShippingScheduled v 1 on ShippingScheduled by order_id,
    ShippingFailed v 1 on ShippingFailed by order_id,
    ShippingDelivered v 1 on ShippingDelivered by order_id,
    ShippingCancelled v 1 on ShippingCancelled by order_id,
    NotificationSent v 1 on NotificationsSent by order_id,
    SalesUpdated v 1 on AnalyticsSales by row,
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
            Self::InventoryUpdated(_) | Self::SalesUpdated(_) => None,
            Self::PaymentCaptured(event) => Some(event.order_id),
            Self::PaymentFailed(event) => Some(event.order_id),
            Self::PaymentRefunded(event) => Some(event.order_id),
            Self::ShippingScheduled(event) => Some(event.order_id),
            Self::ShippingFailed(event) => Some(event.order_id),
            Self::ShippingDelivered(event) => Some(event.order_id),
            Self::ShippingCancelled(event) => Some(event.order_id),
            Self::NotificationSent(event) => Some(event.order_id),
        }
    }
}

impl Event {
    /// The order in full, where the event carries it: the events that can ask a step's service to act.
    #[must_use]
    pub const fn details(&self) -> Option<&OrderDetails> {
        match self {
            Self::OrderCreated(event) => Some(&event.details),
            Self::OrderConfirmed(event) => Some(&event.details),
            Self::OrderCancelled(event) => Some(&event.details),
            Self::InventoryReserved(event) => Some(&event.details),
            Self::PaymentCaptured(event) => Some(&event.details),
            Self::OrderCompleted(_)
            | Self::InventoryFailed(_)
            | Self::InventoryReleased(_)
            | Self::InventoryUpdated(_)
            | Self::PaymentFailed(_)
            | Self::PaymentRefunded(_)
            | Self::ShippingScheduled(_)
            | Self::ShippingFailed(_)
            | Self::ShippingDelivered(_)
            | Self::ShippingCancelled(_)
            | Self::NotificationSent(_)
            | Self::SalesUpdated(_) => None,
        }
    }

    /// Whether the saga of the order that it speaks of goes through `step`; also where it does not say. A service that
    /// joins a pipeline later meets the events of orders that it has no part in.
    #[must_use]
    pub fn concerns(&self, step: Step) -> bool {
        let steps = self.details().and_then(|details| details.steps.as_deref());
        steps.is_none_or(|steps| steps.contains(&step))
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
