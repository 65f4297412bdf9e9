use contract::{
    Event, InventoryFailed, InventoryFailure, InventoryReleased, InventoryReserved, InventoryUpdated,
    ReleaseReason, Shortage, Step, StockItem,
};

use super::*;

fn units(list: &[(&str, u32)]) -> Vec<StockItem> {
    list.iter().map(|(name, quantity)| StockItem { product_id: product(name), quantity: *quantity }).collect()
}

fn level_of(name: &str, on_hand: u64, reserved: u64, sold: u64) -> Event {
    InventoryUpdated { product_id: product(name), on_hand, reserved, sold, available: on_hand }.into()
}

fn events(envelopes: Vec<Envelope>) -> Vec<Event> {
    envelopes.into_iter().map(|envelope| envelope.event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_order_holds_its_items_and_everybody_is_told() {
    let shop = Shop::open().await;
    let order_id = new_order();

    let told = shop.react(&[created(order_id, &[("pizza", 1), ("burger", 4)])]).await;

    let Some(Event::InventoryReserved(InventoryReserved { expires_at, .. })) = told.first().map(|e| &e.event)
    else {
        panic!("{told:?}");
    };
    let lasts = expires_at.duration_since(Timestamp::now());
    assert!(lasts.as_secs() > 800 && lasts.as_secs() <= 900, "{lasts:?}");
    let reserved = InventoryReserved {
        order_id,
        items: units(&[("burger", 4), ("pizza", 1)]),
        expires_at: *expires_at,
        details: details(&[("pizza", 1), ("burger", 4)]),
    };
    assert!(told.iter().all(|envelope| envelope.correlation_id.as_str() == format!("story-{order_id}")));
    assert_eq!(events(told), [reserved.into(), level_of("burger", 6, 4, 0), level_of("pizza", 0, 1, 0)]);
    assert_eq!(shop.level("burger").await, (6, 4, 0));
    assert_eq!(shop.level("pizza").await, (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_more_than_there_is_holds_nothing_and_says_what_is_missing() {
    let shop = Shop::open().await;
    let (order_id, strange) = (new_order(), new_order());

    let told = shop.react(&[created(order_id, &[("burger", 4), ("pizza", 2)])]).await;
    let told_of_strange = shop.react(&[created(strange, &[("soup", 1)])]).await;

    let short =
        |name: &str, requested, available| Shortage { product_id: product(name), requested, available };
    let (reason, shortages) = (InventoryFailure::OutOfStock, vec![short("pizza", 2, 1)]);
    assert_eq!(events(told), [InventoryFailed { order_id, reason, shortages, waits_until: None }.into()]);
    let (reason, shortages) = (InventoryFailure::UnknownProduct, vec![short("soup", 1, 0)]);
    assert_eq!(
        events(told_of_strange),
        [InventoryFailed { order_id: strange, reason, shortages, waits_until: None }.into()]
    );
    assert_eq!(shop.level("burger").await, (10, 0, 0));
    assert_eq!(shop.status(order_id).await, "REFUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_order_turns_what_it_holds_into_sold_units() {
    let shop = Shop::open().await;
    let (order_id, list) = (new_order(), [("burger", 4)]);
    shop.react(&[created(order_id, &list)]).await;

    let told = shop.react(&[confirmed(order_id, &list)]).await;

    assert_eq!(events(told), [level_of("burger", 6, 0, 4)]);
    assert_eq!(shop.status(order_id).await, "SOLD");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_frees_what_is_on_record_for_it() {
    let shop = Shop::open().await;
    let order_id = new_order();
    shop.react(&[created(order_id, &[("burger", 4)])]).await;

    // An event that does not name the product: the record decides, not the message.
    let told = shop.react(&[cancelled(order_id, &[])]).await;

    let (items, reason) = (units(&[("burger", 4)]), ReleaseReason::OrderCancelled);
    let released = InventoryReleased { order_id, items, reason };
    assert_eq!(events(told), [released.into(), level_of("burger", 10, 0, 0)]);
    assert_eq!(shop.status(order_id).await, "RELEASED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_cancelled_first_is_refused_when_it_comes() {
    let shop = Shop::open().await;
    let (order_id, list) = (new_order(), [("burger", 4)]);
    assert_eq!(shop.react(&[cancelled(order_id, &list)]).await, []);

    let told = shop.react(&[created(order_id, &list)]).await;

    let (reason, shortages) = (InventoryFailure::OrderCancelled, Vec::new());
    assert_eq!(events(told), [InventoryFailed { order_id, reason, shortages, waits_until: None }.into()]);
    assert_eq!(shop.react(&[created(order_id, &list), cancelled(order_id, &list)]).await, [], "it was said");
    assert_eq!(shop.level("burger").await, (10, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_one_batch_see_each_other() {
    let shop = Shop::open().await;
    let (first, second, third) = (new_order(), new_order(), new_order());
    let pizza = [("pizza", 1)];

    let told = shop
        .react(&[
            created(first, &pizza),
            created(second, &pizza),
            cancelled(first, &pizza),
            created(third, &pizza),
            confirmed(third, &pizza),
        ])
        .await;

    let names: Vec<_> =
        told.iter().map(|envelope| (envelope.event.event_type(), envelope.event.key())).collect();
    let [first, second, third] = [first, second, third].map(|order| order.to_string());
    let expected = [
        ("InventoryReserved", first.clone()),
        ("InventoryFailed", second),
        ("InventoryReleased", first),
        ("InventoryReserved", third),
        ("InventoryUpdated", "pizza".to_owned()),
    ];
    assert_eq!(names, expected);
    assert_eq!(shop.level("pizza").await, (0, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_again_changes_nothing() {
    let shop = Shop::open().await;
    let (order_id, list) = (new_order(), [("burger", 4)]);
    shop.react(&[created(order_id, &list)]).await;
    shop.react(&[confirmed(order_id, &list)]).await;

    let told =
        shop.react(&[created(order_id, &list), confirmed(order_id, &list), cancelled(order_id, &list)]).await;

    assert_eq!(told, []);
    assert_eq!(shop.level("burger").await, (6, 0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_decided_is_freed_when_its_time_is_over() {
    let shop = Shop::open().await;
    let order_id = new_order();
    shop.react(&[created(order_id, &[("burger", 4)])]).await;
    let now = Timestamp::now();

    assert_eq!(shop.sweeper().sweep(now, Ending::WaitsAndHolds).await.unwrap(), 0);
    assert_eq!(shop.level("burger").await, (6, 4, 0));
    assert_eq!(shop.sweeper().sweep(now + TTL, Ending::WaitsAndHolds).await.unwrap(), 1);
    assert_eq!(shop.sweeper().sweep(now + TTL, Ending::WaitsAndHolds).await.unwrap(), 0);

    assert_eq!(shop.level("burger").await, (10, 0, 0));
    assert_eq!(shop.status(order_id).await, "EXPIRED");
    let (key, story) = (order_id.to_string(), format!("story-{order_id}"));
    let released = ("inventory.released".to_owned(), key, story.clone());
    assert_eq!(shop.outbox().await, [released, ("inventory.updated".into(), "burger".into(), story)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_confirmed_after_its_time_gets_free_units_or_is_recorded_as_oversold() {
    let shop = Shop::open().await;
    let (lucky, late, pizza, burger) = (new_order(), new_order(), [("pizza", 1)], [("burger", 2)]);
    shop.react(&[created(lucky, &burger), created(late, &pizza)]).await;
    shop.sweeper().sweep(Timestamp::now() + TTL, Ending::WaitsAndHolds).await.unwrap();
    shop.react(&[created(new_order(), &pizza)]).await;

    shop.react(&[confirmed(lucky, &burger), confirmed(late, &pizza)]).await;

    assert_eq!(shop.level("burger").await, (8, 0, 2));
    assert_eq!(shop.level("pizza").await, (0, 1, 0));
    assert_eq!(shop.status(late).await, "OVERSOLD");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_asks_for_nothing_is_a_permanent_error() {
    let shop = Shop::open().await;

    let error = shop.try_react(&[level_of("burger", 1, 0, 0)]).await.unwrap_err();

    assert!(matches!(error, HandleError::Permanent { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_stock_is_put_in_place_once() {
    let shop = Shop::open().await;
    shop.react(&[created(new_order(), &[("burger", 4)])]).await;

    assert_eq!(shop.seed("burger=10,salad=3").await, ["salad"]);

    assert_eq!(shop.level("burger").await, (6, 4, 0));
    assert_eq!(shop.level("salad").await, (3, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_itself_refuses_stock_below_zero() {
    let shop = Shop::open().await;

    for column in ["on_hand", "reserved", "sold"] {
        let sql = sqlx::AssertSqlSafe(format!("UPDATE stock SET {column} = -1 WHERE product_id = 'burger'"));
        let error = sqlx::query(sql).execute(&shop.pool).await.unwrap_err();
        assert!(matches!(HandleError::from(error), HandleError::Permanent { .. }), "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_held_for_an_order_from_before_the_pipeline_had_this_step() {
    let shop = Shop::open().await;
    let (order_id, mut details) = (new_order(), details(&[("burger", 1)]));
    details.steps = Some(vec![Step::Payment]);
    let created = OrderCreated { order_id, details: details.clone() };
    let confirmed = OrderConfirmed { order_id, details };

    let told = shop.react(&[created.into(), confirmed.into()]).await;

    assert_eq!(events(told), []);
    assert_eq!(shop.level("burger").await, (10, 0, 0));
}
