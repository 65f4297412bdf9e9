//! The pure steps through the production path: YAML → validate → resolve → plan.

mod access;
mod gateway;
mod scaling;
mod status;

use std::collections::BTreeMap;

use contract::{Service, Topic};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kafka_admin::{ConnectOptions, Security};
use rstest::rstest;
use secrecy::{ExposeSecret, SecretString};

use super::access::{Secrets, Unusable, database_name, password_in, resolve};
use super::principals::Identities;
use super::validate::ValidPipeline;
use super::*;
use crate::build::Availability;
use crate::build::secret;
use crate::controller::clusters::Connection;
use crate::controller::endpoint::endpoint;
use crate::controller::secrets::Contents;
use crate::controller::strimzi::Strimzi;
use crate::crd::OrderPipelineSpec;

const MINIMAL: &str = "
kafka: {bootstrap: {servers: 'kafka:9092'}}
database: {secretRef: {name: postgres-admin}}
services: {order: {}, inventory: {}, notification: {}}
";

fn id(namespace: &str, name: &str) -> PipelineId {
    PipelineId { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// The minimal spec with `change` laid over it.
fn spec(change: &str) -> OrderPipelineSpec {
    let mut spec: serde_json::Value = serde_saphyr::from_str(MINIMAL).unwrap();
    let change: serde_json::Value = serde_saphyr::from_str(change).unwrap();
    lay_over(&mut spec, change);
    serde_json::from_value(spec).unwrap()
}

fn lay_over(below: &mut serde_json::Value, above: serde_json::Value) {
    match (below, above) {
        (serde_json::Value::Object(below), serde_json::Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

fn valid(change: &str) -> ValidPipeline {
    validate(id("shop", "shop"), &spec(change), "orders:test").unwrap()
}

fn secret(data: &[(&str, &str)]) -> Arc<Contents> {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    Arc::new(Secret { data: Some(data.collect()), ..Secret::default() }.into())
}

fn secrets(url: &str) -> Secrets {
    Secrets::from([("postgres-admin".to_owned(), secret(&[("url", url)]))])
}

/// A Kafka that asks nobody who they are.
fn plain() -> Connection {
    connection(MINIMAL, Security::Plaintext)
}

/// What the Secrets that `kafka` of a spec names would lead to.
fn connection(spec_: &str, security: Security) -> Connection {
    let endpoint = endpoint(&Strimzi::default(), "shop", &spec(spec_).kafka).unwrap();
    Connection { endpoint, options: ConnectOptions { security, ..ConnectOptions::plaintext("kafka:9092") } }
}

fn passwords() -> BTreeMap<Service, SecretString> {
    let owners = Service::ALL.iter().filter(|service| service.spec().has_database);
    owners.map(|service| (*service, SecretString::from("s3cret"))).collect()
}

#[rstest]
#[case::unknown_service(
    "services: {paymet: {}}",
    "spec.services.paymet is no service of this release; there are order, inventory, payment, shipping, notification, order-analytics"
)]
#[case::nothing_enabled(
    "services: {order: {enabled: false}, inventory: {enabled: false}, notification: {enabled: false}}",
    "spec.services enables no service; enable at least one"
)]
#[case::unknown_setting(
    "services: {order: {config: {catalog: x}}}",
    "spec.services.order.config.catalog is no setting of this service; there are logLevel, catalogue"
)]
#[case::setting_of_another(
    "services: {order: {config: {smtpUrl: 'smtp://mail:25'}}}",
    "spec.services.order.config.smtpUrl is no setting of this service; there are logLevel, catalogue"
)]
#[case::stock(
    "services: {inventory: {config: {initialStock: burger}}}",
    "spec.services.inventory.config.initialStock must be products and units such as burger=100,pizza=50"
)]
#[case::disabled_is_checked_too(
    "services: {notification: {enabled: false, config: {smtpUrl: mail}}}",
    "spec.services.notification.config.smtpUrl must be a URL such as smtp://mail.example:587"
)]
#[case::our_variable(
    "services: {order: {env: [{name: DATABASE_URL, value: x}]}}",
    "spec.services.order.env[DATABASE_URL] is set by the operator; remove it"
)]
#[case::more_in_sync_than_there_are(
    "topics: {replicas: 1, overrides: {orders.created: {config: {min.insync.replicas: '2'}}}}",
    "spec.topics.overrides[orders.created].config[min.insync.replicas] is 2, and the topic has 1 replicas, so that nothing could be written; lower the first or raise the second"
)]
#[case::variable_twice(
    "services: {order: {env: [{name: A, value: x}, {name: A, value: z}]}}",
    "spec.services.order.env[A] is there twice; remove one"
)]
#[case::variable_and_config(
    "services: {order: {config: {logLevel: debug}, env: [{name: LOG_LEVEL, value: info}]}}",
    "spec.services.order.env[LOG_LEVEL] is set by config already; remove one of the two"
)]
#[case::partitions_of_a_changelog(
    "topics: {overrides: {order-analytics.changelog: {partitions: 6}}}",
    "spec.topics.overrides[order-analytics.changelog].partitions cannot be set; the topic has as many as orders.confirmed, so set them there"
)]
#[case::unknown_step(
    "saga: {steps: [packing]}",
    "spec.saga.steps has the step packing, which no service performs; there are inventory, payment, shipping"
)]
#[case::steps_out_of_order(
    "{services: {order: {}, inventory: {}, payment: {}}, saga: {steps: [payment, inventory]}}",
    "spec.saga.steps are not in the order inventory, payment, shipping"
)]
#[case::step_twice(
    "saga: {steps: [inventory, inventory]}",
    "spec.saga.steps names inventory twice; name it once"
)]
#[case::step_without_service(
    "services: {inventory: {enabled: false}}",
    "spec.saga.steps has the step inventory, but the service that performs it does not run; enable services.inventory or remove the step"
)]
#[case::cpu_that_nobody_requests(
    "services: {order: {autoscaling: {maxReplicas: 3, targetLag: 100}, resources: {requests: {memory: 64Mi}}}}",
    "spec.services.order.autoscaling.targetLag needs resources.requests.cpu, because KEDA scales by CPU as well"
)]
#[case::apart_from_nothing(
    "services: {notification: {containers: Apart}}",
    "spec.services.notification.containers is Apart, but the service has no API to be apart from; remove it"
)]
#[case::step_timeout(
    "saga: {stepTimeout: soon}",
    "spec.saga.stepTimeout is \"soon\"; write a duration such as 30s, 12h or 7d, of a thousand years at most"
)]
#[case::notification_timeout(
    "saga: {notificationTimeout: 0s}",
    "spec.saga.notificationTimeout is \"0s\"; write a duration such as 30s, 12h or 7d, of a thousand years at most"
)]
#[case::retention(
    "topics: {retention: forever}",
    "spec.topics.retention is \"forever\"; write a duration such as 30s, 12h or 7d, of a thousand years at most"
)]
#[case::retention_of_one(
    "topics: {overrides: {orders.created: {retention: x}}}",
    "spec.topics.overrides[orders.created].retention is \"x\"; write a duration such as 30s, 12h or 7d, of a thousand years at most"
)]
#[case::retention_by_config(
    "topics: {overrides: {orders.created: {config: {retention.ms: '1'}}}}",
    "spec.topics.overrides[orders.created].config[retention.ms] cannot be set; set `retention` of this topic"
)]
#[case::cleanup_policy(
    "topics: {overrides: {orders.created: {config: {cleanup.policy: compact}}}}",
    "spec.topics.overrides[orders.created].config[cleanup.policy] cannot be set; remove it: the services rely on the catalogue's policy"
)]
#[case::no_credentials(
    "kafka: {bootstrap: {security: {protocol: SASL_SSL}}}",
    "spec.kafka.bootstrap.security.credentials is missing, and SASL_SSL needs it; name a Secret with user name and password"
)]
#[case::managed_without_scram(
    "access: {mode: Managed}",
    "spec.access.mode is Managed, which needs a Kafka that services log in to with SASL and SCRAM; set it to Shared"
)]
#[case::avro_without_registry(
    "events: {format: Avro}",
    "spec.events.schemaRegistry is missing, and Avro needs it; name the registry's URL"
)]
#[case::the_registrys_variable(
    "services: {order: {env: [{name: SCHEMA_REGISTRY_URL, value: x}]}}",
    "spec.services.order.env[SCHEMA_REGISTRY_URL] is set by the operator; remove it"
)]
fn an_invalid_spec_is_told_which_field_and_what_to_do(#[case] change: &str, #[case] told: &str) {
    let problems = validate(id("shop", "shop"), &spec(change), "orders:test").unwrap_err();

    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
}

