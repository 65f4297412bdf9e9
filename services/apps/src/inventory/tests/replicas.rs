use super::*;

/// A batch of `orders`; every second one names its products the other way round.
fn batch(orders: &[OrderId], event: fn(OrderId, &[(&str, u32)]) -> Event) -> Vec<Event> {
    let lists = [[("burger", 1), ("pizza", 1)], [("pizza", 1), ("burger", 1)]];
    orders.iter().zip(lists.iter().cycle()).map(|(order, list)| event(*order, list)).collect()
}

async fn all_at_once(shop: &Shop, batches: Vec<Vec<Event>>) {
    let reactions = batches.into_iter().map(|batch| {
        let shop = shop.clone();
        tokio::spawn(async move { shop.react(&batch).await })
    });
    for reaction in reactions.collect::<Vec<_>>() {
        reaction.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_never_promise_a_unit_twice_nor_wait_for_each_other_for_ever() {
    let shop = Shop::open().await;
    shop.seed("soda=1").await;
    let orders: Vec<OrderId> = (0..200).map(|_| new_order()).collect();

    all_at_once(&shop, orders.chunks(10).map(|orders| batch(orders, created)).collect()).await;

    // One pizza: one of two hundred orders got it, and with it a burger.
    assert_eq!(shop.level("pizza").await, (0, 1, 0));
    assert_eq!(shop.level("burger").await, (9, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_and_its_cancellation_that_meet_leave_nothing_held() {
    let shop = Shop::open().await;
    let orders: Vec<OrderId> = (0..200).map(|_| new_order()).collect();
    let reversed: Vec<OrderId> = orders.iter().rev().copied().collect();

    let creations = orders.chunks(10).map(|orders| batch(orders, created));
    let cancellations = reversed.chunks(10).map(|orders| batch(orders, cancelled));
    all_at_once(&shop, creations.zip(cancellations).flat_map(|(one, other)| [one, other]).collect()).await;

    assert_eq!(shop.level("pizza").await, (1, 0, 0));
    assert_eq!(shop.level("burger").await, (10, 0, 0));
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM reservations WHERE status = 'HELD'")
        .fetch_one(&shop.pool)
        .await
        .unwrap();
    assert_eq!(held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sweepers_that_meet_each_other_and_confirmations_move_each_unit_once() {
    let shop = Shop::open().await;
    let orders: Vec<OrderId> = (0..10).map(|_| new_order()).collect();
    let burger = [("burger", 1)];
    shop.react(&orders.iter().map(|order| created(*order, &burger)).collect::<Vec<_>>()).await;
    let expired = Timestamp::now() + TTL;

    let sweeps = (0..4).map(|_| {
        let sweeper = shop.sweeper();
        tokio::spawn(async move {
            sweeper.sweep(expired, Ending::WaitsAndHolds).await.map(drop).map_err(|error| error.to_string())
        })
    });
    let sweeps: Vec<_> = sweeps.collect();
    all_at_once(&shop, orders.iter().map(|order| vec![confirmed(*order, &burger)]).collect()).await;
    for sweep in sweeps {
        sweep.await.unwrap().unwrap();
    }

    // Confirmed before or after it expired: there was a unit for each.
    assert_eq!(shop.level("burger").await, (0, 0, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_unknown_products_that_replicas_have_at_once_is_refused_once() {
    let shop = Shop::open().await;
    let batch = [created(new_order(), &[("soup", 1)])];

    let replicas: Vec<_> = (0..8)
        .map(|_| {
            let (shop, batch) = (shop.clone(), batch.clone());
            tokio::spawn(async move {
                // As the consumer does it: what could not be done now is done again.
                loop {
                    match shop.try_react(&batch).await {
                        Ok(told) => return told.len(),
                        Err(HandleError::Transient { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            })
        })
        .collect();
    let mut told = 0;
    for replica in replicas {
        told += replica.await.unwrap();
    }

    assert_eq!(told, 1);
}
