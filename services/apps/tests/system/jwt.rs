//! An API that asks for tokens, as a process.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::lifecycle::Binary;
use crate::signer::Signer;
use crate::support::{Answer, Realm, eventually, full_order};

/// Somebody who makes tokens, and describes itself by OpenID Connect.
struct Issuer {
    url: String,
    signer: Signer,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let signer = Signer::named("one");
        let keys = json!({"keys": [signer.jwk()]});
        let description = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let routes = Router::new()
            .route("/keys", get(move || async move { Json(keys) }))
            .route("/.well-known/openid-configuration", get(move || async move { Json(description) }));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, signer }
    }

    fn token_for(&self, audience: &str) -> String {
        let claims =
            json!({"iss": self.url, "aud": audience, "exp": jiff::Timestamp::now().as_second() + 300});
        self.signer.token(&claims)
    }
}

async fn post(client: &reqwest::Client, api: &str, token: Option<String>) -> Answer {
    let request = client.post(format!("{api}/api/v1/orders")).json(&full_order());
    let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_placed_and_read_with_a_token_only() {
    let (realm, issuer) = (Realm::create().await, Issuer::start().await);
    let variables = [
        ("DATABASE_URL", realm.database_url.as_str()),
        ("JWT_ISSUER", &issuer.url),
        ("JWT_AUDIENCES", "till,shop"),
    ];
    let process = Binary::role(&realm, "order", &variables);
    let admin = process.address("probes and metrics are served");
    let api = process.address("the order service is served");
    let client = reqwest::Client::new();
    process.log_until("the process is ready");

    let without = post(&client, &api, None).await;
    let for_another = post(&client, &api, Some(issuer.token_for("bank"))).await;
    let placed = post(&client, &api, Some(issuer.token_for("shop"))).await;

    assert_eq!((without.status, without.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(without.header("content-type"), "application/problem+json");
    assert_eq!(without.body["correlationId"], without.header("x-correlation-id"));
    let challenge = for_another.header("www-authenticate");
    assert_eq!(for_another.status, 401);
    assert!(
        challenge.starts_with(r#"Bearer error="invalid_token""#) && challenge.contains("audience"),
        "{challenge}"
    );
    assert_eq!(placed.status, 202, "{}", placed.body);
    let location = format!("{api}{}", placed.header("location"));
    let read = client.get(&location).bearer_auth(issuer.token_for("till")).send().await.unwrap();
    assert_eq!(Answer::of(read).await.body["orderId"], placed.order_id());
    assert_eq!(client.get(&location).send().await.unwrap().status(), 401);
    for open in [format!("{api}/openapi.json"), format!("{admin}/livez"), format!("{admin}/readyz")] {
        // Readiness comes with the consumer's group.
        eventually("what needs no token answers", async || {
            (client.get(&open).send().await.unwrap().status() == 200).then_some(())
        })
        .await;
    }
    let metrics = client.get(format!("{admin}/metrics")).send().await.unwrap().text().await.unwrap();
    let counted = r#"http_server_request_duration_seconds_count{method="POST",route="/api/v1/orders",service="order",status="401"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_ready_without_its_issuer_and_answers_that_it_cannot_check_tokens() {
    let (realm, issuer) = (Realm::create().await, Issuer::start().await);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{gone}");
    let variables = [("DATABASE_URL", realm.database_url.as_str()), ("JWT_ISSUER", &url)];
    let process = Binary::role(&realm, "order", &variables);
    let api = process.address("the order service is served");
    process.log_until("the process is ready");

    let request = reqwest::Client::new().get(format!("{api}/api/v1/orders"));
    let answer = Answer::of(request.bearer_auth(issuer.token_for("shop")).send().await.unwrap()).await;

    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    let lines = process.log_until("could not fetch the keys");
    let warned: &Value = lines.last().unwrap();
    assert!(warned.to_string().contains(&gone.to_string()), "{warned}");
    assert!(!lines.iter().any(|line| line.to_string().contains("eyJ")), "a token is logged");
}
