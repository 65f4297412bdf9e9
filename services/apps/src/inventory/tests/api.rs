use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::super::api::{Api, routes};
use super::*;

fn app(shop: &Shop) -> Router {
    let (pool, outbox) = (shop.pool.clone(), shop.messaging.outbox().clone());
    let api = Api { pool, outbox, waker: Waker::default() };
    let metrics = crate::http::Metrics::register(&Registry::new()).unwrap();
    crate::http::public(Service::Inventory, routes(api), &metrics, None)
}

/// Asks, and returns the status and the body without its `updatedAt`.
async fn ask(shop: &Shop, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1/inventory{path}"))
        .header("x-correlation-id", "req-1")
        .header("content-type", "application/json")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
        .unwrap();
    let response = app(shop).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let mut body: Value = serde_json::from_slice(&bytes).unwrap();
    body.as_object_mut().unwrap().remove("updatedAt");
    (status, body)
}

fn stock(name: &str, on_hand: u64) -> Value {
    json!({"productId": name, "onHand": on_hand, "reserved": 0, "sold": 0, "backordered": 0, "available": on_hand})
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_can_be_looked_at() {
    let shop = Shop::open().await;

    assert_eq!(ask(&shop, "GET", "/burger", None).await, (StatusCode::OK, stock("burger", 10)));
    let (status, problem) = ask(&shop, "GET", "/soup", None).await;

    assert_eq!((status, &problem["detail"]), (StatusCode::NOT_FOUND, &json!("there is no product soup")));
    assert_eq!(problem["correlationId"], "req-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_can_be_counted_and_everybody_is_told() {
    let shop = Shop::open().await;

    let known = ask(&shop, "PUT", "/burger", Some(json!({"onHand": 3}))).await;
    let new = ask(&shop, "PUT", "/veggie%20burger", Some(json!({"onHand": 7}))).await;

    assert_eq!(known, (StatusCode::OK, stock("burger", 3)));
    assert_eq!(new, (StatusCode::CREATED, stock("veggie burger", 7)));
    let told = |key: &str| ("inventory.updated".to_owned(), key.to_owned(), "req-1".to_owned());
    assert_eq!(shop.outbox().await, [told("burger"), told("veggie burger")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_leaves_held_units_alone() {
    let shop = Shop::open().await;
    shop.react(&[created(new_order(), &[("burger", 4)])]).await;

    ask(&shop, "PUT", "/burger", Some(json!({"onHand": 0}))).await;

    assert_eq!(shop.level("burger").await, (0, 4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_units_are_added() {
    let shop = Shop::open().await;

    let restocked = ask(&shop, "POST", "/burger/restock", Some(json!({"quantity": 5}))).await;
    let (unknown, _) = ask(&shop, "POST", "/soup/restock", Some(json!({"quantity": 5}))).await;

    assert_eq!(restocked, (StatusCode::OK, stock("burger", 15)));
    assert_eq!(unknown, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_fault_change_nothing_and_say_why() {
    let shop = Shop::open().await;
    let too_long = format!("/{}", "x".repeat(200));
    let requests = [
        ("PUT", "/burger", json!({"onHand": -1}), "onHand"),
        ("PUT", "/burger", json!({"onHand": 1.5}), "onHand"),
        ("PUT", "/burger", json!({}), "onHand"),
        ("POST", "/burger/restock", json!({"quantity": 0}), "quantity"),
        ("PUT", too_long.as_str(), json!({"onHand": 1}), "productId"),
    ];

    for (method, path, body, field) in requests {
        let (status, problem) = ask(&shop, method, path, Some(body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    let (status, _) = ask(&shop, "GET", "?limit=0", None).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(shop.outbox().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_listed_by_name_page_by_page() {
    let shop = Shop::open().await;
    shop.seed("salad=3").await;
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["productId"].as_str().unwrap().to_owned()).collect()
    };

    let (_, first) = ask(&shop, "GET", "?limit=2", None).await;
    let (_, second) = ask(&shop, "GET", "?limit=2&cursor=pizza", None).await;

    assert_eq!(
        (names(&first), &first["nextCursor"]),
        (vec!["burger".into(), "pizza".into()], &json!("pizza"))
    );
    assert_eq!((names(&second), &second["nextCursor"]), (vec!["salad".into()], &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_documents_itself() {
    let shop = Shop::open().await;
    let request = Request::builder().uri("/openapi.json").body(Body::empty()).unwrap();

    let response = app(&shop).oneshot(request).await.unwrap();

    let document: Value =
        serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let product = "/api/v1/inventory/{productId}";
    assert_eq!(paths, ["/api/v1/inventory", product, &format!("{product}/restock")]);
    let count = &document["components"]["schemas"]["CountBody"]["properties"];
    assert_eq!(count["onHand"]["maximum"], 1_000_000_000, "{count}");
}
