//! What the services' own tests share.

use contract::{Address, Contact, Currency, Envelope, Event, Money, OrderDetails, OrderId, OrderItem};
use jiff::Timestamp;
use messaging::{Delivery, Effects, HandleError, Handler, KafkaConfig};
use sqlx::PgPool;
use uuid::Uuid;

/// A broker that nobody needs: what is emitted stays in the outbox.
pub(crate) fn nowhere() -> KafkaConfig {
    KafkaConfig::plaintext("127.0.0.1:1", "test", "")
}

/// The event as it arrives, as a part of the story of its key.
pub(crate) fn delivery(event: &Event) -> Delivery {
    let story = format!("story-{}", event.key()).parse().unwrap();
    let envelope = Envelope::new(event.clone(), story, Timestamp::now());
    Delivery { key: event.key(), topic: event.topic(), envelope, partition: 0, offset: 0 }
}

/// Hands over `events` in one batch and commits; what was emitted.
pub(crate) async fn react<H: Handler>(
    handler: &H,
    pool: &PgPool,
    events: &[Event],
) -> Result<Vec<Envelope>, HandleError> {
    let batch: Vec<Delivery> = events.iter().map(delivery).collect();
    let mut tx = pool.begin().await.unwrap();
    let mut effects = Effects::new(&mut tx, Timestamp::now());
    handler.handle(&mut effects, &batch).await?;
    let outgoing = effects.into_outgoing();
    tx.commit().await.unwrap();
    Ok(outgoing)
}

pub(crate) fn new_order() -> OrderId {
    OrderId::new(Uuid::now_v7())
}

/// What `customer` ordered.
pub(crate) fn details(customer: &str, items: Vec<OrderItem>) -> OrderDetails {
    let customer = Contact {
        customer_id: customer.parse().unwrap(),
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: None,
        phone: None,
    };
    let total = Money::new(899, Currency::USD);
    OrderDetails { customer, ship_to: Address::default(), items, total, steps: None }
}
