//! An issuer on a real socket, tokens that it and others sign, and an API that asks for them.

mod access;
mod fetching;
mod signer;
mod tls;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Service;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt;

use self::signer::Signer;
use super::*;
use crate::problem::PROBLEM_JSON;

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// An issuer of tokens. What it publishes can be changed, held back and broken, and how often it is asked is counted.
struct Published {
    url: String,
    answer: Mutex<Value>,
    status: Mutex<StatusCode>,
    asked: AtomicUsize,
    open: watch::Sender<bool>,
}

impl Published {
    async fn by(signers: &[&Signer]) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let published = Arc::new(Self {
            answer: Mutex::new(Value::Null),
            status: Mutex::new(StatusCode::OK),
            asked: AtomicUsize::new(0),
            open: watch::Sender::new(true),
            url: url.clone(),
        });
        published.publish(signers);
        let (keys, at) = (published.clone(), url.clone());
        let described = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let foreign = json!({"issuer": "https://somebody.else", "jwks_uri": format!("{url}/keys")});
        let routes = Router::new()
            .route("/keys", get(move || async move { keys.answer().await }))
            .route("/moved", get(move || async move { Redirect::permanent(&format!("{at}/keys")) }))
            .route("/large", get(|| async { "x".repeat(1024 * 1024 + 1) }))
            .route("/.well-known/openid-configuration", get(move || async move { Json(described) }))
            .route("/foreign/.well-known/openid-configuration", get(move || async move { Json(foreign) }));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        published
    }

    async fn answer(&self) -> (StatusCode, Json<Value>) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        (*self.status.lock().unwrap(), Json(self.answer.lock().unwrap().clone()))
    }

    fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        *self.answer.lock().unwrap() = json!({"keys": keys});
    }

    fn answer_with(&self, status: StatusCode) {
        *self.status.lock().unwrap() = status;
    }

    fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until it was asked for its keys so often; panics when it never is.
    async fn asked(&self, times: usize) {
        let asking = async {
            while self.times_asked() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking).await.unwrap();
    }

    fn trust(&self) -> Trust {
        Trust { issuer: self.url.clone(), audiences: vec!["shop".to_owned()], jwks_url: None, ca_file: None }
    }
}

/// An API that asks for tokens, by a clock that stands still unless it is set.
struct Api {
    guard: Guard,
    routes: Router,
    later: Arc<Mutex<Duration>>,
}

impl Api {
    fn trusting(trust: &Trust) -> Self {
        let later = Arc::new(Mutex::new(Duration::ZERO));
        let (start, clock) = (Instant::now(), later.clone());
        let clock = move || start + *clock.lock().unwrap();
        let guard = Guard::over(trust, Keys::by(Issuer::new(trust).unwrap(), Box::new(clock)));
        let metrics = crate::http::Metrics::register(&prometheus::Registry::new()).unwrap();
        let routes = Router::new()
            .route("/api/v1/orders", get(|| async { "come in" }))
            .route("/openapi.json", get(|| async { "a description" }));
        let routes = crate::http::public(Service::Order, routes, &metrics, Some(&guard));
        Self { guard, routes, later }
    }

    fn pass(&self, time: Duration) {
        *self.later.lock().unwrap() += time;
    }

    /// Waits for the fetch that runs, if one does.
    async fn settled(&self) {
        self.guard.keys.fetch(Duration::MAX).ended().await;
    }

    async fn ask(&self, path: &str, authorization: &[&str]) -> Answer {
        let mut request = Request::builder().uri(path);
        for value in authorization {
            request = request.header("authorization", *value);
        }
        let response = self.routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let header = |name| head.headers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap());
        let (challenge, retry_after) =
            (header("www-authenticate").to_owned(), header("retry-after").to_owned());
        let (content_type, id) = (header("content-type").to_owned(), header("x-correlation-id").to_owned());
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().into()).unwrap();
        Answer { status: head.status, challenge, retry_after, content_type, correlation_id: id, text }
    }

    async fn show(&self, token: &str) -> Answer {
        self.ask("/api/v1/orders", &[&format!("Bearer {token}")]).await
    }

    async fn status(&self, token: &str) -> StatusCode {
        self.show(token).await.status
    }
}

struct Answer {
    status: StatusCode,
    challenge: String,
    retry_after: String,
    content_type: String,
    correlation_id: String,
    text: String,
}

impl Answer {
    fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// What a good token of `issuer` claims, but for `changes`; null takes a claim away.
fn claims(issuer: &Published, changes: Value) -> Value {
    let mut claims = json!({"iss": issuer.url, "aud": "shop", "sub": "ada", "exp": now() + 300});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_name, value| !value.is_null());
    claims
}

fn good(issuer: &Published) -> Value {
    claims(issuer, json!({}))
}

/// A token of these parts, whose signature is none.
fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode([7; 64]))
}
