//! Who may do what with a topic: granted, kept, revoked, and what belongs to others left alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_admin::{
    AclBinding, AclFilter, AclOperation, Admin, MemoryAdmin, Principal, RequestKind, ResourceKind,
};
use operator::controller::context::Context;
use operator::controller::{strimzi, topic};
use operator::crd::conditions::ConditionType;
use operator::metrics::Metrics;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::scale::of;
use super::strimzi::cluster;
use super::strimzi_kinds::{api, install, put};
use super::world::{World, client, config_of_the_operator, eventually, is, message, settings};

/// A user of the test's own.
fn user(world: &World, name: &str) -> String {
    format!("User:{name}.{}", world.topic)
}

/// That `name` may do this.
fn rule(world: &World, name: &str, operations: &[&str]) -> Value {
    json!({"principal": user(world, name), "operations": operations})
}

fn binding(world: &World, name: &str, operation: AclOperation) -> AclBinding {
    let principal: Principal = user(world, name).parse().unwrap();
    AclBinding::allow(principal, operation, ResourceKind::Topic, world.topic.clone())
}

/// The ACLs of the test's topic, such as `reader Read *`.
async fn acls(world: &World) -> BTreeSet<String> {
    let filter = AclFilter { name: Some(world.topic.clone()), ..AclFilter::any() };
    let found = world.admin.describe_acls(&[filter]).await.remove(0).unwrap();
    let mine = format!(".{}", world.topic);
    let told = |acl: AclBinding| {
        let user = acl.principal.as_str().trim_start_matches("User:").trim_end_matches(&mine).to_owned();
        format!("{user} {:?} {}", acl.operation, acl.host)
    };
    found.into_iter().map(told).collect()
}

