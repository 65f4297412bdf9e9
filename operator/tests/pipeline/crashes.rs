//! The operator dies at every n-th write while a pipeline is made, changed and deleted, is started again, and all the
//! same everything ends as if it had not: objects, users and ACLs.

use std::sync::Arc;
use std::time::Duration;

use devcluster::testing::{apiserver, kafka};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kafka_admin::Admin;
use kube::api::{DeleteParams, Patch, PatchParams};
use operator::controller::context::{Context, Settings};
use operator::controller::pipeline::principals::ROTATE_ANNOTATION;
use operator::controller::{pipeline, strimzi, topic};
use operator::crd::{KafkaTopic, OrderPipeline};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::access::{acls, admin, gone, login_of, logs_in, user};
use crate::fuse::{self, Fuse, at_every_write, until};
use crate::running::{OPERATOR, config, settings};
use crate::world::{World, eventually};

/// What an operator of `world` has at hand that burns `fuse`.
async fn context(world: &World, fuse: &Arc<Fuse>) -> Arc<Context> {
    // Deaths must not use up the time after which a pipeline is let go with its work undone.
    let settings = Settings { cleanup_timeout: Duration::from_secs(600), ..settings(Some(&world.namespace)) };
    fuse::context(config(apiserver().kubeconfig(), Some(OPERATOR)).await, settings, fuse)
}

/// Starts controllers of pipelines.
async fn begin(world: &World, fuse: Arc<Fuse>) -> JoinHandle<()> {
    let ctx = context(world, &fuse).await;
    tokio::spawn(async move {
        tokio::join!(pipeline::run(Arc::clone(&ctx)), strimzi::watch(&ctx));
    })
}

/// A pipeline is made, changed and deleted by operators that die at their n-th write. Returns what there was after each of
/// these, and how many writes each took if the operator survived them all.
async fn scenario(n: usize) -> (Value, [usize; 3]) {
    let world = World::without_operator().await;
    world.put_secret("postgres-admin", &[("url", crate::world::ADMIN_URL)]).await;
    let topics = context(&world, &Fuse::new(usize::MAX)).await;
    let running = Arc::clone(&topics);
    let topics_controller = tokio::spawn(async move {
        tokio::join!(topic::run(Arc::clone(&running)), strimzi::watch(&running));
    });
    world
        .put_secret(
            "kafka-credentials",
            &[("username", kafka().admin_user()), ("password", kafka().admin_password())],
        )
        .await;

    // Without a database: no Job has to be played.
    let off = json!({"enabled": false});
    let services =
        json!({"order": off, "inventory": off, "notification": off, "order-analytics": {"replicas": 2}});
    let mut spec = crate::access::scram();
    spec["spec"]["services"] = services;
    spec["spec"]["gateway"] =
        json!({"route": {"hosts": ["a.example"], "services": ["order-analytics"], "ingress": {}}});
    world.create(spec).await;
    let begin = async |fuse| begin(&world, fuse).await;
    let settled = async || settled(&world).await;
    let first = until(n, begin, settled).await;
    let made = outcome(&world).await;

    world.change(json!({"services": {"order-analytics": {"replicas": 1}}, "gateway": null})).await;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ROTATE_ANNOTATION: "1"}}}));
    world.api::<OrderPipeline>().patch("shop", &PatchParams::default(), &patch).await.unwrap();
    let second = until(n, begin, settled).await;
    let changed = outcome(&world).await;

    world.api::<OrderPipeline>().delete("shop", &DeleteParams::default()).await.unwrap();
    let let_go = async || {
        eventually("the pipeline is gone", || async {
            let left = world.api::<OrderPipeline>().get_opt("shop").await.unwrap();
            left.map_or(Ok(()), |left| Err(format!("{:?}", left.metadata.finalizers)))
        })
        .await;
    };
    let third = until(n, begin, let_go).await;
    topics.shutdown.cancel();
    topics_controller.await.unwrap();
    let user = user(&world, "order-analytics");
    // Brokers show a deletion a little later than it is done.
    gone(&user).await;
    (json!({"made": made, "changed": changed}), [first, second, third])
}

/// Waits until the pipeline is Ready, and meanwhile says of all pods that they are.
async fn settled(world: &World) {
    eventually("the pipeline is ready", || async {
        world.roll_out().await;
        let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
        let status = pipeline.status.clone().unwrap_or_default();
        let current = Some(status.observed_generation) == pipeline.metadata.generation;
        let rotated = pipeline.metadata.annotations.as_ref().and_then(|all| all.get(ROTATE_ANNOTATION));
        let secret = world.api::<Secret>().get_opt("shop-order-analytics").await.unwrap();
        let made_for = secret.and_then(|secret| {
            secret.metadata.annotations?.get("orderpipeline.dev/rotated-kafka-password").cloned()
        });
        let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        if current && ready && rotated == made_for.as_ref() {
            Ok(())
        } else {
            Err(format!("{:?}", status.conditions))
        }
    })
    .await;
}

/// Objects, user and rights, without what differs from run to run.
async fn outcome(world: &World) -> Value {
    let user = user(world, "order-analytics");
    logs_in(&login_of(world, "order-analytics").await).await;
    let rights: Vec<String> = acls(&user).await.iter().map(|acl| format!("{acl:?}")).collect();
    let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
    let status = pipeline.status.unwrap();
    let deployment: Deployment = world.api().get("shop-order-analytics").await.unwrap();
    let told = json!({
        "finalizers": pipeline.metadata.finalizers,
        "users": status.access.unwrap().users,
        "summary": status.summary,
        "topics": world.names::<KafkaTopic>().await,
        "secrets": world.names::<Secret>().await,
        "others": [
            world.names::<ServiceAccount>().await, world.names::<ConfigMap>().await,
            world.names::<NetworkPolicy>().await, world.names::<PodDisruptionBudget>().await,
            world.names::<Ingress>().await,
        ],
        "replicas": deployment.spec.unwrap().replicas,
        "rights": rights,
        "one of ours": admin().describe_scram(&[user]).await.remove(0).is_ok(),
    });
    serde_json::from_str(&told.to_string().replace(&world.namespace, "NAMESPACE")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_killed_at_any_write_ends_where_one_that_lives_does() {
    let (expected, phases) = scenario(usize::MAX).await;
    assert_eq!((&expected["made"]["replicas"], &expected["changed"]["replicas"]), (&json!(2), &json!(1)));
    assert!(phases.iter().sum::<usize>() >= 20, "{phases:?} writes");

    // Each life begins by setting the password anew, since Kafka does not tell which one a user has: who never gets
    // beyond that gets nowhere.
    let longest = phases.into_iter().max().unwrap();
    at_every_write(2..=longest, &expected, async |n| scenario(n).await.0).await;
}
