//! Orders on the cluster: both ends, and one order per idempotency key.

use std::time::Duration;

use e2e::console::eventually;
use e2e::orders::order_for;
use e2e::platform::text;
use serde_json::Value;

use crate::shop::{end_of, ready};

#[tokio::test]
async fn an_order_in_stock_is_completed_and_the_customer_is_told() {
    let (cluster, shop) = ready().await;
    shop.set_stock("pizza", 10).await.unwrap();

    let placed = shop.place(&order_for("pizza", 2), None).await.unwrap();
    let order = end_of(&shop, &placed.location).await;

    assert_eq!(text(&order, "status"), "COMPLETED", "{order}");
    let mail = eventually("mail", Duration::from_secs(60), async || {
        let mail = cluster.devcluster(&["mail"]).map_err(|error| error.to_string())?;
        if mail.contains(placed.order_id()) { Ok(mail) } else { Err("not there".to_owned()) }
    });
    assert!(mail.await.unwrap().contains("john@example.com"));
}

#[tokio::test]
async fn an_order_beyond_the_stock_is_cancelled_with_its_reason_and_the_stock_is_untouched() {
    let (_, shop) = ready().await;
    shop.set_stock("pasta", 3).await.unwrap();

    let placed = shop.place(&order_for("pasta", 4), None).await.unwrap();
    let order = end_of(&shop, &placed.location).await;

    assert_eq!(text(&order, "status"), "CANCELLED", "{order}");
    assert!(order.to_string().to_lowercase().contains("stock"), "the reason names the stock: {order}");
    assert_eq!(shop.stock("pasta").await.unwrap().get("available"), Some(&Value::from(3)));
}

#[tokio::test]
async fn the_same_idempotency_key_twice_makes_one_order() {
    let (_, shop) = ready().await;
    shop.set_stock("salad", 10).await.unwrap();
    let key = uuid::Uuid::new_v4().to_string();

    let first = shop.place(&order_for("salad", 1), Some(&key)).await.unwrap();
    let second = shop.place(&order_for("salad", 1), Some(&key)).await.unwrap();

    assert_eq!(first.body, second.body);
    end_of(&shop, &first.location).await;
    assert_eq!(shop.stock("salad").await.unwrap().get("sold"), Some(&Value::from(1)));
}