async fn acls_become(world: &World, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|acl| (*acl).to_owned()).collect();
    eventually("ACLs", || async {
        let found = acls(world).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// Returns when brokers show it, which is a little later than it is made.
async fn meanwhile_allow(world: &World, acl: AclBinding) {
    world.admin.create_acls(std::slice::from_ref(&acl)).await.remove(0).unwrap();
    eventually("the broker shows the ACL", || async {
        let found = world.admin.describe_acls(&[AclFilter::exactly(&acl)]).await.remove(0).unwrap();
        if found.is_empty() { Err(format!("no {acl:?}")) } else { Ok(()) }
    })
    .await;
}

async fn meanwhile_forbid(world: &World, acl: &AclBinding) {
    world.admin.delete_acls(&[AclFilter::exactly(acl)]).await.remove(0).unwrap();
}

#[tokio::test]
async fn access_is_granted_kept_and_taken_back_and_that_of_strangers_is_not_touched() {
    let world = World::new().await;
    meanwhile_allow(&world, binding(&world, "stranger", AclOperation::Write)).await;
    let mut importer = rule(&world, "importer", &["Write"]);
    importer["host"] = json!("10.0.0.1");

    world.create(json!({"access": [rule(&world, "reader", &["Read", "Describe"]), importer]})).await;
    let status = world.ready().await;
    let all = ["reader Read *", "reader Describe *", "importer Write 10.0.0.1", "stranger Write *"];
    acls_become(&world, &all).await;
    meanwhile_forbid(&world, &binding(&world, "reader", AclOperation::Read)).await;
    acls_become(&world, &all).await;
    world.change(json!({"access": [rule(&world, "reader", &["Read"])]})).await;
    acls_become(&world, &["reader Read *", "stranger Write *"]).await;
    let less = world.ready().await;
    world.delete("orders").await;
    world.gone("orders").await;

    acls_become(&world, &["stranger Write *"]).await;
    assert!(world.described().await.is_some(), "the topic is retained");
    let users = |access: &operator::crd::kafka_topic::TopicAccessStatus| {
        access.granted.iter().map(|granted| granted.principal.clone()).collect::<Vec<_>>()
    };
    assert_eq!(users(&status.access.unwrap()), [user(&world, "importer"), user(&world, "reader")]);
    assert_eq!(users(&less.access.unwrap()), [user(&world, "reader")]);
    assert!(world.event("orders", "AccessGranted").await.contains(" to Read"));
    assert!(world.event("orders", "AccessRevoked").await.contains(" to "));
    world.end().await;
}

#[tokio::test]
async fn an_acl_that_was_there_before_stays_when_its_entry_goes() {
    let world = World::new().await;
    meanwhile_allow(&world, binding(&world, "reader", AclOperation::Read)).await;

    world.create(json!({"access": [rule(&world, "reader", &["Read", "Write"])]})).await;
    let noted = world.ready().await.access.unwrap();
    acls_become(&world, &["reader Read *", "reader Write *"]).await;
    world.change(json!({"access": []})).await;
    acls_become(&world, &["reader Read *"]).await;
    let status = world.ready().await;

    assert_eq!(serde_json::to_value(&noted.granted[0].operations).unwrap(), json!(["Write"]));
    assert!(status.access.is_none());
    eventually("nothing is left to do at its end", || async {
        let finalizers = world.get("orders").await.metadata.finalizers.unwrap_or_default();
        if finalizers.is_empty() { Ok(()) } else { Err(format!("{finalizers:?}")) }
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn access_is_planned_and_not_granted_before_that_is_allowed() {
    let world = World::new().await;
    let spec = json!({"access": [rule(&world, "reader", &["Read"])], "reconcilePolicy": "Plan"});

    world.create(spec).await;
    let planned = world.reason("orders", "ChangesPending").await;
    let before = acls(&world).await;
    world.change(json!({"reconcilePolicy": "Apply"})).await;
    world.ready().await;
    acls_become(&world, &["reader Read *"]).await;
    world.change(json!({"reconcilePolicy": "Plan", "access": []})).await;
    let leaving = world.reason("orders", "ChangesPending").await;

    assert_eq!(planned.plan.last().unwrap(), &format!("allow {} to Read", user(&world, "reader")));
    assert!(before.is_empty() && planned.access.is_none());
    assert_eq!(leaving.plan, [format!("no longer allow {} to Read", user(&world, "reader"))]);
    world.delete("orders").await;
    world.gone("orders").await;
    acls_become(&world, &["reader Read *"]).await;
    world.end().await;
}

#[tokio::test]
async fn access_of_a_suspended_topic_is_left_alone_until_it_is_not() {
    let world = World::new().await;
    world.create(json!({"access": [rule(&world, "reader", &["Read"])]})).await;
    world.ready().await;
    acls_become(&world, &["reader Read *"]).await;

    world.change(json!({"suspend": true, "access": [rule(&world, "other", &["Read"])]})).await;
    let suspended = world.reason("orders", "Suspended").await;
    meanwhile_forbid(&world, &binding(&world, "reader", AclOperation::Read)).await;
    // Another object shows that looks at Kafka go on meanwhile.
    world.create_named("other", json!({"topicName": format!("{}.other", world.topic)})).await;
    world.reason("other", "Synced").await;
    let untouched = acls(&world).await;
    world.change(json!({"suspend": false})).await;

    acls_become(&world, &["other Read *"]).await;
    assert!(untouched.is_empty() && suspended.access.is_some());
    world.end().await;
}

#[tokio::test]
async fn an_object_for_the_same_topic_takes_over_with_access_of_its_own() {
    let world = World::new().await;
    world.create(json!({"access": [rule(&world, "reader", &["Read"])]})).await;
    world.ready().await;
    world.create_named("heir", json!({"access": [rule(&world, "writer", &["Write"])]})).await;
    world.reason("heir", "TopicNameTaken").await;
    acls_become(&world, &["reader Read *"]).await;

    world.delete("orders").await;

    world.reason("heir", "Synced").await;
    acls_become(&world, &["writer Write *"]).await;
    world.end().await;
}

#[tokio::test]
async fn beside_a_user_operator_no_access_is_granted() {
    install(&client().await).await;
    let mut world = World::new().await;
    world.stop().await;
    cluster(&world, json!({"userOperator": {}})).await;
    world.start().await;

    world.create(json!({"access": [rule(&world, "reader", &["Read"])]})).await;
    let status = world.reason("orders", "UserOperatorConflict").await;

    assert!(is(&status, ConditionType::Stalled));
    assert!(message(&status).contains("grant access in a KafkaUser"), "{}", message(&status));
    assert!(world.described().await.is_some(), "the topic itself is looked after");
    assert!(acls(&world).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn where_a_user_operator_comes_later_access_can_be_given_up() {
    install(&client().await).await;
    let world = World::new().await;
    world.create(json!({"access": [rule(&world, "reader", &["Read"])]})).await;
    world.ready().await;
    acls_become(&world, &["reader Read *"]).await;
    cluster(&world, json!({"userOperator": {}})).await;
    world.reason("orders", "UserOperatorConflict").await;

    world.change(json!({"access": []})).await;

    let status = world.ready().await;
    assert_eq!(status.access, None);
    world.end().await;
}

#[tokio::test]
async fn a_kafka_user_of_strimzis_is_refused_and_others_are_not() {
    install(&client().await).await;
    let mut world = World::new().await;
    world.stop().await;
    // Its User Operator leaves users of some names alone.
    let spares = json!({"userOperatorContainer": {"env": [
        {"name": "STRIMZI_IGNORED_USERS_PATTERN", "value": ".*"}
    ]}});
    cluster(&world, json!({"userOperator": {}, "template": spares})).await;
    let users = api(&world.client, &world.namespace, "KafkaUser");
    let theirs = json!({
        "metadata": {"labels": {"strimzi.io/cluster": "main"}}, "spec": {"authentication": {"type": "tls"}}
    });
    put(&users, "KafkaUser", "theirs", theirs).await;
    world.start().await;

    let taken = json!({"principal": "User:CN=theirs", "operations": ["Read"]});
    // No KafkaUser can be called so.
    let distinguished = json!({"principal": "User:CN=Data Team,O=Acme/EU?", "operations": ["Read"]});
    world.create(json!({"access": [taken, distinguished, rule(&world, "reader", &["Read"])]})).await;
    let status = world.reason("orders", "PrincipalTaken").await;

    acls_become(&world, &["reader Read *", "CN=Data Team,O=Acme/EU? Read *"]).await;
    assert!(message(&status).contains("remove User:CN=theirs from spec.access"), "{}", message(&status));
    world.change(json!({"access": [rule(&world, "reader", &["Read"])]})).await;
    world.ready().await;
    world.end().await;
}

#[tokio::test]
async fn a_cluster_without_authorizer_refuses_access_and_keeps_the_topic() {
    let mut world = World::new().await;
    world.stop().await;
    let memory = Arc::new(MemoryAdmin::new());
    memory.disable_authorizer();
    let admin = Arc::clone(&memory);
    let settings =
        operator::controller::context::Settings { namespace: Some(world.namespace.clone()), ..settings() };
    let ctx = Arc::new(Context::with_connect(
        kube::Client::try_from(config_of_the_operator().await).unwrap(),
        Arc::new(Metrics::new().unwrap()),
        settings,
        CancellationToken::new(),
        Box::new(move |_| Ok(Arc::clone(&admin) as Arc<dyn Admin>)),
    ));
    let running = Arc::clone(&ctx);
    let operator = tokio::spawn(async move {
        tokio::join!(topic::run(Arc::clone(&running)), strimzi::watch(&running));
    });

    world.create(json!({"access": [rule(&world, "reader", &["Read"])]})).await;
    let status = world.reason("orders", "ClusterHasNoAuthorizer").await;
    assert!(message(&status).contains("configure an authorizer on the brokers"), "{}", message(&status));
    assert!(memory.describe_topics(&[world.topic_name()]).await.remove(0).is_ok());
    world.change(json!({"access": []})).await;
    world.ready().await;
    world.delete("orders").await;
    world.gone("orders").await;

    ctx.shutdown.cancel();
    operator.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_to_many_topics_is_granted_and_watched_in_few_requests() {
    const OBJECTS: usize = 200;
    let mut world = World::new().await;
    world.stop().await;
    let create = |number: usize| {
        let spec = json!({"topicName": format!("{}.{number}", world.topic), "access": [rule(&world, "reader", &["Read"])]});
        let world = &world;
        async move { world.create_named(&format!("shared-{number}"), spec).await }
    };
    futures::future::join_all((0..OBJECTS).map(create)).await;

    world.start().await;
    for number in 0..OBJECTS {
        world.reason(&format!("shared-{number}"), "Synced").await;
    }
    let (before, passes) = (world.ctx.clusters.requests(), super::trouble::passes(&world));
    eventually("a pass over each object, and three looks", || {
        let done = super::trouble::passes(&world) - passes;
        let looks = of(&world.ctx.clusters.requests(), RequestKind::DescribeTopics)
            - of(&before, RequestKind::DescribeTopics);
        let enough = done >= OBJECTS as u64 && looks >= 3;
        std::future::ready(if enough { Ok(()) } else { Err(format!("{done} passes, {looks} looks")) })
    })
    .await;
    let after = world.ctx.clusters.requests();

    let reader: Principal = user(&world, "reader").parse().unwrap();
    let granted = world.admin.describe_acls(&[AclFilter::of(reader)]).await.remove(0).unwrap();
    assert_eq!(granted.len(), OBJECTS);
    let created = of(&after, RequestKind::CreateAcls);
    assert!(created <= OBJECTS as u64 / 5, "{created} requests to create {OBJECTS} ACLs");
    let asked = |kind| of(&after, kind) - of(&before, kind);
    assert_eq!(asked(RequestKind::CreateAcls) + asked(RequestKind::DeleteAcls), 0);
    let (acls, looks) = (asked(RequestKind::DescribeAcls), asked(RequestKind::DescribeTopics));
    assert!(acls <= looks + 1, "{acls} requests for ACLs in {looks} looks");
    world.end().await;
}
