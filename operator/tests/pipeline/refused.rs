//! An apiserver that starts anew, and refuses for a while what concerns Strimzi.

use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{DeleteParams, ListParams};
use operator::controller::strimzi::user_kind;
use operator::crd::OrderPipeline;
use serde_json::json;

use crate::rights::{apply, install_rights, kind_of, rights};
use crate::running::create_namespace;
use crate::strimzi::{Cluster, on};
use crate::strimzi_kinds::install;
use crate::world::{World, eventually};

/// Takes from the operator its rights on Strimzi's kinds.
async fn withdraw_rights(client: &Client) {
    for mut role in rights().into_iter().filter(|object| kind_of(object) == "ClusterRole") {
        let rules = role["rules"].as_array_mut().unwrap();
        rules.retain(|rule| rule["apiGroups"] != json!(["kafka.strimzi.io"]));
        apply(client, None, role).await;
    }
}

/// The apiserver dies and starts again, and all watches with it.
async fn restart_apiserver(world: &mut World) {
    tokio::task::block_in_place(|| {
        let (apiserver, _) = world.apiserver.as_mut().unwrap();
        apiserver.kill();
        apiserver.restart().unwrap();
    });
    eventually("the apiserver answers", || async {
        let pipelines = world.api::<OrderPipeline>().list(&ListParams::default()).await;
        pipelines.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// What was told when the pipeline was let go.
async fn farewell(world: &World, pipeline: &str) -> (String, String) {
    eventually("the end of the pipeline is told", || async {
        let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
        let about = |event: &&Event| event.regarding.as_ref().unwrap().name.as_deref() == Some(pipeline);
        let last = events.iter().filter(about).find(|event| event.action.as_deref() == Some("Delete"));
        let told = last.map(|event| (event.reason.clone().unwrap(), event.note.clone().unwrap()));
        told.ok_or("nothing".to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_strimzi_stays_while_its_watches_are_refused() {
    let mut world = World::of_a_whole_cluster(async |client| install(client).await).await;
    let kafka = create_namespace(&world.client, "kafka".to_owned()).await;
    let cluster = Cluster::new(&world.client, &kafka, "scram-sha-512").await;
    let users = cluster.start_user_operator();
    cluster.put_kafka(json!({"orderpipeline.dev/allowed-namespaces": "*"})).await;
    world.create(on("scram", Some("kafka"))).await;
    let mut leaving = on("scram", Some("kafka"));
    leaving["metadata"] = json!({"name": "leaving"});
    leaving["spec"]["topics"] = json!({"prefix": format!("{}leaving.", world.prefix)});
    world.create(leaving).await;
    world.reason("DatabasePending").await;
    world.reason_of("leaving", "DatabasePending").await;
    drop(users);

    withdraw_rights(&world.client).await;
    restart_apiserver(&mut world).await;
    eventually("the watches are refused", || async {
        let known = world.ctx().owned.versions(&user_kind("v1"));
        known.map_or(Ok(()), |known| Err(format!("{known:?}")))
    })
    .await;
    world.change(json!({"services": {"order": {"replicas": 2}}})).await;
    let told = world.reason("ForbiddenByKubernetes").await;
    world.api::<OrderPipeline>().delete("leaving", &DeleteParams::default()).await.unwrap();
    let farewell = farewell(&world, "leaving").await;

    assert!(told.contains("kafkausers"), "{told}");
    assert_eq!(farewell.0, "CleanupSkipped", "{farewell:?}");
    assert_eq!(cluster.users().await.len(), 6, "of both pipelines");

    install_rights(&world.client).await;
    world.reason("DatabasePending").await;
    cluster.put_kafka(json!({})).await;
    world.reason("KafkaNotAllowed").await;
    assert!(world.ctx().watches.stuck().is_empty());
    world.end().await;
}
