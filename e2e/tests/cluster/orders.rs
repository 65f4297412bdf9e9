//! Orders on the cluster: both ends, one order per idempotency key, and a crash in the middle.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{Service, Step};
use e2e::cluster::Cluster;
use e2e::console::eventually;
use e2e::orders::{Placed, Shop, order_for};
use e2e::platform::{NAMESPACE, text};
use futures::future::join_all;
use kafka_admin::ConnectOptions;
use secrecy::SecretString;
use serde_json::Value;
use verify::{Expected, Source};

use crate::shop::{CHANGE_LIMIT, end_of, ready, wait_for};

/// The services and the saga of the demo's pipeline.
const SERVICES: &[Service] = &[Service::Order, Service::Inventory, Service::Notification];
const STEPS: &[Step] = &[Step::Inventory];

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

#[tokio::test]
async fn orders_all_end_once_when_the_pods_of_every_service_are_killed_among_them() {
    const PER_KILL: usize = 100;
    let (cluster, shop) = ready().await;
    let orders = PER_KILL * (SERVICES.len() + 1);
    shop.set_stock("wrap", orders as u64).await.unwrap();
    let before = shop.stock("wrap").await.unwrap();

    let mut all = place_many(&shop, PER_KILL).await;
    for service in SERVICES {
        kill_pods(&cluster, *service);
        all.extend(place_many(&shop, PER_KILL).await);
    }
    let mut ends = BTreeMap::new();
    for placed in &all {
        let order = end_of(&shop, &placed.location).await;
        assert!(ends.insert(placed.order_id().to_owned(), text(&order, "status").to_owned()).is_none());
    }
    let source = source(&cluster);
    verify::wait_for_rest(&source, CHANGE_LIMIT).await.unwrap();
    let expected = Expected { steps: STEPS.to_vec(), ..Expected::default() };
    let report = verify::verify(&source, &expected).await.unwrap();

    assert_eq!(ends.len(), orders, "every key made an order of its own");
    assert!(report.holds(), "{report}");
    let completed = ends.values().filter(|status| *status == "COMPLETED").count() as u64;
    assert!(completed > 0, "{ends:?}");
    let after = shop.stock("wrap").await.unwrap();
    let sold = |stock: &Value| stock.get("sold").and_then(Value::as_u64).unwrap();
    assert_eq!(sold(&after) - sold(&before), completed, "each completed order was sold once: {after}");
    wait_for(&cluster, NAMESPACE, "orderpipeline/shop", "shop is ready again", |shop| {
        e2e::platform::condition(shop, "Ready").is_some_and(|ready| text(ready, "status") == "True")
    })
    .await;
}

/// Ends every process of a service at once, as a node that is lost does.
fn kill_pods(cluster: &Cluster, service: Service) {
    let label = format!("app.kubernetes.io/component={service}");
    let kill = ["delete", "pod", "-n", NAMESPACE, "-l", &label, "--force", "--grace-period=0"];
    cluster.kubectl(&kill).expect("the pods are killed");
}

/// What the checker reads of the pipeline, from outside of the cluster.
fn source(cluster: &Cluster) -> Source {
    let kafka = ConnectOptions::plaintext(cluster.endpoint("kafka").expect("Kafka has an endpoint"));
    let admin = cluster.value("/credentials/postgres/url").expect("PostgreSQL has a URL");
    let (server, _database) = admin.rsplit_once('/').expect("the URL names a database");
    let url =
        |service: &Service| (*service, SecretString::from(format!("{server}/{NAMESPACE}_shop_{service}")));
    Source::new(kafka, "", STEPS.to_vec(), &SERVICES.iter().map(url).collect())
        .expect("the addresses are usable")
}

/// Places orders as a careful client does: one idempotency key each, repeated until it is answered.
async fn place_many(shop: &Shop, count: usize) -> Vec<Placed> {
    let body = order_for("wrap", 1);
    let placing = (0..count).map(|_| async {
        let key = uuid::Uuid::new_v4().to_string();
        eventually("order", Duration::from_secs(120), async || {
            shop.place(&body, Some(&key)).await.map_err(|error| format!("{error:#}"))
        })
        .await
        .expect("the order is accepted once the pod is back")
    });
    join_all(placing).await
}
