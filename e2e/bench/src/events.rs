//! The events that measurements publish.

use anyhow::Result;
use contract::{
    Address, Contact, Currency, Envelope, Event, Money, OrderCompleted, OrderConfirmed, OrderDetails,
    OrderId, OrderItem,
};
use jiff::Timestamp;
use uuid::Uuid;

/// Of so many products one is in each confirmed order.
const PRODUCTS: usize = 100;

/// A small one: an order that was completed just now.
pub(crate) fn completed() -> Result<Envelope> {
    let total = Money::new(5198, Currency::USD);
    envelope(OrderCompleted { order_id: new_order(), total }.into())
}

/// A large one: the order of this `number`, confirmed just now, in full.
pub(crate) fn confirmed(number: usize) -> Result<Envelope> {
    let items = vec![OrderItem {
        product_id: format!("product-{}", number % PRODUCTS).parse()?,
        quantity: 2,
        unit_price_minor: 899,
    }];
    let customer = Contact {
        customer_id: "C-1".parse()?,
        first_name: "Ada".to_owned(),
        last_name: "Lovelace".to_owned(),
        email: Some("ada@example.com".to_owned()),
        phone: None,
    };
    let total = Money::new(1798, Currency::USD);
    let details = OrderDetails { customer, ship_to: Address::default(), items, total, steps: None };
    envelope(OrderConfirmed { order_id: new_order(), details }.into())
}

fn new_order() -> OrderId {
    OrderId::new(Uuid::now_v7())
}

fn envelope(event: Event) -> Result<Envelope> {
    Ok(Envelope::new(event, "bench".parse()?, Timestamp::now()))
}
