//! `OrderPipeline`: what a platform team writes to get a running order system. Types, defaults that do not
//! depend on the profile, printer columns and the rules the API server checks; no behaviour.
#![expect(unreachable_pub, reason = "KubeSchema makes the schema from a copy of the type inside a function")]

use std::collections::BTreeMap;

use contract::{Service, Step, Topic};
use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::{Message, Rule};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions;
use super::events::EventsSpec;
use super::kafka_ref::KafkaRef;
use super::kafka_topic::DeletionPolicy;

/// The order services of one shop on one Kafka cluster: their topics, databases and Deployments.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "orderpipeline.dev",
    version = "v1alpha1",
    kind = "OrderPipeline",
    plural = "orderpipelines",
    shortname = "opl",
    category = "orderpipeline",
    namespaced,
    status = "OrderPipelineStatus",
    derive = "PartialEq",
    validation = name_rule(),
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "Whether orders can flow",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why it is ready or not",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(
        name = "Topics",
        type_ = "string",
        description = "Topics that are ready, of those wanted",
        json_path = ".status.summary.topics"
    ),
    printcolumn(
        name = "Services",
        type_ = "string",
        description = "Services that are ready, of those wanted",
        json_path = ".status.summary.services"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct OrderPipelineSpec {
    /// Chooses the defaults of what is left out: Dev is small and keeps one copy of everything, Staging has
    /// the shape of production, Prod has the most replicas and resources.
    #[serde(default)]
    pub profile: Profile,

    /// The Kafka cluster that carries the events.
    pub kafka: KafkaRef,

    /// The pipeline's topics. Which ones there are follows from the services.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self.prefix == oldSelf.prefix")
        .message("topics.prefix cannot be changed: the topics of the old prefix and what is in them would be left behind; create another OrderPipeline"))]
    pub topics: TopicsSpec,

    /// How the events are written: in JSON, unless said otherwise.
    #[serde(default)]
    pub events: EventsSpec,

    /// The PostgreSQL server that holds one database per service.
    pub database: DatabaseSpec,

    /// The services that run, by their name in the roster (order, inventory, notification). A service that is
    /// not listed does not run.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 32))]
    #[x_kube(validation = roster_rule())]
    pub services: BTreeMap<String, ServiceSettings>,

    /// How an order is carried to its end.
    #[serde(default)]
    pub saga: SagaSpec,

    /// The image of the services, in place of the one this operator was released with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// While true, the operator changes nothing that belongs to this pipeline. What runs goes on running.
    #[serde(default)]
    pub suspend: bool,
}

/// Chooses the defaults of what a pipeline leaves out.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// One replica of everything: for a laptop, where losing data costs nothing.
    Dev,
    /// Two replicas of everything.
    Staging,
    /// Three replicas of each service, two of each topic. The default, because whoever forgets the profile
    /// must not lose orders by it.
    #[default]
    Prod,
}

/// The pipeline's topics.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopicsSpec {
    /// Partitions of each topic, that is how many replicas of a service can share its work. Can only grow.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1000))]
    #[x_kube(validation = Rule::new("self >= oldSelf")
        .message("topics.partitions can only grow: Kafka cannot take partitions away"))]
    pub partitions: i32,

    /// Copies of each partition. Default: 1 in Dev, 2 in Staging and Prod. Fixed once a topic exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,

    /// How long events are kept, such as 7d, 12h or 1d12h. Dead letters are kept for 14 days unless
    /// overridden.
    #[serde(default = "default_retention")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub retention: String,

    /// Settings of single topics, by the topic's name without prefix, such as orders.created.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = overrides_rule())]
    pub overrides: BTreeMap<String, TopicOverride>,

    /// Put before the name of every topic and consumer group, such as `staging.`, so that several pipelines
    /// can share a Kafka cluster. Cannot be changed.
    #[serde(default)]
    #[schemars(length(max = 100), regex(pattern = r"^[a-zA-Z0-9._-]*$"))]
    pub prefix: String,

    /// What happens to the topics in Kafka when the pipeline is deleted or no longer needs them.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What one topic has that differs from the others.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopicOverride {
    /// Partitions of this topic. Can only grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: Option<i32>,

    /// Copies of each partition of this topic. Fixed once the topic exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,

    /// How long this topic's records are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub retention: Option<String>,

    /// Kafka settings of this topic, such as `max.message.bytes: "2097152"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub config: BTreeMap<String, String>,
}

/// The PostgreSQL server that holds one database per service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSpec {
    /// The key of a Secret in this namespace that holds a URL such as
    /// `postgres://admin:…@db.example:5432/postgres?sslmode=require` of a role that may create roles and
    /// databases. Only the Job that prepares the databases gets it; each service gets a role of its own.
    pub secret_ref: SecretKeyRef,
}

/// A key of a Secret in the pipeline's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key in the Secret.
    #[serde(default = "default_url_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How one service runs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSettings {
    /// False removes the service from the cluster; its topics and its database keep what is in them.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// Pods of the service. More than the topics have partitions only helps its HTTP API. Default: 1 in Dev,
    /// 2 in Staging, 3 in Prod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,

    /// CPU and memory of each pod. Default: by profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// More environment variables, for what `config` has no key for. Values that are secret are taken from a
    /// Secret with `valueFrom.secretKeyRef`. What the operator sets itself cannot be replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub env: Vec<EnvVar>,

    /// The service's own settings. order: `catalogue` (burger=8.99 USD,…); inventory: `initialStock`
    /// (burger=100,pizza=50); notification: `smtpUrl` (smtp://host:port), `mailFrom`, `smsWebhookUrl`;
    /// order-analytics: `grace` (1h); all: `logLevel`. What is secret belongs into `env`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub config: BTreeMap<String, String>,
}

