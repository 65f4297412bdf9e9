//! Users and rights in Kafka, against a broker that checks them.

use std::collections::BTreeSet;

use devcluster::testing::kafka;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kafka_admin::{
    AclBinding, AclFilter, AclOperation, Admin, ConnectOptions, KafkaAdmin, NewRecord, Principal,
    RequestKind, ResourceKind, SaslCredentials, SaslMechanism, ScramDeletion, ScramMechanism, ScramUpsertion,
    Security, TopicName, append_records, read_topics,
};
use kube::api::{DeleteParams, Patch, PatchParams};
use operator::controller::pipeline::principals::ROTATE_ANNOTATION;
use operator::controller::pipeline::reconcile;
use operator::crd::OrderPipeline;
use operator::crd::conditions::{ConditionType, find, is_true};
use serde_json::{Value, json};

use crate::world::{World, eventually, nobody};

/// A world whose pipelines log in to Kafka, the operator as the administrator.
pub(crate) async fn world() -> World {
    let world = World::new().await;
    let admin = [("username", kafka().admin_user()), ("password", kafka().admin_password())];
    world.put_secret("kafka-credentials", &admin).await;
    world
}

pub(crate) fn scram() -> Value {
    json!({"spec": {"kafka": {"bootstrap": {
        "servers": kafka().sasl_bootstrap(),
        "security": {"protocol": "SASL_PLAINTEXT", "credentials": {"secretName": "kafka-credentials"}}
    }}}})
}

/// A pipeline whose users are there and whose services run.
pub(crate) async fn ready(world: &World) {
    world.create(scram()).await;
    world.reason("DatabasePending").await;
    world.finish_job("Complete").await;
    world.reason("ServicesStarting").await;
    world.roll_out().await;
    world.reason("AllReady").await;
}

pub(crate) fn user(world: &World, service: &str) -> String {
    format!("{}{}.shop.{service}", world.prefix, world.namespace)
}

pub(crate) fn admin() -> KafkaAdmin {
    KafkaAdmin::connect(&ConnectOptions::plaintext(kafka().bootstrap())).unwrap()
}

fn login(username: String, password: &str) -> ConnectOptions {
    login_at(kafka().sasl_bootstrap(), username, password)
}

pub(crate) fn login_at(servers: impl Into<String>, username: String, password: &str) -> ConnectOptions {
    let mechanism = SaslMechanism::ScramSha512;
    let credentials = SaslCredentials { mechanism, username, password: password.into() };
    ConnectOptions { security: Security::SaslPlaintext(credentials), ..ConnectOptions::plaintext(servers) }
}

/// How the pods of `service` log in.
pub(crate) async fn login_of(world: &World, service: &str) -> ConnectOptions {
    let username = world.secret_of(service, "KAFKA_USERNAME").await;
    login(username, &world.secret_of(service, "KAFKA_PASSWORD").await)
}

pub(crate) async fn acls(user: &str) -> BTreeSet<AclBinding> {
    let filter = [AclFilter::of(Principal::user(user))];
    admin().describe_acls(&filter).await.remove(0).unwrap().into_iter().collect()
}

/// Waits until one can log in so: brokers learn of a new password a little later than it is set.
pub(crate) async fn logs_in(options: &ConnectOptions) {
    eventually("the user logs in", || async {
        let answer = KafkaAdmin::connect(options).unwrap().cluster_id().await;
        answer.map(drop).map_err(|refusal| refusal.to_string())
    })
    .await;
}

async fn has_password(user: &str) -> bool {
    admin().describe_scram(&[user.to_owned()]).await.remove(0).is_ok()
}

/// Somebody else makes a user. Brokers show it a little later than the controller has it, and whoever asked one before
/// that could not know whose it is: this waits until it is shown.
async fn meanwhile_create(user: &str, password: &str) {
    let upsertion = ScramUpsertion::sha512(user.to_owned(), password.into());
    admin().upsert_scram(&[upsertion]).await.remove(0).unwrap();
    eventually("the broker shows the user", || async {
        if has_password(user).await { Ok(()) } else { Err(format!("no {user}")) }
    })
    .await;
}

