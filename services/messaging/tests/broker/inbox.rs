use std::time::Duration;

use messaging::ConsumerOptions;

use crate::handlers::Recorder;
use crate::harness::{Running, Shop, event, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_are_removed_and_young_ones_stay() {
    let shop = Shop::open("cleaner").await;
    sqlx::query(
        "INSERT INTO inbox (consumer, event_id, received_at)
         SELECT 'order', gen_random_uuid(), now() - interval '8 days' FROM generate_series(1, 12000)",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    shop.publish(&[event("young", 0)]).await;
    let week = Duration::from_secs(7 * 24 * 3600);
    let options = ConsumerOptions { inbox_retention: week, ..ConsumerOptions::default() };

    let running = Running::start(shop.messaging().with_options(options), Recorder::new());
    shop.wait_for_effects(1).await;

    eventually("old rows to be gone", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox").fetch_one(&shop.pool).await.unwrap();
        left == 1
    })
    .await;
    running.stop().await;
    assert_eq!(shop.metric("inbox_expired_total", &[]), 12_000.0);
}
