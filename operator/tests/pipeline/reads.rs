//! What a pass asks the apiserver for: nothing that a watch has told already.

use std::time::Instant;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use operator::controller::apply::OWNER_LABEL;
use operator::controller::pipeline::reconcile;
use operator::crd::OrderPipeline;
use serde_json::{Value, json};

use crate::world::{World, eventually, nobody};

/// Reads that have nothing to do with passes: once a minute each of two caches is compared with a list, and a watch
/// that has ended is begun again.
fn background(since: Instant) -> u64 {
    (2 + 15) * (since.elapsed().as_secs() / 60) + 2
}

/// Passes over the pipeline as it is; how many reads and writes they made.
async fn passes(world: &World, count: u32) -> (u64, u64) {
    let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
    let metrics = &world.ctx().metrics;
    // Passes that the last status write has woken are over when this one is.
    reconcile(&pipeline, world.ctx(), &nobody()).await.unwrap();
    let before = (metrics.reads(), metrics.writes());
    for _ in 0..count {
        reconcile(&pipeline, world.ctx(), &nobody()).await.unwrap();
    }
    (metrics.reads() - before.0, metrics.writes() - before.1)
}

async fn passes_cost_nothing(world: &World) {
    const PASSES: u32 = 30;
    let started = Instant::now();

    let (reads, writes) = passes(world, PASSES).await;

    assert!(reads <= background(started), "{reads} reads in {PASSES} passes");
    assert_eq!(writes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_an_unchanged_pipeline_reads_nothing_and_writes_nothing() {
    let world = World::new().await;
    world.ready().await;

    passes_cost_nothing(&world).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn autoscaling_by_cpu_costs_no_reads_either() {
    let world = World::new().await;
    let scaling = json!({"autoscaling": {"minReplicas": 1, "maxReplicas": 5}});
    world.create(json!({"spec": {"services": {"order": scaling}}})).await;
    world.reason("DatabasePending").await;
    world.finish_job("Complete").await;
    world.reason("ServicesStarting").await;
    world.roll_out().await;
    world.reason("AllReady").await;

    passes_cost_nothing(&world).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_made_with_a_handful_of_reads() {
    let world = World::new().await;
    let (started, before) = (Instant::now(), world.ctx().metrics.reads());

    world.ready().await;

    // The Secret with the databases' address.
    let (reads, allowed) = (world.ctx().metrics.reads() - before, 1 + background(started));
    assert!(reads <= allowed, "{reads} reads, {allowed} are allowed");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_that_somebody_changed_is_put_right_at_once() {
    let world = World::new().await;
    world.ready().await;
    world.change(json!({"services": {"order": {"autoscaling": {"minReplicas": 1, "maxReplicas": 5}}}})).await;
    let most = async |expected: i32| {
        eventually("the autoscaler", || async {
            let found = world.api::<HorizontalPodAutoscaler>().get_opt("shop-order").await.unwrap();
            match found.and_then(|found| found.spec).map(|spec| spec.max_replicas) {
                Some(most) if most == expected => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    most(5).await;
    world.reason("AllReady").await;

    let patch = Patch::Merge(json!({"spec": {"maxReplicas": 9}}));
    let autoscalers = world.api::<HorizontalPodAutoscaler>();
    autoscalers.patch("shop-order", &PatchParams::default(), &patch).await.unwrap();

    most(5).await;
    world.end().await;
}

/// Merges `change` into the ConfigMap of the order service.
async fn change_config(world: &World, change: Value) {
    let configs = world.api::<ConfigMap>();
    configs.patch("shop-order", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_lost_its_label_is_taken_back_and_is_still_known() {
    let world = World::new().await;
    world.ready().await;
    let labelled = async || {
        eventually("the label", || async {
            let config: ConfigMap = world.api().get("shop-order").await.unwrap();
            let uid = config.owner_references()[0].uid.clone();
            if config.labels().get(OWNER_LABEL) == Some(&uid) { Ok(()) } else { Err("none".to_owned()) }
        })
        .await;
    };

    change_config(&world, json!({"metadata": {"labels": {OWNER_LABEL: null}}})).await;
    labelled().await;
    // The pass after sees it.
    change_config(&world, json!({"data": {"LOG_LEVEL": "trace"}})).await;

    eventually("the setting is as planned again", || async {
        let config: ConfigMap = world.api().get("shop-order").await.unwrap();
        let level = config.data.unwrap()["LOG_LEVEL"].clone();
        if level == "info" { Ok(()) } else { Err(level) }
    })
    .await;
    world.end().await;
}

/// What the operator relies on when it writes over what it knows, which the apiserver may know better.
#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_can_be_kept_from_writing_over_another_object() {
    let world = World::without_operator().await;
    let configs = world.api::<ConfigMap>();
    let apply = async |metadata: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        object["metadata"]["name"] = json!("config");
        let params = PatchParams::apply("test").force();
        match configs.patch("config", &params, &Patch::Apply(object)).await {
            Ok(written) => Ok(written.uid().unwrap()),
            Err(kube::Error::Api(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    };
    let nothing = json!({"resourceVersion": "1"});

    let absent = apply(json!({"uid": "of-somebody"})).await.unwrap_err();
    let first = apply(nothing.clone()).await.unwrap();
    let there = apply(nothing.clone()).await.unwrap_err();
    let same = apply(json!({ "uid": first })).await.unwrap();
    configs.delete("config", &DeleteParams::default()).await.unwrap();
    let second = apply(nothing).await.unwrap();
    let another = apply(json!({ "uid": first })).await.unwrap_err();

    assert_eq!((absent.code, there.code, another.code), (409, 409, 422));
    assert_eq!(another.details.unwrap().causes[0].field, "metadata.uid");
    assert_eq!(same, first);
    assert_ne!(second, first);
    world.end().await;
}