/// How an order is carried to its end.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SagaSpec {
    /// What must succeed before an order is confirmed: any of inventory, payment and shipping, in this order.
    /// The service behind each step must be enabled.
    #[serde(default = "default_steps")]
    #[schemars(length(min = 1, max = 8), inner(length(max = 32)))]
    #[x_kube(validation = steps_rule())]
    #[x_kube(validation = Rule::new("self.all(step, self.exists_one(other, other == step))")
        .message("saga.steps names a step twice; name each once"))]
    #[x_kube(validation = steps_order_rule())]
    pub steps: Vec<String>,

    /// How long a step may take before the order is cancelled.
    #[serde(default = "default_step_timeout")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub step_timeout: String,

    /// How long a confirmed order waits for its notification before it is completed without. Means nothing
    /// where orders are shipped.
    #[serde(default = "default_notification_timeout")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub notification_timeout: String,

    /// How long a confirmed order waits for its delivery before it is completed without. Means nothing where
    /// nothing is shipped.
    #[serde(default = "default_delivery_timeout")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    pub delivery_timeout: String,
}

/// What the operator knows about a pipeline.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrderPipelineStatus {
    /// Generation of the spec that the rest speaks of; -1 before the first look.
    #[serde(default = "conditions::unobserved")]
    pub observed_generation: i64,

    /// Ready, TopicsReady, DatabaseReady, WorkloadsReady; Reconciling and Stalled only while true.
    #[serde(default)]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// What the columns of `kubectl get` show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<PipelineSummary>,

    /// What is known about the databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseStatus>,
}

/// What the columns of `kubectl get` show.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PipelineSummary {
    /// Topics that are ready, of those wanted: `12/12`.
    pub topics: String,
    /// Services that are ready, of those wanted: `3/3`.
    pub services: String,
}

/// What is known about the databases.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// The Job that prepared the databases last. Its name changes with what it is given, so it says which
    /// databases and passwords are in place after the Job itself is gone.
    pub prepared_by: String,
}

/// One or more numbers with a unit, largest first.
const DURATION: &str = r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

impl Default for TopicsSpec {
    fn default() -> Self {
        Self {
            partitions: default_partitions(),
            replicas: None,
            retention: default_retention(),
            overrides: BTreeMap::new(),
            prefix: String::new(),
            deletion_policy: DeletionPolicy::default(),
        }
    }
}

impl Default for SagaSpec {
    fn default() -> Self {
        Self {
            steps: default_steps(),
            step_timeout: default_step_timeout(),
            notification_timeout: default_notification_timeout(),
            delivery_timeout: default_delivery_timeout(),
        }
    }
}

fn default_partitions() -> i32 {
    3
}

fn default_retention() -> String {
    "7d".to_owned()
}

fn default_url_key() -> String {
    "url".to_owned()
}

fn default_steps() -> Vec<String> {
    vec![Step::Inventory.to_string()]
}

/// Ten times what a step takes on a busy cluster, and short enough for a customer who waits.
fn default_step_timeout() -> String {
    "30s".to_owned()
}

/// A mail server that restarts is back by then.
fn default_notification_timeout() -> String {
    "1m".to_owned()
}

/// By then a parcel has arrived, or is lost and a matter for people.
fn default_delivery_timeout() -> String {
    "30d".to_owned()
}

fn yes() -> bool {
    true
}

/// Objects are named `<pipeline>-<service>`, are label values (63 characters) and Services, whose names must
/// begin with a letter (RFC 1035) up to Kubernetes 1.33.
fn name_rule() -> Rule {
    Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message(
            "metadata.name must be at most 40 lower-case letters, digits and dashes, and begin with a letter",
        )
}

fn roster_rule() -> Rule {
    let names: Vec<&str> = Service::ALL.iter().map(|service| service.name()).collect();
    Rule::new(format!("self.all(name, name in ['{}'])", names.join("', '"))).message(Message::Message(
        format!("services names a service that does not exist; there are: {}", names.join(", ")),
    ))
}

fn steps_rule() -> Rule {
    let names: Vec<String> = Step::ALL.iter().map(ToString::to_string).collect();
    Rule::new(format!("self.all(step, step in ['{}'])", names.join("', '"))).message(Message::Message(
        format!("saga.steps names a step that does not exist; there are: {}", names.join(", ")),
    ))
}

fn steps_order_rule() -> Rule {
    let pairs = Step::ALL.iter().zip(Step::ALL.iter().skip(1)).chain([(&Step::Inventory, &Step::Shipping)]);
    let in_order = |(first, second): (&Step, &Step)| {
        format!("(self.indexOf('{second}') < 0 || self.indexOf('{first}') < self.indexOf('{second}'))")
    };
    let names: Vec<String> = Step::ALL.iter().map(ToString::to_string).collect();
    Rule::new(pairs.map(in_order).collect::<Vec<_>>().join(" && "))
        .message(Message::Message(format!("saga.steps must be in the order {}", names.join(", "))))
}

fn overrides_rule() -> Rule {
    let names: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    Rule::new(format!("self.all(name, name in ['{}'])", names.join("', '"))).message(Message::Message(
        format!("topics.overrides names a topic that does not exist; there are: {}", names.join(", ")),
    ))
}
