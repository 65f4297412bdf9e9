//! An operator that dies at its n-th write, to Kubernetes or to Kafka. Events do not count: they hold no state, so
//! that one who only ever dies right after an event has done nothing yet.
//!
//! [`until`] has operators die so until a phase of a scenario is over, and [`at_every_write`] goes through all n.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Poller, Poll};

use axum::http::{Request, Response};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kafka_admin::{Admin, Batch, CoalesceOptions, Coalescing, ConnectOptions, Guard, Guarded, KafkaAdmin};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use operator::controller::context::{Context, Settings};
use operator::metrics::Metrics;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

/// Lives of an operator that makes no progress; a phase takes some dozen writes.
const LIVES: usize = 100;

/// Scenarios under way at once: each mostly waits.
const AT_ONCE: usize = 6;

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
    fn left(&self) -> usize {
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
struct KubernetesFuse(Arc<Fuse>);

struct Fused<S> {
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
struct KafkaFuse(Arc<Fuse>);

impl Guard for KafkaFuse {
    async fn change<T: Send>(
        &self,
        _items: usize,
        change: impl Future<Output = Batch<T>> + Send,
    ) -> Batch<T> {
        self.0.write(change).await
    }
}

/// What an operator has at hand that burns `fuse`.
pub(crate) fn context(rights: Config, settings: Settings, fuse: &Arc<Fuse>) -> Arc<Context> {
    let client = ClientBuilder::try_from(rights).unwrap();
    let client: Client = client.with_layer(&KubernetesFuse(Arc::clone(fuse))).build();
    let fuse = Arc::clone(fuse);
    let connect = Box::new(move |options: &ConnectOptions| {
        let inner: Arc<dyn Admin> = Arc::new(KafkaAdmin::connect(options)?);
        let fused = Arc::new(Guarded::new(inner, KafkaFuse(Arc::clone(&fuse))));
        Ok(Arc::new(Coalescing::new(fused, CoalesceOptions::default())) as Arc<dyn Admin>)
    });
    let metrics = Arc::new(Metrics::new().unwrap());
    Arc::new(Context::with_connect(client, metrics, settings, CancellationToken::new(), connect))
}

/// Has operators that `begin` starts die at their n-th write until `done`; how many writes the last one made.
pub(crate) async fn until(
    n: usize,
    begin: impl AsyncFn(Arc<Fuse>) -> JoinHandle<()>,
    done: impl AsyncFn(),
) -> usize {
    for _life in 0..LIVES {
        let fuse = Fuse::new(n);
        let operator = begin(Arc::clone(&fuse)).await;
        let survived = tokio::select! {
            () = done() => true,
            () = fuse.burnt() => false,
        };
        operator.abort();
        let _ = operator.await;
        if survived {
            return n - fuse.left();
        }
    }
    panic!("no progress when the operator dies at each {n}th write");
}

/// Plays `scenario` with operators that die at each n-th write, for all these n: each time it ends in `expected`.
pub(crate) async fn at_every_write(
    all: RangeInclusive<usize>,
    expected: &Value,
    scenario: impl AsyncFn(usize) -> Value,
) {
    let scenario = &scenario;
    let runs =
        futures::stream::iter(all).map(|n| async move { (n, scenario(n).await) }).buffer_unordered(AT_ONCE);
    runs.for_each(|(n, found)| {
        assert_eq!(found, *expected, "killed at each {n}th write");
        std::future::ready(())
    })
    .await;
}
