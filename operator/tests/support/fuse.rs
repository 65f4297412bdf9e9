//! An operator that dies at its n-th write, to Kubernetes or to Kafka. Events do not count: they hold no state, so
//! that one who only ever dies right after an event has done nothing yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Poller, Poll};

use axum::http::{Request, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_admin::{Batch, Guard};
use kube::client::Body;
use tokio::sync::watch;
use tower::{Layer, Service};

/// Counts writes down; the last is made, but whoever made it, and who writes later, waits for an answer for ever, as the
/// dead do. Who dies before a write leaves what who dies after the one before it does.
#[derive(Debug)]
pub(crate) struct Fuse {
    left: AtomicUsize,
    burnt: watch::Sender<bool>,
}

impl Fuse {
    pub(crate) fn new(writes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(writes), burnt: watch::Sender::new(false) })
    }

    /// Returns at the n-th write.
    pub(crate) async fn burnt(&self) {
        self.burnt.subscribe().wait_for(|burnt| *burnt).await.unwrap();
    }

    /// Writes that are left.
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }

    async fn write<T>(&self, write: impl Future<Output = T>) -> T {
        let count = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) {
            Ok(1) => {
                write.await;
                self.burnt.send_replace(true);
                std::future::pending().await
            }
            Ok(_) => write.await,
            Err(_) => std::future::pending().await,
        }
    }
}

/// The fuse in the way to the apiserver.
pub(crate) struct KubernetesFuse(pub(crate) Arc<Fuse>);

pub(crate) struct Fused<S> {
    inner: S,
    fuse: Arc<Fuse>,
}

impl<S> Layer<S> for KubernetesFuse {
    type Service = Fused<S>;

    fn layer(&self, inner: S) -> Fused<S> {
        Fused { inner, fuse: Arc::clone(&self.0) }
    }
}

impl<S, B> Service<Request<Body>> for Fused<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Poller<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let writes = !request.method().is_safe() && !request.uri().path().contains("/events");
        let (answer, fuse) = (self.inner.call(request), Arc::clone(&self.fuse));
        async move { if writes { fuse.write(answer).await } else { answer.await } }.boxed()
    }
}

/// The fuse in the way to Kafka.
#[derive(Debug)]
pub(crate) struct KafkaFuse(pub(crate) Arc<Fuse>);

impl Guard for KafkaFuse {
    async fn change<T: Send>(
        &self,
        _items: usize,
        change: impl Future<Output = Batch<T>> + Send,
    ) -> Batch<T> {
        self.0.write(change).await
    }
}
