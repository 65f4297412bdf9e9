//! What happens to the object, or to the operator, while a change of its topic is on its way.

use std::fmt;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use kafka_admin::{Admin, Batch, ConnectOptions, Guard, Guarded, KafkaAdmin};
use kube::Client;
use operator::controller::context::{Context, Settings};
use operator::controller::{strimzi, topic};
use operator::metrics::Metrics;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::world::{NAME, World, config_of_the_operator, settings};

type Meanwhile = BoxFuture<'static, ()>;

/// Has something happen right before the first change in Kafka.
struct AtFirstChange(Mutex<Option<Meanwhile>>);

impl fmt::Debug for AtFirstChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtFirstChange").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Interruption(Arc<AtFirstChange>);

impl Guard for Interruption {
    async fn change<T: Send>(
        &self,
        _items: usize,
        change: impl Future<Output = Batch<T>> + Send,
    ) -> Batch<T> {
        let meanwhile = self.0.0.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        change.await
    }
}

/// An operator in whose first change of a topic `meanwhile` happens.
async fn start(
    world: &World,
    shutdown: &CancellationToken,
    meanwhile: Meanwhile,
) -> tokio::task::JoinHandle<()> {
    let settings = Settings { namespace: Some(world.namespace.clone()), ..settings() };
    let interruption = Interruption(Arc::new(AtFirstChange(Mutex::new(Some(meanwhile)))));
    let connect = Box::new(move |options: &ConnectOptions| {
        let inner: Arc<dyn Admin> = Arc::new(KafkaAdmin::connect(options)?);
        Ok(Arc::new(Guarded::new(inner, interruption.clone())) as Arc<dyn Admin>)
    });
    let (client, metrics) = (config_of_the_operator().await, Arc::new(Metrics::new().unwrap()));
    let client = Client::try_from(client).unwrap();
    let ctx = Context::with_connect(client, metrics, settings, shutdown.clone(), connect);
    let ctx = Arc::new(ctx);
    tokio::spawn(async move {
        tokio::join!(topic::run(Arc::clone(&ctx)), strimzi::watch(&ctx));
    })
}

/// A namespace in which no operator works yet.
async fn quiet() -> World {
    let mut world = World::new().await;
    world.stop().await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_is_under_way_at_shutdown_is_finished() {
    let (world, shutdown) = (quiet().await, CancellationToken::new());
    world.create(json!({"partitions": 1})).await;

    let end = shutdown.clone();
    let operator = start(&world, &shutdown, Box::pin(async move { end.cancel() })).await;
    operator.await.unwrap();

    let (status, topic) = (world.get(NAME).await.status.unwrap(), world.described().await);
    assert_eq!(status.topic_id, topic.map(|topic| topic.id.to_string()));
    assert!(status.topic_id.is_some());
}
