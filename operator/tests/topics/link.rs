//! The way of one operator process to the apiserver: what it writes is put on record, and the way can be cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Far above any object of the tests.
const BODY_MAX: usize = 4 << 20;

/// Writes in the order in which they arrived: who, and to which path. Those to Leases are not among them.
pub(crate) type Record = Arc<Mutex<Vec<(&'static str, String)>>>;

/// A way that can be cut.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    cut: watch::Sender<bool>,
}

#[derive(Clone)]
struct Way {
    who: &'static str,
    client: Client,
    record: Record,
    cut: watch::Receiver<bool>,
}

impl Link {
    /// Requests that come in go to the apiserver with the rights of `client`.
    pub(crate) async fn open(who: &'static str, client: Client, record: &Record) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, is_cut) = watch::channel(false);
        let way = Way { who, client, record: Arc::clone(record), cut: is_cut };
        tokio::spawn(
            async move { axum::serve(listener, Router::new().fallback(pass).with_state(way)).await },
        );
        Self { address, cut }
    }

    /// From now on no request arrives and none is answered.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// For KUBECONFIG.
    pub(crate) fn kubeconfig(&self) -> String {
        let server = format!("http://{}", self.address);
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "link",
            "clusters": [{"name": "link", "cluster": {"server": server}}],
            "users": [{"name": "link", "user": {}}],
            "contexts": [{"name": "link", "context": {"cluster": "link", "user": "link"}}],
        })
        .to_string()
    }
}

async fn pass(State(mut way): State<Way>, request: Request) -> Response {
    if way.cut.wait_for(|cut| !cut).await.is_err() {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if !parts.method.is_safe() && !path.contains("/leases") {
        way.record.lock().unwrap().push((way.who, format!("{} {path}", parts.method)));
    }
    parts.headers.remove(header::HOST);
    let body = to_bytes(body, BODY_MAX).await.unwrap();
    let request = Request::from_parts(parts, kube::client::Body::from(body));
    match way.client.send(request).await {
        Ok(answer) => answer.map(Body::new).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