pub(crate) async fn gone(user: &str) {
    eventually("the user is gone", || async {
        let left = acls(user).await;
        if left.is_empty() && !has_password(user).await { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

fn topic(world: &World, name: &str) -> TopicName {
    TopicName::new(format!("{}{name}", world.prefix)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_do_what_is_its_own_and_nothing_else() {
    let world = world().await;
    world.create(scram()).await;
    world.reason("DatabasePending").await;
    assert!(is_true(&world.status().await.conditions, ConditionType::AccessReady));

    let inventory = login_of(&world, "inventory").await;
    let reads = |name| {
        let (options, topic) = (inventory.clone(), topic(&world, name));
        async move { read_topics(&options, &[topic], (), |(), _| {}).await }
    };
    let writes = |name| {
        let (options, topic) = (inventory.clone(), topic(&world, name));
        let record = NewRecord {
            topic,
            partition: Some(0),
            key: None,
            value: Some(b"x".to_vec()),
            headers: Vec::new(),
        };
        async move { append_records(&options, &[record]).await }
    };

    logs_in(&inventory).await;
    // And of new rights.
    eventually("it may do what is its own", || async {
        let told = |error: kafka_admin::Error| error.to_string();
        reads("orders.created").await.map_err(told)?;
        writes("inventory.reserved").await.map_err(told)?;
        writes("inventory.dlt").await.map_err(told)
    })
    .await;
    assert!(reads("notifications.sent").await.is_err(), "it is not for inventory");
    assert!(reads("order.dlt").await.is_err(), "another service's dead letters");
    assert!(writes("orders.created").await.is_err(), "inventory only reads it");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_have_users_of_their_own_and_never_the_operators() {
    let world = world().await;
    ready(&world).await;

    for service in ["order", "inventory", "notification"] {
        let secret: Secret = world.api().get(&format!("shop-{service}")).await.unwrap();
        let text = serde_json::to_string(&secret).unwrap();
        assert!(!text.contains(kafka().admin_password()));
        assert_eq!(world.secret_of(service, "KAFKA_USERNAME").await, user(&world, service));
        logs_in(&login_of(&world, service).await).await;
    }
    let status = serde_json::to_string(&world.status().await).unwrap();
    assert!(!status.contains(&world.secret_of("order", "KAFKA_PASSWORD").await));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_without_work_changes_nothing_in_kafka() {
    let world = world().await;
    ready(&world).await;
    let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
    // Passes that the last status write has woken are over when this one is.
    reconcile(&pipeline, world.ctx(), &nobody()).await.unwrap();
    let changes = || {
        let clusters = world.ctx().clusters.all();
        let counts = clusters.iter().flat_map(|cluster| cluster.admin().request_counts());
        let changing = [RequestKind::AlterScram, RequestKind::CreateAcls, RequestKind::DeleteAcls];
        counts.filter(|(kind, _)| changing.contains(kind)).map(|(_, count)| count).sum::<u64>()
    };
    let (versions, before) = (world.versions().await, changes());
    assert_eq!(before, 2, "all users in one request, all ACLs in another");

    for _ in 0..3 {
        reconcile(&pipeline, world.ctx(), &nobody()).await.unwrap();
    }

    assert_eq!((world.versions().await, changes()), (versions, before));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_about_our_users_is_put_right() {
    let world = world().await;
    ready(&world).await;
    let order = user(&world, "order");
    let right = acls(&order).await;
    let stolen = right.iter().next().unwrap().clone();
    let principal = Principal::user(&order);
    let added = AclBinding::allow(principal, AclOperation::Delete, ResourceKind::Topic, "*");

    admin().delete_acls(&[AclFilter::exactly(&stolen)]).await.remove(0).unwrap();
    admin().create_acls(&[added]).await.remove(0).unwrap();
    let password = ScramDeletion { user: order.clone(), mechanism: ScramMechanism::Sha512 };
    admin().delete_scram(&[password]).await.remove(0).unwrap();

    eventually("the user is as before", || async {
        let found = acls(&order).await;
        if found == right && has_password(&order).await { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    // With the same password.
    logs_in(&login_of(&world, "order").await).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_leaves_loses_its_user_and_strangers_keep_theirs() {
    let world = world().await;
    ready(&world).await;
    let (stranger, leaving) = (user(&world, "stranger"), user(&world, "notification"));
    let theirs = AclBinding::allow(Principal::user(&stranger), AclOperation::Read, ResourceKind::Topic, "x");
    admin().create_acls(std::slice::from_ref(&theirs)).await.remove(0).unwrap();
    meanwhile_create(&stranger, "secret").await;
    assert!(!acls(&leaving).await.is_empty());

    world.change(json!({"services": {"notification": {"enabled": false}}})).await;

    gone(&leaving).await;
    eventually("the status forgets it", || async {
        let users = world.status().await.access.unwrap().users;
        if users.contains(&leaving) { Err(format!("{users:?}")) } else { Ok(()) }
    })
    .await;
    assert_eq!(acls(&stranger).await, BTreeSet::from([theirs]));
    assert!(has_password(&stranger).await);
    assert!(has_password(&user(&world, "order")).await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_pipeline_removes_its_users() {
    let world = world().await;
    ready(&world).await;

    world.api::<OrderPipeline>().delete("shop", &DeleteParams::default()).await.unwrap();

    for service in ["order", "inventory", "notification"] {
        gone(&user(&world, service)).await;
    }
    released(&world).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_whose_kafka_is_away_is_let_go_within_the_bound() {
    let world = world().await;
    ready(&world).await;
    // Nothing listens on port 1.
    world.change(json!({"kafka": {"bootstrap": {"servers": "127.0.0.1:1"}}})).await;

    world.api::<OrderPipeline>().delete("shop", &DeleteParams::default()).await.unwrap();

    released(&world).await;
    world.end().await;
}

/// Waits until nothing holds the pipeline.
pub(crate) async fn released(world: &World) {
    eventually("the pipeline is gone, nothing holds it", || async {
        match world.api::<OrderPipeline>().get_opt("shop").await.unwrap() {
            None => Ok(()),
            Some(found) => Err(format!("{:?} {:?}", found.metadata.finalizers, found.status)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_gives_new_passwords_and_rolls_the_pods() {
    let world = world().await;
    ready(&world).await;
    let old = login_of(&world, "order").await;
    let hash =
        |deployment: Deployment| deployment.spec.unwrap().template.metadata.unwrap().annotations.unwrap();
    let before = hash(world.api().get("shop-order").await.unwrap());

    let patch = Patch::Merge(json!({"metadata": {"annotations": {ROTATE_ANNOTATION: "2026-07"}}}));
    world.api::<OrderPipeline>().patch("shop", &PatchParams::default(), &patch).await.unwrap();

    eventually("the pods roll", || async {
        let now = hash(world.api().get("shop-order").await.unwrap());
        if now == before { Err(format!("{now:?}")) } else { Ok(()) }
    })
    .await;
    let new = login_of(&world, "order").await;
    logs_in(&new).await;
    let refused = KafkaAdmin::connect(&old).unwrap().cluster_id().await;
    assert!(matches!(refused, Err(kafka_admin::Error::NotAuthenticated { .. })), "{refused:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_somebody_else_is_not_taken_over() {
    let world = world().await;
    let theirs = user(&world, "order");
    meanwhile_create(&theirs, "theirs").await;

    world.create(scram()).await;

    let message = world.access("UserTaken").await;
    assert!(message.contains(&theirs), "{message}");
    // Their password is as it was.
    logs_in(&login(theirs.clone(), "theirs")).await;
    assert!(acls(&theirs).await.is_empty());
    assert!(world.status().await.access.is_none());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_access_gives_every_service_the_credentials_of_the_spec() {
    let world = world().await;
    ready(&world).await;
    let before = user(&world, "order");

    world.change(json!({"access": {"mode": "Shared"}})).await;

    world.reason("ServicesStarting").await;
    assert_eq!(world.secret_of("order", "KAFKA_USERNAME").await, kafka().admin_user());
    assert!(has_password(&before).await, "old pods still use it");
    world.roll_out().await;
    gone(&before).await;
    eventually("nothing holds the pipeline", || async {
        let pipeline: OrderPipeline = world.api().get("shop").await.unwrap();
        let held = pipeline.metadata.finalizers.clone().unwrap_or_default();
        if held.is_empty() { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_a_service_gets_no_access_from_a_topic_besides() {
    let world = world().await;
    world.create(scram()).await;
    world.reason("DatabasePending").await;
    let before = acls(&user(&world, "order")).await;
    let access = json!([{"principal": format!("User:{}", user(&world, "order")), "operations": ["Read"]}]);

    let plain = json!({"bootstrap": {"servers": kafka().bootstrap()}});
    world.create_topic("besides", json!({"kafka": plain, "access": access})).await;

    let status = world.topic_reason("besides", "PrincipalTaken").await;
    let told = &find(&status.conditions, ConditionType::Ready).unwrap().message;
    assert!(told.contains(&format!("OrderPipeline {}/shop", world.namespace)), "{told}");
    assert_eq!(acls(&user(&world, "order")).await, before);
    world.end().await;
}
