//! What the API server refuses by the rules of the definition: each rule once, with its message.

use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use operator::crd::OrderPipeline;
use rstest::rstest;
use serde_json::{Value, json};

use crate::world::World;

#[rstest]
#[case::name(json!({"metadata": {"name": "1shop"}}), "metadata.name must be at most 40")]
#[case::long_name(json!({"metadata": {"name": "a".repeat(41)}}), "metadata.name must be at most 40")]
#[case::service(json!({"spec": {"services": {"paymet": {}}}}), "there are: order, inventory, payment, shipping, notification")]
#[case::step(json!({"spec": {"saga": {"steps": ["packing"]}}}), "there are: inventory, payment, shipping")]
#[case::step_twice(json!({"spec": {"saga": {"steps": ["inventory", "inventory"]}}}), "names a step twice")]
#[case::topic(json!({"spec": {"topics": {"overrides": {"orders.made": {}}}}}), "topics.overrides names a topic")]
#[case::duration(json!({"spec": {"topics": {"retention": "forever"}}}), "spec.topics.retention")]
#[case::prefix(json!({"spec": {"topics": {"prefix": "a b"}}}), "spec.topics.prefix")]
#[case::avro_without_registry(
    json!({"spec": {"events": {"format": "Avro"}}}),
    "events.schemaRegistry is missing, and Avro needs it"
)]
#[case::password_in_the_registrys_url(
    json!({"spec": {"events": {"schemaRegistry": {"url": "https://ada:hunter2@registry"}}}}),
    "spec.events.schemaRegistry.url"
)]
#[case::authority_of_a_registry_without_tls(
    json!({"spec": {"events": {"schemaRegistry": {"url": "http://registry", "caSecretRef": {"name": "ca"}}}}}),
    "events.schemaRegistry.caSecretRef is used with an https:// url only"
)]
#[case::two_ways_in(
    json!({"spec": {"gateway": {"route": {
        "hosts": ["a.example"], "ingress": {}, "httpRoute": {"parentRefs": [{"name": "public"}]}
    }}}}),
    "gateway.route must name exactly one of ingress and httpRoute"
)]
#[case::no_way_in(
    json!({"spec": {"gateway": {"route": {"hosts": ["a.example"]}}}}),
    "gateway.route must name exactly one of ingress and httpRoute"
)]
#[case::a_way_to_nobody(
    json!({"spec": {"gateway": {"route": {"hosts": ["a.example"], "services": ["payment"], "ingress": {}}}}}),
    "gateway.route.services names a service that does not run"
)]
#[case::a_way_to_no_api(
    json!({"spec": {"gateway": {"route": {"hosts": ["a.example"], "services": ["notification"], "ingress": {}}}}}),
    "gateway.route.services names one that has no API; these have: order, inventory, payment, shipping, order-analytics"
)]
#[case::no_host(
    json!({"spec": {"gateway": {"route": {"hosts": ["https://a.example"], "ingress": {}}}}}),
    "spec.gateway.route.hosts[0]"
)]
#[case::an_annotation_of_the_operators(
    json!({"spec": {"gateway": {"route": {
        "hosts": ["a.example"], "ingress": {"annotations": {"orderpipeline.dev/applied-hash": "0"}}
    }}}}),
    "gateway.route.ingress.annotations has one of the operator's own"
)]
#[case::an_issuer_with_a_password(
    json!({"spec": {"gateway": {"jwt": {"issuer": "https://ada:hunter2@login.example"}}}}),
    "spec.gateway.jwt.issuer"
)]
#[case::audiences_in_one_text(
    json!({"spec": {"gateway": {"jwt": {"issuer": "https://login.example", "audiences": ["a,b"]}}}}),
    "spec.gateway.jwt.audiences[0]"
)]
#[case::authority_of_an_issuer_without_tls(
    json!({"spec": {"gateway": {"jwt": {"issuer": "http://login.example", "caSecretRef": {"name": "ca"}}}}}),
    "gateway.jwt.caSecretRef is used with https:// only"
)]
#[case::no_duration_at_all(json!({"spec": {"saga": {"stepTimeout": "0s"}}}), "must be a duration such as 30s, 12h or 7d")]
#[case::step_without_service(
    json!({"spec": {"saga": {"steps": ["inventory", "payment"]}}}),
    "saga.steps has a step whose service does not run"
)]
#[case::nothing_enabled(
    json!({"spec": {"services": {"order": {"enabled": false}, "inventory": {"enabled": false}, "notification": {"enabled": false}}}}),
    "services enables no service"
)]
#[case::retention_by_config(
    json!({"spec": {"topics": {"overrides": {"orders.created": {"config": {"retention.ms": "1"}}}}}}),
    "config[retention.ms] cannot be set"
)]
#[case::managed_access_without_login(
    json!({"spec": {"access": {"mode": "Managed"}}}),
    "access.mode Managed needs a Kafka that services log in to with SASL and SCRAM"
)]
#[case::replicas_and_autoscaling(
    json!({"spec": {"services": {"order": {"replicas": 2, "autoscaling": {"maxReplicas": 3}}}}}),
    "replicas and autoscaling exclude each other"
)]
#[case::autoscaling_upside_down(
    json!({"spec": {"services": {"order": {"autoscaling": {"minReplicas": 4, "maxReplicas": 3}}}}}),
    "autoscaling.minReplicas must not be more than maxReplicas"
)]
#[case::lag_of_nothing(
    json!({"spec": {"services": {"order": {"autoscaling": {"maxReplicas": 3, "targetLag": 0}}}}}),
    "spec.services.order.autoscaling.targetLag"
)]
#[case::lag_without_a_request_for_cpu(
    json!({"spec": {"services": {"order": {
        "autoscaling": {"maxReplicas": 3, "targetLag": 100}, "resources": {"requests": {"memory": "64Mi"}}
    }}}}),
    "autoscaling.targetLag needs resources.requests.cpu"
)]
#[case::containers_of_a_service_without_an_api(
    json!({"spec": {"services": {"notification": {"containers": "Apart"}}}}),
    "containers may be Apart only where a service has an API"
)]
#[case::credentials(
    json!({"spec": {"kafka": {"bootstrap": {"security": {"protocol": "SASL_PLAINTEXT"}}}}}),
    "need `credentials`"
)]
#[case::shared_access_on_strimzis_cluster(
    json!({"spec": {"access": {"mode": "Shared"},
                    "kafka": {"bootstrap": null, "strimzi": {"cluster": "main", "listener": "tls"}}}}),
    "access.mode Shared is not for kafka.strimzi"
)]
#[case::variable_twice(
    json!({"spec": {"services": {"order": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}}}}),
    "spec.services[order].env[1]: Duplicate value"
)]
#[case::more_in_sync_than_the_topic_has(
    json!({"spec": {"topics": {"replicas": 1, "overrides": {
        "orders.created": {"replicas": 2, "config": {"min.insync.replicas": "3"}}
    }}}}),
    "config[min.insync.replicas] of a topic in topics.overrides is more than the topic's replicas"
)]
#[case::more_in_sync_than_all_topics_have(
    json!({"spec": {"topics": {"replicas": 1, "overrides": {"orders.created": {"config": {"min.insync.replicas": "2"}}}}}}),
    "config[min.insync.replicas] of a topic in topics.overrides is more than the topic's replicas"
)]
#[case::more_in_sync_than_the_profile_has(
    json!({"spec": {"profile": "Prod", "topics": {"replicas": null, "overrides": {
        "orders.created": {"config": {"min.insync.replicas": "3"}}
    }}}}),
    "config[min.insync.replicas] of a topic in topics.overrides is more than the topic's replicas"
)]
#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_refused_at_once_is(#[case] change: Value, #[case] message: &str) {
    let world = World::new().await;

    let api: Api<OrderPipeline> = world.api();
    let refusal = api.create(&PostParams::default(), &world.pipeline(change)).await.unwrap_err();

    assert!(refusal.to_string().contains(message), "{refusal}");
    world.end().await;
}

