//! What can be wrong.

use contract::{Currency, NotificationKind, OrderId, ProductId, Service, Topic};
use serde::{Serialize, Serializer};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum Violation {
    #[error("order {order} was accepted, and the order service does not know it")]
    OrderLost { order: OrderId },
    #[error("order {order} is on record, and nobody was told that it was accepted")]
    OrderFromNowhere { order: OrderId },
    #[error("order {order} has not ended: it is {status}")]
    NotEnded { order: OrderId, status: String },
    #[error("order {order} ended {completed} times well and {cancelled} times badly, and not once")]
    NotOneEnd { order: OrderId, completed: usize, cancelled: usize },
    #[error("order {order} is {status} on record, and something else on the topics")]
    EndDisagrees { order: OrderId, status: String },
    #[error("{topic} says {count} times the same about order {order}, in different events")]
    SaidTwice {
        order: OrderId,
        #[serde(serialize_with = "name")]
        topic: Topic,
        count: usize,
    },
    #[error("the customer of order {order} was told {count} times that it is {message:?}")]
    ToldTwice { order: OrderId, message: NotificationKind, count: usize },
    #[error("order {order}: {said} was said, and {missing} was not")]
    Missing {
        order: OrderId,
        #[serde(serialize_with = "name")]
        said: Topic,
        #[serde(serialize_with = "name")]
        missing: Topic,
    },
    #[error("order {order}: both {first} and {second} were said")]
    Contradiction {
        order: OrderId,
        #[serde(serialize_with = "name")]
        first: Topic,
        #[serde(serialize_with = "name")]
        second: Topic,
    },
    #[error("{topic} speaks of order {order}, which does not exist")]
    Stray {
        order: OrderId,
        #[serde(serialize_with = "name")]
        topic: Topic,
    },
    #[error("{product}: {found} units on hand, reserved or sold, and {stocked} were put into stock")]
    StockLeaks { product: ProductId, found: u64, stocked: u64 },
    #[error("{product}: {reserved} units are reserved, and no order is undecided")]
    StockHeld { product: ProductId, reserved: u64 },
    #[error("{product}: {sold} units are sold, and the confirmed orders have {confirmed}")]
    SalesDisagree { product: ProductId, sold: u64, confirmed: u64 },
    #[error("order {order} is {order_status}, and its reservation is {reservation}")]
    ReservationDisagrees { order: OrderId, order_status: String, reservation: String },
    #[error(
        "{currency}: {captured} captured less {refunded} refunded is not the {confirmed} of the confirmed orders"
    )]
    MoneyDisagrees { currency: Currency, captured: i128, refunded: i128, confirmed: i128 },
    #[error("{currency}: the payments on record keep {recorded}, and the topics say {said}")]
    LedgerDisagrees { currency: Currency, recorded: i128, said: i128 },
    #[error("order {order} is {order_status}, and its shipment is {parcel}")]
    ParcelDisagrees { order: OrderId, order_status: String, parcel: String },
    #[error("{service} has {rows} events in its outbox")]
    OutboxNotEmpty { service: Service, rows: u64 },
    #[error("{service} has {rows} events parked")]
    ParkedNotEmpty { service: Service, rows: u64 },
    #[error("{service} has {records} records to read")]
    Behind { service: Service, records: u64 },
    #[error("there are {found} dead letters, and {injected} were injected")]
    DeadLetters { found: u64, injected: u64 },
}

impl Violation {
    /// The kind, as it stands in JSON.
    #[must_use]
    pub fn kind(&self) -> String {
        let json = serde_json::to_value(self).unwrap_or_default();
        json.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

fn name<S: Serializer>(topic: &Topic, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(topic.name())
}