#[test]
fn an_unknown_topic_is_answered_with_those_that_exist() {
    let problems =
        validate(id("shop", "shop"), &spec("topics: {overrides: {orders.made: {}}}"), "x").unwrap_err();

    assert_eq!(problems[0].field, "topics.overrides[orders.made]");
    assert!(Topic::ALL.iter().all(|topic| problems[0].message.contains(topic.name())));
}

#[test]
fn all_problems_are_told_at_once() {
    let change = "{saga: {steps: [packing], stepTimeout: soon}, topics: {retention: forever}}";

    let problems = validate(id("shop", "shop"), &spec(change), "x").unwrap_err();

    let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["topics.retention", "saga.steps", "saga.stepTimeout"]);
}

#[rstest]
#[case("{profile: Dev}", 1)]
#[case("{profile: Staging}", 2)]
#[case("{}", 2)]
#[case("{profile: Dev, topics: {replicas: 3}}", 3)]
fn topics_have_the_copies_of_their_profile(#[case] change: &str, #[case] replicas: i32) {
    assert!(valid(change).topics.iter().all(|topic| topic.replicas == replicas));
}

#[test]
fn a_subset_has_the_topics_that_its_services_read_or_write() {
    let pipeline = valid("services: {notification: {enabled: false}}");

    let topics: Vec<&str> = pipeline.topics.iter().map(|wanted| wanted.topic.name()).collect();
    assert!(topics.contains(&"notifications.sent"), "order reads it");
    assert!(!topics.contains(&"notification.dlt"));
    assert_eq!(topics.len(), 11);
}

