//! What happens to the object, or to the operator, while a change of its topic is on its way.

use std::fmt;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use kafka_admin::{Admin, Batch, ConnectOptions, Guard, Guarded, KafkaAdmin};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::reflector;
use operator::controller::context::{Context, Settings};
use operator::controller::outcome::Outcome;
use operator::controller::topic::peers::Peers;
use operator::controller::{strimzi, topic};
use operator::crd::KafkaTopic;
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
async fn a_topic_whose_spec_changes_while_it_is_created_is_its_objects_own() {
    for policy in ["IfIdentical", "Refuse"] {
        let (world, shutdown) = (quiet().await, CancellationToken::new());
        let before = json!({"partitions": 1, "adoptionPolicy": policy});
        world.create(before).await;

        let api: Api<KafkaTopic> = world.api();
        let edit = async move {
            let spec = json!({"spec": {"partitions": 2, "config": {"retention.ms": "1000000"}}});
            api.patch(NAME, &PatchParams::default(), &Patch::Merge(spec)).await.unwrap();
        };
        let operator = start(&world, &shutdown, Box::pin(edit)).await;

        let status = world.ready().await;
        let topic = world.described().await.unwrap();
        assert_eq!(status.topic_id, Some(topic.id.to_string()), "{policy}");
        world.partitions(2).await;
        world.overrides_become(&[("retention.ms", "1000000")]).await;
        shutdown.cancel();
        operator.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_deleted_while_its_topic_is_created_takes_it_along() {
    let (world, shutdown) = (quiet().await, CancellationToken::new());
    world.create(json!({"partitions": 1, "deletionPolicy": "Delete"})).await;

    let api: Api<KafkaTopic> = world.api();
    let delete = async move {
        api.delete(NAME, &DeleteParams::default()).await.unwrap();
    };
    let operator = start(&world, &shutdown, Box::pin(delete)).await;

    world.gone(NAME).await;
    world.in_kafka(false).await;
    world.event(NAME, "TopicDeleted").await;
    shutdown.cancel();
    operator.await.unwrap();
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

/// A pass over `topic` as it was seen some time ago.
async fn pass_over(world: &World, topic: KafkaTopic) -> Outcome {
    let peers = Peers::of(reflector::store().0);
    topic::reconcile(Arc::new(topic), Arc::clone(&world.ctx), peers).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_gone_before_it_has_its_finalizer_gets_no_topic() {
    let world = World::new().await;
    let object = world.object(NAME, json!({"partitions": 1, "deletionPolicy": "Delete"}));
    let mut gone: KafkaTopic = serde_json::from_value(object).unwrap();
    gone.metadata.uid = Some("gone".to_owned());

    let outcome = pass_over(&world, gone).await;

    assert!(matches!(&outcome, Outcome::Ready(why) if why.reason == "Deleted"), "{outcome:?}");
    assert_eq!(world.described().await, None);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_could_not_be_announced_is_left_to_a_pass_over_the_newest_version() {
    let world = World::new().await;
    let mut before =
        world.create(json!({"partitions": 1, "adoptionPolicy": "Refuse", "suspend": true})).await;
    // Another version than the one that was created, and nobody who looks after it.
    world.reason(NAME, "Suspended").await;
    before.spec.suspend = false;

    let outcome = pass_over(&world, before).await;

    assert!(matches!(outcome, Outcome::Waiting { .. }), "{outcome:?}");
    assert_eq!(world.described().await, None);
    world.change(json!({"suspend": false})).await;
    world.ready().await;
    world.end().await;
}
