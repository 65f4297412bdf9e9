//! The Avro types of the contract's Rust types. Fields and variants are listed once more here, checked by the
//! compiler: a type that is changed and not its list does not compile, so that schemas follow the code.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::schema::{Field, Named, Schema, Type, Unit};
use crate::*;

/// The namespace of every type of the contract.
const NAMESPACE: &str = "dev.orderpipeline";

/// A type that has one form in Avro.
pub(crate) trait Shape {
    /// The form; records are put into `records` as well.
    fn shape(records: &mut Records) -> Type;
}

/// The records that a schema is made of.
#[derive(Default)]
pub(crate) struct Records(BTreeMap<String, Named>);

impl Records {
    fn add(&mut self, name: &str, fields: impl FnOnce(&mut Self) -> Vec<Field>) -> Type {
        let full = format!("{NAMESPACE}.{name}");
        if !self.0.contains_key(&full) {
            let fields = fields(self);
            self.0.insert(full.clone(), Named::Record(fields));
        }
        Type::Named(full)
    }
}

/// The schema of the envelope around the payload called `event`: records have one name each, so that the
/// envelopes of two events are two records.
pub(super) fn envelope(event: &str, payload: fn(&mut Records) -> Type) -> Schema {
    let mut records = Records::default();
    let root = records.add(&format!("{event}Envelope"), |records| {
        vec![
            field::<Uuid>("event_id", records),
            field::<String>("event_type", records),
            field::<u16>("event_version", records),
            field::<Timestamp>("timestamp", records),
            field::<CorrelationId>("correlation_id", records),
            field::<Option<Uuid>>("causation_id", records),
            Field { name: "payload".to_owned(), of: payload(records) },
            field::<BTreeMap<String, String>>("metadata", records),
        ]
    });
    Schema { root, named: records.0 }
}

fn field<T: Shape>(name: &str, records: &mut Records) -> Field {
    Field { name: name.to_owned(), of: T::shape(records) }
}

/// The field that `get` reads: its type is inferred, and so cannot be another one than the record's.
fn field_of<R, T: Shape>(name: &str, records: &mut Records, _get: fn(&R) -> &T) -> Field {
    field::<T>(name, records)
}

macro_rules! plain {
    ($($of:ty => $shape:expr,)+) => {
        $(impl Shape for $of {
            fn shape(_records: &mut Records) -> Type {
                $shape
            }
        })+
    };
}

plain! {
    bool => Type::Boolean,
    u16 => Type::Int,
    // Avro has signed numbers only.
    u32 => Type::Long,
    i64 => Type::Long,
    // Counts of things: what is above i64's maximum is refused when it is written.
    u64 => Type::Long,
    String => Type::String,
    // Every Avro tool knows it, and PostgreSQL keeps no finer time. Nanoseconds would end in the year 2262.
    Timestamp => Type::Timestamp(Unit::Micros),
    Uuid => Type::Uuid,
    OrderId => Type::Uuid,
    PaymentId => Type::Uuid,
    ShipmentId => Type::Uuid,
    ProductId => Type::String,
    CustomerId => Type::String,
    CorrelationId => Type::String,
    Currency => Type::String,
}

/// Optional fields are the ones that can be added and removed: their default is null.
impl<T: Shape> Shape for Option<T> {
    fn shape(records: &mut Records) -> Type {
        Type::Union(vec![Type::Null, T::shape(records)])
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn shape(records: &mut Records) -> Type {
        Type::Array(Box::new(T::shape(records)))
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn shape(records: &mut Records) -> Type {
        Type::Map(Box::new(T::shape(records)))
    }
}

macro_rules! records {
    ($($record:ident { $($field:ident),+ $(,)? })+) => {
        $(impl Shape for $record {
            fn shape(records: &mut Records) -> Type {
                let _all_fields = |record: Self| { let $record { $($field: _),+ } = record; };
                records.add(stringify!($record), |records| vec![
                    $(field_of(stringify!($field), records, |record: &Self| &record.$field)),+
                ])
            }
        })+
    };
}

records! {
    OrderCreated { order_id, details }
    OrderConfirmed { order_id, details }
    OrderCompleted { order_id, total }
    OrderCancelled { order_id, details, reason, detail }
    InventoryReserved { order_id, items, expires_at, details }
    InventoryFailed { order_id, reason, shortages, waits_until }
    InventoryReleased { order_id, items, reason }
    InventoryUpdated { product_id, on_hand, reserved, sold, available }
    PaymentCaptured { order_id, payment_id, amount, details }
    PaymentFailed { order_id, reason, detail }
    PaymentRefunded { order_id, payment_id, amount }
    ShippingScheduled { order_id, shipment_id, carrier, tracking_number }
    ShippingFailed { order_id, reason, detail }
    ShippingDelivered { order_id, shipment_id, delivered_at }
    ShippingCancelled { order_id, shipment_id }
    NotificationSent { order_id, kind, channels }
    SalesUpdated { row, status, orders, units, revenue_minor }
    Address { address, city, state, zip_code }
    ChannelResult { channel, outcome, detail }
    Contact { customer_id, first_name, last_name, email, phone }
    Money { amount_minor, currency }
    OrderDetails { customer, ship_to, items, total, steps }
    OrderItem { product_id, quantity, unit_price_minor }
    SalesRow { window_start, window_end, currency, product_id, partition }
    Shortage { product_id, requested, available }
    StockItem { product_id, quantity }
}

// Enums are texts. An Avro enum can only grow where readers have a default, and a reader that does not know a
// value would then act on the default instead of refusing the event by the value's name, as it does in JSON.
macro_rules! choices {
    ($($choice:ident { $($variant:ident),+ $(,)? })+) => {
        $(impl Shape for $choice {
            fn shape(_records: &mut Records) -> Type {
                let _all_variants = |choice: Self| match choice { $(Self::$variant => (),)+ };
                Type::Choice(vec![$(Self::$variant.to_string()),+])
            }
        })+
    };
}

choices! {
    CancelReason { OutOfStock, UnknownProduct, PaymentDeclined, NotShippable, StepTimedOut, StepRefused }
    Channel { Email, Sms }
    ChannelOutcome { Sent, Failed, Skipped }
    InventoryFailure { OutOfStock, UnknownProduct, OrderCancelled }
    NotificationKind { Created, Confirmed, Cancelled }
    PaymentFailure { Declined, ProviderUnavailable, OrderCancelled }
    ReleaseReason { OrderCancelled, Expired }
    ShippingFailure { Refused, CarrierUnavailable, OrderCancelled }
    Step { Inventory, Payment, Shipping }
    WindowStatus { Open, Idle, Closed }
}