#[test]
fn a_service_gets_the_admin_s_server_with_its_own_role_and_database() {
    let url = "postgres://admin:hunter2@db.example:5433/postgres?sslmode=require";

    let access = resolve(&valid("{}"), plain(), &secrets(url), &passwords(), &Identities::new()).unwrap();

    assert_eq!(
        access.services[&Service::Order].database_url.as_ref().unwrap().expose_secret(),
        "postgres://shop_shop_order:s3cret@db.example:5433/shop_shop_order?sslmode=require"
    );
}

#[test]
fn a_password_is_found_again_in_the_secret_that_was_made_from_it() {
    let pipeline = valid("{}");
    let access =
        resolve(&pipeline, plain(), &secrets("postgres://a:b@db/postgres"), &passwords(), &Identities::new())
            .unwrap();

    let made = &plan(&pipeline, &access, Availability::Absent).secrets[0];

    assert_eq!(password_in(made).unwrap().expose_secret(), "s3cret");
    assert!(made.data.as_ref().unwrap().contains_key(secret::DATABASE_URL));
}

#[rstest]
#[case::missing(
    Secrets::new(),
    "Secret postgres-admin, which spec.database.secretRef names, does not exist; create it"
)]
#[case::key(
    Secrets::from([("postgres-admin".to_owned(), secret(&[("uri", "x")]))]),
    "Secret postgres-admin, which spec.database.secretRef names, has no key url; add it"
)]
#[case::malformed(
    secrets("mysql://root:hunter2@db/mysql"),
    "key url of Secret postgres-admin, which spec.database.secretRef names, is not a URL such as \
     postgres://user:password@host:5432/postgres; correct it"
)]
fn a_secret_of_no_use_is_named_and_not_shown(#[case] secrets: Secrets, #[case] told: &str) {
    let unusable: Unusable =
        resolve(&valid("{}"), plain(), &secrets, &passwords(), &Identities::new()).unwrap_err();

    assert_eq!(unusable.to_string(), told);
}

#[test]
fn databases_of_different_pipelines_never_meet() {
    let plain = database_name(&id("shop", "main"), Service::Order);
    let left = database_name(&id("a-b", "c"), Service::Order);
    let right = database_name(&id("a", "b-c"), Service::Order);
    let long = database_name(&id(&"n".repeat(63), &"p".repeat(40)), Service::Notification);

    assert_eq!(plain, "shop_main_order");
    assert_ne!(left, right);
    assert!(left.starts_with("a_b_c_order_"), "{left}");
    assert_eq!(long.len(), 63);
}

