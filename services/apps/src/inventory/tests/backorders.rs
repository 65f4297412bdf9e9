//! Orders that wait for stock.

use contract::{Event, InventoryFailure};

use super::super::waker::{PAGE, Served, Server, Skipped};
use super::*;

const LONGEST: Duration = Duration::from_secs(60);

impl Shop {
    /// One whose orders wait for stock, a minute at most. There is no burger, and one pizza.
    async fn with_backorders() -> Self {
        let mut shop = Self::open().await;
        shop.backorder_timeout = Some(LONGEST);
        shop.set("burger", 0).await;
        shop
    }

    async fn set(&self, name: &str, on_hand: i64) {
        sqlx::query("UPDATE stock SET on_hand = $2 WHERE product_id = $1")
            .bind(name)
            .bind(on_hand)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    /// A process that looks along the lines once and serves those who wait; returns how many it served.
    async fn serve(&self) -> usize {
        let (pool, outbox) = (self.pool.clone(), self.messaging.outbox().clone());
        let (waker, metrics) = (Waker::default(), self.metrics.clone());
        let skipped = Skipped::default();
        let server = Server { pool, outbox, waker, reservation_ttl: TTL, metrics, skipped };
        let (mut served, mut look) = (0, None);
        loop {
            let Served { orders, next } = server.serve(Timestamp::now(), look).await.unwrap();
            served += orders;
            look = next;
            if look.is_none() {
                return served;
            }
        }
    }

    async fn statuses(&self, orders: &[OrderId]) -> Vec<String> {
        let mut statuses = Vec::new();
        for order in orders {
            statuses.push(self.status(*order).await);
        }
        statuses
    }

    async fn backordered(&self, name: &str) -> i64 {
        sqlx::query_scalar("SELECT backordered FROM stock WHERE product_id = $1")
            .bind(name)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    async fn places(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM backorders").fetch_one(&self.pool).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_served_in_the_order_in_which_they_came() {
    let shop = Shop::with_backorders().await;
    // Ids in the opposite order.
    let mut orders = [new_order(), new_order(), new_order()];
    orders.reverse();
    let burgers = [("burger", 2)];

    let told = shop.react(&orders.map(|order| created(order, &burgers))).await;
    shop.set("burger", 5).await;
    let (first, second) = (shop.serve().await, shop.serve().await);

    let waits = |envelope: &Envelope| {
        matches!(&envelope.event, Event::InventoryFailed(failed)
            if failed.reason == InventoryFailure::OutOfStock && failed.waits_until.is_some())
    };
    assert!(told.len() == 4 && told[..3].iter().all(waits), "{told:?}");
    assert_eq!((first, second), (2, 0));
    assert_eq!(shop.statuses(&orders).await, ["HELD", "HELD", "BACKORDERED"]);
    assert_eq!(shop.level("burger").await, (1, 4, 0));
    assert_eq!((shop.backordered("burger").await, shop.places().await), (2, 1));
    let served: Vec<String> = shop.outbox().await.into_iter().map(|(topic, ..)| topic).collect();
    assert_eq!(served, ["inventory.reserved", "inventory.reserved", "inventory.updated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wait_for_is_not_given_to_a_new_order() {
    let shop = Shop::with_backorders().await;
    let (first, second) = (new_order(), new_order());
    shop.react(&[created(first, &[("burger", 1), ("pizza", 1)])]).await;

    shop.react(&[created(second, &[("pizza", 1)])]).await;

    assert_eq!(shop.statuses(&[first, second]).await, ["BACKORDERED", "BACKORDERED"]);
    assert_eq!(shop.level("pizza").await, (1, 0, 0));
    assert_eq!(shop.serve().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_leaves_the_line_to_those_behind_it() {
    let shop = Shop::with_backorders().await;
    let (first, second, list) = (new_order(), new_order(), [("burger", 2)]);
    shop.react(&[created(first, &list), created(second, &list)]).await;

    shop.react(&[cancelled(first, &list)]).await;
    let told_again = shop.react(&[cancelled(first, &list), created(first, &list)]).await;
    shop.set("burger", 2).await;

    assert_eq!(told_again, []);
    assert_eq!(shop.serve().await, 1);
    assert_eq!(shop.statuses(&[first, second]).await, ["REFUSED", "HELD"]);
    assert_eq!((shop.backordered("burger").await, shop.places().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_waited_long_enough_fails() {
    let shop = Shop::with_backorders().await;
    let order = new_order();
    shop.react(&[created(order, &[("burger", 2)])]).await;

    let now = Timestamp::now();
    assert_eq!(shop.sweeper().sweep(now, Ending::WaitsAndHolds).await.unwrap(), 0);
    assert_eq!(shop.sweeper().sweep(now + LONGEST, Ending::WaitsAndHolds).await.unwrap(), 1);

    assert_eq!(shop.statuses(&[order]).await, ["REFUSED"]);
    let told: Vec<String> = shop.outbox().await.into_iter().map(|(topic, ..)| topic).collect();
    assert_eq!(told, ["inventory.failed", "inventory.updated"]);
    assert_eq!((shop.backordered("burger").await, shop.places().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_longer_than_a_page_is_served_to_its_end_and_those_in_front_keep_theirs() {
    let shop = Shop::with_backorders().await;
    // Two pages and more in front: they want a burger as well, and there is none.
    let in_front: Vec<OrderId> = (0..2 * PAGE + 10).map(|_| new_order()).collect();
    let behind: Vec<OrderId> = (0..PAGE + 10).map(|_| new_order()).collect();
    let pair = [("burger", 1), ("pizza", 1)];
    shop.react(&in_front.iter().map(|order| created(*order, &pair)).collect::<Vec<_>>()).await;
    shop.react(&behind.iter().map(|order| created(*order, &pair[1..])).collect::<Vec<_>>()).await;

    shop.set("pizza", in_front.len() as i64).await;
    assert_eq!(shop.serve().await, 0, "all are kept for those in front");
    shop.set("pizza", (in_front.len() + PAGE + 1) as i64).await;
    let served = shop.serve().await;

    assert_eq!(served, PAGE + 1);
    assert!(shop.statuses(&in_front).await.iter().all(|status| status == "BACKORDERED"));
    let (held, waiting) = behind.split_at(served);
    assert!(shop.statuses(held).await.iter().all(|status| status == "HELD"), "the first ones");
    assert!(shop.statuses(waiting).await.iter().all(|status| status == "BACKORDERED"));
    assert_eq!(shop.level("pizza").await, (in_front.len() as u64, served as u64, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_serve_at_once_while_orders_come_and_go_promise_no_unit_twice() {
    let shop = Shop::with_backorders().await;
    let orders: Vec<OrderId> = (0..60).map(|_| new_order()).collect();
    let pair = [("burger", 1), ("pizza", 1)];
    shop.react(&orders[..40].iter().map(|order| created(*order, &pair)).collect::<Vec<_>>()).await;
    shop.set("burger", 30).await;
    shop.set("pizza", 20).await;

    let mut work = Vec::new();
    for chunk in 0..4 {
        let (server, handler, orders) = (shop.clone(), shop.clone(), orders.clone());
        work.push(tokio::spawn(async move {
            server.serve().await;
        }));
        let gone = orders[chunk * 10..chunk * 10 + 5].iter().map(|order| cancelled(*order, &pair));
        let come = orders[40 + chunk * 5..45 + chunk * 5].iter().map(|order| created(*order, &pair));
        let batch: Vec<Event> = gone.chain(come).collect();
        work.push(tokio::spawn(async move { drop(handler.react(&batch).await) }));
    }
    for one in work {
        one.await.unwrap();
    }
    while shop.serve().await > 0 {}

    // Forty want a pair, and there are twenty.
    assert_eq!(shop.level("pizza").await, (0, 20, 0));
    assert_eq!(shop.level("burger").await, (10, 20, 0));
    assert_eq!((shop.backordered("pizza").await, shop.places().await), (20, 40));
}
