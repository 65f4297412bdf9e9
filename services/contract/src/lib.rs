//! The wire contract of the order system, and the one place where a topic, an event or a service is declared.
//!
//! - [`Event`] and its payloads, carried in an [`Envelope`], written and read by [`codec`] or [`avro`],
//!   described to other tools by [`headers`].
//! - [`Topic`]: the catalogue of topics. [`Service`]: the roster, with what each service reads and writes.
//!
//! Pure: types, their validation and their encoding. No clock, no I/O, no async; `domain`, `messaging`, the
//! services and the operator all build on it.

pub mod avro;
pub mod codec;
mod envelope;
mod event;
pub mod headers;
mod ids;
mod money;
mod service;
mod topic;

pub use codec::DecodeError;
pub use envelope::Envelope;
pub use event::{
    Address, CancelReason, Channel, ChannelOutcome, ChannelResult, Contact, Event, EventType,
    InventoryFailed, InventoryFailure, InventoryReleased, InventoryReserved, InventoryUpdated,
    NotificationKind, NotificationSent, OrderCancelled, OrderCompleted, OrderConfirmed, OrderCreated,
    OrderDetails, OrderItem, PaymentCaptured, PaymentFailed, PaymentFailure, PaymentRefunded, ReleaseReason,
    SalesRow, SalesUpdated, ShippingCancelled, ShippingDelivered, ShippingFailed, ShippingFailure,
    ShippingScheduled, Shortage, StockItem, WindowStatus,
};
pub use ids::{CorrelationId, CustomerId, InvalidId, OrderId, PaymentId, ProductId, ShipmentId};
pub use money::{Currency, Money, UnknownCurrency};
pub use service::{Service, ServiceSpec, Step};
pub use topic::{Cleanup, KeyedBy, Topic, TopicSpec};