#[test]
fn dead_letters_are_kept_for_two_weeks_however_old_their_events() {
    let pipeline = valid(
        "topics: {retention: 7d, overrides: {orders.created: {retention: 30d}, order.dlt: {retention: 1d}}}",
    );

    let days = |topic| {
        let wanted = pipeline.topics.iter().find(|wanted| wanted.topic == topic).unwrap();
        wanted.retention.as_secs() / (24 * 60 * 60)
    };

    assert_eq!((days(Topic::OrdersCreated), days(Topic::OrdersConfirmed)), (30, 7));
    assert_eq!((days(Topic::InventoryDlt), days(Topic::OrderDlt)), (44, 1));
}

#[rstest]
#[case::its_own_config("services: {inventory: {config: {initialStock: pizza=1}}}", &[Service::Inventory])]
#[case::the_saga("saga: {stepTimeout: 5s}", &[Service::Order])]
#[case::the_broker("kafka: {bootstrap: {servers: 'other:9092'}}", &[Service::Order, Service::Inventory, Service::Notification])]
#[case::the_format("events: {format: Avro, schemaRegistry: {url: 'http://registry'}}", &[Service::Order, Service::Inventory, Service::Notification])]
#[case::the_compatibility("events: {compatibility: Full}", &[Service::Order, Service::Inventory, Service::Notification])]
#[case::the_containers("services: {order: {containers: Apart}}", &[Service::Order])]
#[case::scaling("services: {order: {replicas: 9}}", &[])]
fn only_pods_roll_whose_configuration_changed(#[case] change: &str, #[case] rolled: &[Service]) {
    let templates = |change: &str| {
        let pipeline = valid(change);
        let access = resolve(
            &pipeline,
            connection(change, Security::Plaintext),
            &secrets("postgres://a:b@db/postgres"),
            &passwords(),
            &Identities::new(),
        )
        .unwrap();
        let workloads = plan(&pipeline, &access, Availability::Absent).workloads;
        workloads.into_iter().map(|objects| (objects.service, objects.deployment.spec.unwrap().template))
    };

    let changed = templates("{}").zip(templates(change)).filter(|(before, after)| before != after);

    assert_eq!(changed.map(|(before, _)| before.0).collect::<Vec<_>>(), rolled);
}

#[test]
fn the_database_job_is_another_one_exactly_when_its_inputs_are() {
    let name = |change: &str, url: &str| {
        let pipeline = valid(change);
        let access = resolve(&pipeline, plain(), &secrets(url), &passwords(), &Identities::new()).unwrap();
        plan(&pipeline, &access, Availability::Absent).job.unwrap().metadata.name.unwrap()
    };
    let first = name("{}", "postgres://a:b@db/postgres");

    assert_eq!(name("services: {order: {replicas: 9}}", "postgres://a:b@db/postgres"), first);
    assert_ne!(name("{}", "postgres://a:c@db/postgres"), first);
    assert_ne!(name("image: other", "postgres://a:b@db/postgres"), first);
}

#[test]
fn a_service_without_a_database_is_given_none_and_needs_no_job() {
    let others = "order: {enabled: false}, inventory: {enabled: false}, notification: {enabled: false}";
    let pipeline = valid(&format!("services: {{order-analytics: {{}}, {others}}}"));
    let access =
        resolve(&pipeline, plain(), &secrets("postgres://a:b@db/postgres"), &passwords(), &Identities::new())
            .unwrap();

    let plan = plan(&pipeline, &access, Availability::Absent);

    assert!(plan.job.is_none());
    assert!(!plan.secrets[0].data.as_ref().unwrap().contains_key(secret::DATABASE_URL));
    let container = &plan.workloads[0].deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let variables = container.containers[0].env.iter().flatten();
    assert!(variables.map(|variable| variable.name.as_str()).all(|name| name != secret::DATABASE_URL));
}

#[test]
fn a_changelog_has_as_many_partitions_as_its_input() {
    let pipeline =
        valid("{services: {order-analytics: {}}, topics: {overrides: {orders.confirmed: {partitions: 12}}}}");

    let partitions = |topic| pipeline.topics.iter().find(|wanted| wanted.topic == topic).unwrap().partitions;

    assert_eq!(partitions(Topic::OrdersConfirmed), 12);
    assert_eq!(partitions(Topic::OrderAnalyticsChangelog), 12);
    assert_eq!(partitions(Topic::AnalyticsSales), 3);
}
