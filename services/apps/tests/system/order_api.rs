//! The order API as a client sees it.

use contract::Service;
use serde_json::json;

use crate::support::{Answer, Realm, System, full_order, short_order};

#[tokio::test(flavor = "multi_thread")]
async fn both_bodies_are_accepted_and_shown() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;

    let full = system.post_with(&full_order(), &[("X-Correlation-Id", "req-42")]).await;
    let short = system.post(&short_order("john", "burger", 5)).await;

    assert_eq!((full.status, short.status), (202, 202));
    assert_eq!(full.header("location"), format!("/api/v1/orders/{}", full.order_id()));
    assert_eq!((full.header("x-correlation-id"), &full.body["correlationId"]), ("req-42", &json!("req-42")));
    assert_eq!(full.body["status"], "PENDING");
    assert_eq!(short.header("x-correlation-id"), short.body["correlationId"]);
    let shown =
        system.client.get(system.url(full.header("location"))).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains(r#""totalAmount":51.98,"currency":"USD""#), "{shown}");
    let shown = system.get(short.header("location")).await.body;
    assert_eq!((&shown["totalAmount"], &shown["reason"]), (&json!(44.95), &json!(null)));
    assert_eq!(shown["steps"], json!({"inventory": "RUNNING"}));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_problem_details() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;
    let post = async |path: &str, content_type: &str, body: String| {
        let request = system.client.post(system.url(path)).header("content-type", content_type).body(body);
        Answer::of(request.send().await.unwrap()).await
    };
    let mut wrong_total = full_order();
    wrong_total["totalAmount"] = json!(51.97);
    let unknown = "/api/v1/orders/0195b3d2-7c00-7000-8000-000000000001";

    let answers = [
        (422, "totalAmount", post("/api/orders", "application/json", wrong_total.to_string()).await),
        (400, "", post("/api/orders", "application/json", "{".to_owned()).await),
        (415, "", post("/api/orders", "text/plain", full_order().to_string()).await),
        (413, "", post("/api/orders", "application/json", format!("\"{}\"", "x".repeat(70_000))).await),
        (405, "", Answer::of(system.client.delete(system.url("/api/orders")).send().await.unwrap()).await),
        (404, "", system.get("/nothing").await),
        (404, "", system.get(unknown).await),
        (422, "orderId", system.get("/api/v1/orders/1").await),
        (422, "wait", system.get(&format!("{unknown}?wait=soon")).await),
        (422, "limit", system.get("/api/v1/orders?limit=0").await),
        (422, "Idempotency-Key", system.post_with(&full_order(), &[("Idempotency-Key", "")]).await),
        (422, "X-Correlation-Id", system.post_with(&full_order(), &[("X-Correlation-Id", "a b")]).await),
    ];

    for (status, field, answer) in answers {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.body);
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.body["correlationId"], answer.header("x-correlation-id"));
        assert_eq!(answer.body["errors"][0]["field"].as_str().unwrap_or_default(), field, "{}", answer.body);
    }
    assert_eq!(system.get("/api/v1/orders").await.body["orders"], json!([]));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_order_however_many_ask_at_once() {
    let realm = Realm::create().await;
    // Two replicas: only the database can decide who was first.
    let replicas = [System::order(&realm).await, System::order(&realm).await];
    let body = short_order("john", "burger", 1);

    let key = [("Idempotency-Key", "key-1")];
    let answers = futures::future::join_all((0..40).map(|n| replicas[n % 2].post_with(&body, &key))).await;
    let other_body = replicas[0].post_with(&short_order("john", "burger", 2), &key).await;
    let other_key = replicas[1].post_with(&body, &[("Idempotency-Key", "key-2")]).await;

    let fresh = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_empty()).count();
    assert_eq!(fresh, 1);
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &answers[0].body));
        assert_eq!(answer.header("location"), answers[0].header("location"));
    }
    assert_eq!(other_body.status, 422);
    assert_eq!(other_body.body["errors"][0]["field"], "Idempotency-Key");
    assert_ne!(other_key.order_id(), answers[0].order_id());
    assert_eq!(replicas[0].get("/api/v1/orders").await.body["orders"].as_array().unwrap().len(), 2);
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_id_of_the_customers_is_taken_once() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;
    let id = "0195b3d2-7c00-7000-8000-00000000abcd";
    let mut body = short_order("john", "burger", 1);
    body["order_id"] = json!(id);
    let mut other = body.clone();
    other["quantity"] = json!(2);

    let same = futures::future::join_all((0..10).map(|_| system.post(&body))).await;
    let conflict = system.post_with(&other, &[("Idempotency-Key", "key-of-a-conflict")]).await;
    // The conflict must not have burnt its key.
    let reuse =
        system.post_with(&short_order("john", "pizza", 1), &[("Idempotency-Key", "key-of-a-conflict")]).await;

    for answer in &same {
        assert_eq!((answer.status, answer.order_id().as_str()), (202, id));
    }
    assert_eq!((conflict.status, reuse.status), (409, 202));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_every_order_once_newest_first() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;
    let mut posted = Vec::new();
    for n in 0..7 {
        let user = if n % 2 == 0 { "even" } else { "odd" };
        posted.push(system.post(&short_order(user, "burger", 1)).await.order_id());
    }
    posted.reverse();

    let pages = async |filter: &str| {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = system.get(&format!("/api/v1/orders?limit=3{filter}{cursor}")).await.body;
            let orders = page["orders"].as_array().unwrap();
            ids.extend(orders.iter().map(|order| order["orderId"].as_str().unwrap().to_owned()));
            let Some(next) = page["nextCursor"].as_str() else { return ids };
            cursor = format!("&cursor={next}");
        }
    };

    assert_eq!(pages("").await, posted);
    let even: Vec<_> = posted.iter().step_by(2).cloned().collect();
    assert_eq!(pages("&customerId=even&status=PENDING").await, even);
    assert_eq!(pages("&status=CANCELLED").await, Vec::<String>::new());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_answers_after_its_time_as_things_are() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;
    let id = system.post(&short_order("john", "burger", 1)).await.order_id();

    let started = std::time::Instant::now();
    let order = system.get(&format!("/api/v1/orders/{id}?wait=300ms")).await;

    assert_eq!((order.status, &order.body["status"]), (200, &json!("PENDING")));
    assert!(started.elapsed() >= std::time::Duration::from_millis(300));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_orders_at_once_share_transactions_and_none_is_lost() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;

    let bodies: Vec<_> = (0..300).map(|n| short_order(&format!("user-{n}"), "burger", 1)).collect();
    let answers = futures::future::join_all(bodies.iter().map(|body| system.post(body))).await;

    let mut ids: Vec<_> = answers.iter().map(Answer::order_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    let metrics =
        system.client.get(format!("{}/metrics", system.admin)).send().await.unwrap().text().await.unwrap();
    let commits = metrics.lines().find_map(|line| line.strip_prefix("order_intake_batch_size_orders_count "));
    assert!(commits.unwrap().parse::<u32>().unwrap() < 150, "{commits:?} commits for 300 orders");
    assert!(metrics.contains(r#"order_requests_total{outcome="accepted"} 300"#), "{metrics}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_documents_itself() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;

    let document = system.get("/openapi.json").await.body;

    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    for pointer in [
        "/paths/~1api~1v1~1orders/post",
        "/paths/~1api~1v1~1orders/get",
        "/paths/~1api~1v1~1orders~1{orderId}/get",
    ] {
        assert!(document.pointer(pointer).is_some(), "{pointer} is missing");
    }
    for schema in ["Problem", "Order", "NewOrder", "ShortOrder"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema} is missing");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_in_the_events_of_its_order() {
    let realm = Realm::create().await;
    let system = System::order(&realm).await;
    let spy = realm.spy(Service::Notification).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    let traced = system.post_with(&short_order("ada", "burger", 1), &[("traceparent", trace)]).await;
    let untraced = system.post_with(&short_order("ada", "burger", 1), &[("traceparent", "00-x")]).await;

    for (order_id, expected) in [(traced.order_id(), Some(trace)), (untraced.order_id(), None)] {
        spy.types_of(&order_id, 1).await;
        let created = spy.events(|event| event.key() == order_id).remove(0);
        assert_eq!(created.metadata.get("traceparent").map(String::as_str), expected);
    }
    system.stop().await;
}
