//! One envelope per event, with every optional field filled at least once.

use contract::{
    Address, CancelReason, Channel, ChannelOutcome, ChannelResult, Contact, Currency, Envelope, Event,
    InventoryFailed, InventoryFailure, InventoryReleased, InventoryReserved, InventoryUpdated, Money,
    NotificationKind, NotificationSent, OrderCancelled, OrderCompleted, OrderConfirmed, OrderCreated,
    OrderDetails, OrderId, OrderItem, PaymentCaptured, PaymentFailed, PaymentFailure, PaymentId,
    PaymentRefunded, ReleaseReason, SalesRow, SalesUpdated, ShipmentId, ShippingCancelled, ShippingDelivered,
    ShippingFailed, ShippingFailure, ShippingScheduled, Shortage, Step, StockItem, WindowStatus,
};
use uuid::Uuid;

/// The samples, in the catalogue's order. The first has no cause; each other is caused by the first.
pub(crate) fn all() -> Vec<Envelope> {
    let participants = inventory().into_iter().chain(payments()).chain(shipping());
    let events: Vec<Event> =
        orders().into_iter().chain(participants).chain([notification(), sales()]).collect();
    events.into_iter().enumerate().map(|(index, event)| envelope(index, event)).collect()
}

fn envelope(index: usize, event: Event) -> Envelope {
    let event_id = |index: usize| {
        Uuid::from_u128(0x0195_b3d2_7c00_7000_8000_0000_0000_0000 + u128::try_from(index).unwrap())
    };
    Envelope {
        event_id: event_id(index),
        timestamp: "2026-03-20T09:15:30.250Z".parse().unwrap(),
        correlation_id: "req-7f3a".parse().unwrap(),
        causation_id: (index > 0).then(|| event_id(0)),
        metadata: [("user".to_owned(), "ada".to_owned())].into(),
        event,
    }
}

fn orders() -> [Event; 4] {
    let (order_id, total) = (order_id(), Money::new(5198, Currency::USD));
    [
        OrderCreated { order_id, details: details() }.into(),
        OrderConfirmed { order_id, details: details() }.into(),
        OrderCompleted { order_id, total }.into(),
        OrderCancelled {
            order_id,
            details: OrderDetails {
                customer: Contact { email: None, phone: None, ..ada() },
                ship_to: Address::default(),
                steps: None,
                ..details()
            },
            reason: CancelReason::OutOfStock,
            detail: "burger: 2 ordered, 1 available".into(),
        }
        .into(),
    ]
}

fn inventory() -> [Event; 4] {
    let (order_id, product_id) = (order_id(), "burger".parse().unwrap());
    let held = vec![StockItem { product_id: "burger".parse().unwrap(), quantity: 2 }];
    let shortages = vec![Shortage { product_id: "burger".parse().unwrap(), requested: 2, available: 1 }];
    let expires_at = "2026-03-20T09:30:30Z".parse().unwrap();
    [
        InventoryReserved { order_id, items: held.clone(), expires_at, details: details() }.into(),
        InventoryFailed {
            order_id,
            reason: InventoryFailure::OutOfStock,
            shortages,
            waits_until: Some(expires_at),
        }
        .into(),
        InventoryReleased { order_id, items: held, reason: ReleaseReason::OrderCancelled }.into(),
        InventoryUpdated { product_id, on_hand: 98, reserved: 2, sold: 7, available: 98 }.into(),
    ]
}

fn payments() -> [Event; 3] {
    let (order_id, payment_id) = (order_id(), PaymentId::new(Uuid::from_u128(0x7a)));
    let amount = details().total;
    let detail = "the card has expired".to_owned();
    [
        PaymentCaptured { order_id, payment_id, amount, details: details() }.into(),
        PaymentFailed { order_id, reason: PaymentFailure::Declined, detail }.into(),
        PaymentRefunded { order_id, payment_id, amount }.into(),
    ]
}

fn shipping() -> [Event; 4] {
    let (order_id, shipment_id) = (order_id(), ShipmentId::new(Uuid::from_u128(0x5b)));
    let (carrier, tracking_number) = ("Parcel Express".to_owned(), "PX-0000-0091".to_owned());
    let detail = "nobody delivers to the moon".to_owned();
    let delivered_at = "2026-03-22T16:40:00Z".parse().unwrap();
    [
        ShippingScheduled { order_id, shipment_id, carrier, tracking_number }.into(),
        ShippingFailed { order_id, reason: ShippingFailure::Refused, detail }.into(),
        ShippingDelivered { order_id, shipment_id, delivered_at }.into(),
        ShippingCancelled { order_id, shipment_id }.into(),
    ]
}

fn notification() -> Event {
    let result = |channel, outcome, detail: Option<&str>| ChannelResult {
        channel,
        outcome,
        detail: detail.map(str::to_owned),
    };
    NotificationSent {
        order_id: order_id(),
        kind: NotificationKind::Confirmed,
        channels: vec![
            result(Channel::Email, ChannelOutcome::Sent, None),
            result(Channel::Sms, ChannelOutcome::Skipped, Some("no SMS provider is configured")),
        ],
    }
    .into()
}

fn sales() -> Event {
    SalesUpdated {
        row: SalesRow {
            window_start: "2026-03-20T09:00:00Z".parse().unwrap(),
            window_end: "2026-03-20T10:00:00Z".parse().unwrap(),
            currency: Currency::USD,
            product_id: Some("burger".parse().unwrap()),
            partition: 2,
        },
        status: WindowStatus::Open,
        orders: 3,
        units: 7,
        revenue_minor: 18193,
    }
    .into()
}

fn order_id() -> OrderId {
    "0195b3d2-7bff-7abc-8def-0123456789ab".parse().unwrap()
}

fn details() -> OrderDetails {
    let ship_to = Address {
        address: Some("12 St James's Square".into()),
        city: Some("London".into()),
        state: Some("LDN".into()),
        zip_code: Some("SW1Y 4JH".into()),
    };
    let steps = Some(Step::ALL.to_vec());
    OrderDetails { customer: ada(), ship_to, items: items(), total: Money::new(5198, Currency::USD), steps }
}

fn ada() -> Contact {
    Contact {
        customer_id: "C-1001".parse().unwrap(),
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: Some("ada@example.com".into()),
        phone: Some("+15550100".into()),
    }
}

fn items() -> Vec<OrderItem> {
    vec![OrderItem { product_id: "burger".parse().unwrap(), quantity: 2, unit_price_minor: 2599 }]
}
