//! Rows that somebody spoilt by hand: they keep no other waiting. And time limits that must not count yet.

use super::super::waker::{Server, Skipped};
use super::*;

const MOMENT: Duration = Duration::from_secs(1);

impl Shop {
    async fn spoil(&self, statement: &'static str, order: OrderId) {
        sqlx::query(statement).bind(order.as_uuid()).execute(&self.pool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_that_cannot_be_read_keeps_no_other_from_expiring() {
    let shop = Shop::open().await;
    let (spoilt, sound) = (new_order(), new_order());
    shop.react(&[created(spoilt, &[("pizza", 1)]), created(sound, &[("burger", 4)])]).await;
    shop.spoil("UPDATE reservations SET items = '7' WHERE order_id = $1", spoilt).await;
    let over = Timestamp::now() + TTL;

    let found = shop.sweeper().sweep(over, Ending::WaitsAndHolds).await.unwrap();

    assert_eq!(found, 1);
    assert_eq!((shop.status(spoilt).await, shop.status(sound).await), ("HELD".into(), "EXPIRED".into()));
    assert_eq!(shop.level("burger").await, (10, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_that_the_books_contradict_keeps_no_other_from_expiring() {
    let shop = Shop::open().await;
    let (spoilt, sound) = (new_order(), new_order());
    shop.react(&[created(spoilt, &[("pizza", 1)]), created(sound, &[("burger", 4)])]).await;
    sqlx::query("UPDATE stock SET reserved = 0 WHERE product_id = 'pizza'")
        .execute(&shop.pool)
        .await
        .unwrap();
    let over = Timestamp::now() + TTL;

    let found = shop.sweeper().sweep(over, Ending::WaitsAndHolds).await.unwrap();
    let found_again = shop.sweeper().sweep(over, Ending::WaitsAndHolds).await.unwrap();

    assert_eq!((found, found_again), (2, 0), "it is not looked at again at once");
    assert_eq!((shop.status(spoilt).await, shop.status(sound).await), ("HELD".into(), "EXPIRED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_in_line_that_cannot_be_read_keeps_no_other_waiting() {
    for statement in [
        "UPDATE backorders SET cause = '\\x00' WHERE order_id = $1",
        "UPDATE reservations SET items = '7' WHERE order_id = $1",
    ] {
        let mut shop = Shop::open().await;
        shop.backorder_timeout = Some(TTL);
        let (spoilt, sound) = (new_order(), new_order());
        shop.react(&[created(spoilt, &[("pizza", 2)]), created(sound, &[("pizza", 3)])]).await;
        shop.spoil(statement, spoilt).await;
        sqlx::query("UPDATE stock SET on_hand = 5 WHERE product_id = 'pizza'")
            .execute(&shop.pool)
            .await
            .unwrap();
        let (pool, outbox) = (shop.pool.clone(), shop.messaging.outbox().clone());
        let (waker, metrics) = (Waker::default(), shop.metrics.clone());
        let server =
            Server { pool, outbox, waker, reservation_ttl: TTL, metrics, skipped: Skipped::default() };

        let served = server.serve(Timestamp::now(), None).await.unwrap();

        assert_eq!(served.orders, 1);
        let statuses = (shop.status(spoilt).await, shop.status(sound).await);
        assert_eq!(statuses, ("BACKORDERED".into(), "HELD".into()), "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn units_are_held_while_decisions_may_have_gone_unheard_but_nobody_waits_longer() {
    let mut shop = Shop::open().await;
    shop.backorder_timeout = Some(TTL);
    let (held, waiting) = (new_order(), new_order());
    shop.react(&[created(held, &[("burger", 4)]), created(waiting, &[("pizza", 2)])]).await;
    let (over, sweeper) = (Timestamp::now() + TTL, shop.sweeper());

    // It has just started: what was decided meanwhile may wait in Kafka.
    sweeper.take_turn(over).await.unwrap();
    assert_eq!((shop.status(held).await, shop.status(waiting).await), ("HELD".into(), "REFUSED".into()));
    sweeper.take_turn(over + TTL - MOMENT).await.unwrap();
    assert_eq!(shop.status(held).await, "HELD");

    sweeper.take_turn(over + TTL + MOMENT).await.unwrap();
    assert_eq!(shop.status(held).await, "EXPIRED");
}
