//! The way to the apiserver: every request counted, bounded in number and time, and no write without the right
//! to it.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{Method, Request, Response, StatusCode};
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::sync::Semaphore;
use tower::{BoxError, Layer, Service};

use crate::leader::fence::Fence;
use crate::metrics::Metrics;

/// Requests under way at once. How many per second is the business of the apiserver's own priority and
/// fairness; this bounds connections, and leaves an apiserver that is slow to others.
const UNDER_WAY_MAX: usize = 50;

/// Longest wait for the head of an answer. The apiserver itself gives up after 60 s, webhooks after 30.
const ANSWER_LIMIT: Duration = Duration::from_secs(35);

/// Longest silence on a connection; watches are ended by the apiserver before.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);

/// A client whose writes end with `fence`.
///
/// # Errors
/// When `config` holds something that cannot be used, such as a certificate.
pub fn connect(mut config: Config, fence: Arc<Fence>, metrics: Arc<Metrics>) -> kube::Result<Client> {
    config.read_timeout = Some(SILENCE_LIMIT);
    // A retry below the fence would pass it by; passes and watches are repeated by their own backoff.
    config.default_retry = false;
    let guard = Guard { fence, metrics, slots: Arc::new(Semaphore::new(UNDER_WAY_MAX)) };
    Ok(ClientBuilder::try_from(config)?.with_layer(&guard).build())
}

/// The layer.
#[derive(Clone)]
struct Guard {
    fence: Arc<Fence>,
    metrics: Arc<Metrics>,
    slots: Arc<Semaphore>,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guard: self.clone() }
    }
}

/// A service behind the layer.
struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S, B> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().clone();
        // Nothing is sent before this future is polled.
        let answer = self.inner.call(request);
        let guard = self.guard.clone();
        async move {
            let answer = guard.ask(&method, answer).await;
            let status = answer.as_ref().map(Response::status);
            guard.metrics.requested(method.as_str(), status.as_ref().map_or("none", StatusCode::as_str));
            answer
        }
        .boxed()
    }
}

impl Guard {
    async fn ask<B>(
        &self,
        method: &Method,
        answer: impl Future<Output = Result<Response<B>, BoxError>>,
    ) -> Result<Response<B>, BoxError> {
        let _slot = self.slots.acquire().await?;
        // Last, for waiting may take long.
        if !method.is_safe() {
            self.fence.check(Instant::now())?;
        }
        let answer = tokio::time::timeout(ANSWER_LIMIT, answer).await;
        answer.map_err(|_| format!("no answer from the apiserver within {ANSWER_LIMIT:?}"))?
    }
}

#[cfg(test)]
mod tests {
    use futures::future::ready;

    use super::*;

    fn guard(fence: Fence) -> Guard {
        let metrics = Arc::new(Metrics::new().unwrap());
        Guard { fence: Arc::new(fence), metrics, slots: Arc::new(Semaphore::new(1)) }
    }

    async fn send(guard: &Guard, method: Method) -> Result<StatusCode, String> {
        let answers = tower::service_fn(|_: Request<Body>| ready(Ok::<_, BoxError>(Response::new(()))));
        let request = Request::builder().method(method).body(Body::empty()).unwrap();
        let answer = guard.layer(answers).call(request).await;
        answer.map(|answer| answer.status()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn behind_a_closed_fence_everything_is_read_and_nothing_written() {
        let guard = guard(Fence::closed());

        let read = send(&guard, Method::GET).await;
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let refusal = send(&guard, method).await.unwrap_err();
            assert!(refusal.contains("does not hold the lease"), "{refusal}");
        }
        guard.fence.open(Instant::now() + Duration::from_secs(60));
        let written = send(&guard, Method::PATCH).await;

        assert_eq!((read, written), (Ok(StatusCode::OK), Ok(StatusCode::OK)));
        let metrics = guard.metrics.encode().unwrap();
        assert!(metrics.contains(r#"rest_client_requests_total{code="none",method="PUT"} 1"#), "{metrics}");
        assert!(metrics.contains(r#"rest_client_requests_total{code="200",method="PATCH"} 1"#), "{metrics}");
    }
}