#[rstest]
#[case::prefix(json!({"topics": {"prefix": "other."}}), "topics.prefix cannot be changed")]
#[case::partitions(json!({"topics": {"partitions": 2}}), "topics.partitions can only grow")]
#[case::two_clusters(
    json!({"kafka": {"strimzi": {"cluster": "main", "listener": "tls"}}}),
    "kafka must name exactly one of strimzi and bootstrap"
)]
#[case::another_kind_of_cluster(
    json!({"kafka": {"bootstrap": null, "strimzi": {"cluster": "main", "listener": "tls"}}}),
    "kafka cannot be changed between strimzi and bootstrap"
)]
#[case::two_databases(
    json!({"database": {"cloudNativePG": {"cluster": "db"}}}),
    "database must name exactly one of secretRef and cloudNativePG"
)]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_stays(#[case] change: Value, #[case] message: &str) {
    let world = World::without_secrets().await;
    world.create(json!({})).await;

    let patch = Patch::Merge(json!({ "spec": change }));
    let refusal =
        world.api::<OrderPipeline>().patch("shop", &PatchParams::default(), &patch).await.unwrap_err();

    assert!(refusal.to_string().contains(message), "{refusal}");
    world.end().await;
}

#[rstest]
#[case::as_many_in_sync_as_there_are(json!({"replicas": 2, "overrides": {"orders.created": {"config": {"min.insync.replicas": "2"}}}}))]
#[case::in_sync_is_no_number(json!({"overrides": {"orders.created": {"config": {"min.insync.replicas": "two"}}}}))]
#[case::no_setting_at_all(json!({"overrides": {"orders.created": {"replicas": 1}}}))]
#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_do_not_speak_of_is_taken(#[case] topics: Value) {
    let world = World::without_secrets().await;

    world.create(json!({"spec": {"topics": topics}})).await;

    world.end().await;
}
