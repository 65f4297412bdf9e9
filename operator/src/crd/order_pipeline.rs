//! `OrderPipeline`: what a platform team writes to get a running order system. Types, defaults that do not
//! depend on the profile, printer columns and the rules the API server checks; no behaviour.
#![expect(unreachable_pub, reason = "KubeSchema makes the schema from a copy of the type inside a function")]

mod access;
mod database;
mod gateway;
mod saga;
mod services;
mod status;
mod topics;

use std::collections::BTreeMap;

use contract::Service;
use kube::core::{Message, Rule};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access::{AccessMode, AccessSpec};
pub use database::{CloudNativePg, DatabaseServer, DatabaseSpec, SecretKeyRef};
pub use gateway::{GatewaySpec, HttpRouteParents, IngressRoute, JwtSpec, ParentRef, RouteSpec};
pub use saga::SagaSpec;
pub use services::{Autoscaling, Containers, ServiceSettings};
pub use status::{AccessStatus, DatabaseStatus, OrderPipelineStatus, PipelineSummary};
pub use topics::{TopicOverride, TopicsSpec};

use super::events::EventsSpec;
use super::kafka_ref::KafkaRef;
use super::reconcile_policy::ReconcilePolicy;

/// The order services of one shop on one Kafka cluster: their topics, databases and Deployments.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "orderpipeline.dev",
    version = "v1alpha1",
    kind = "OrderPipeline",
    plural = "orderpipelines",
    shortname = "opl",
    category = "order-system",
    namespaced,
    doc = "The order services of one shop on one Kafka cluster: their topics, users, databases and Deployments.",
    status = "OrderPipelineStatus",
    derive = "PartialEq",
    validation = name_rule(),
    validation = managed_access_rule(),
    validation = strimzi_access_rule(),
    validation = performed_steps_rule(),
    validation = in_sync_rule(),
    validation = routed_services_rule(),
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

    /// As whom the services speak to Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessSpec>,

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

    /// The services that run, by their name in the roster: order, inventory, payment, shipping, notification,
    /// order-analytics. A service that is not listed does not run.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 32))]
    #[x_kube(validation = roster_rule())]
    #[x_kube(validation = apart_rule())]
    #[x_kube(validation = Rule::new("self.exists(name, self[name].enabled)")
        .message("services enables no service; enable at least one"))]
    pub services: BTreeMap<String, ServiceSettings>,

    /// How an order is carried to its end.
    #[serde(default)]
    pub saga: SagaSpec,

    /// Who may use the services' APIs, and how they are reached from outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewaySpec>,

    /// The image of the services, in place of the one this operator was released with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = IMAGE))]
    pub image: Option<String>,

    /// Whether the operator makes what the spec says, or only compares it with what there is. With `Plan`, the one
    /// thing that it writes is the same into the pipeline's KafkaTopics, whose own `status.plan` tells of the topics
    /// in Kafka: they stay when the pipeline is deleted. The users in Kafka are compared by their names alone; and
    /// they are removed all the same when the pipeline is deleted.
    #[serde(default, skip_serializing_if = "ReconcilePolicy::is_default")]
    pub reconcile_policy: ReconcilePolicy,

    /// While true, the operator changes nothing that belongs to this pipeline, neither in Kubernetes nor in Kafka.
    /// The one thing that it writes is the same into the pipeline's KafkaTopics; so topics stay when the pipeline is
    /// deleted meanwhile. What runs goes on running.
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

/// One or more numbers with a unit, largest first.
const DURATION: &str = r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

/// `[host[:port]/]path[:tag][@digest]`: what a container runtime does not take, no pod would ever start with.
const IMAGE: &str = r"^([a-zA-Z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})?(@[a-z0-9]+:[a-f0-9]{32,})?$";

/// Objects are named `<pipeline>-<service>`, are label values (63 characters) and Services, whose names must
/// begin with a letter (RFC 1035) up to Kubernetes 1.33.
fn name_rule() -> Rule {
    Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message(
            "metadata.name must be at most 40 lower-case letters, digits and dashes, and begin with a letter",
        )
}

/// Each step is performed by the service of its name. Where no order service runs, no saga does.
fn performed_steps_rule() -> Rule {
    Rule::new(
        "!('order' in self.spec.services) || !self.spec.services['order'].enabled || !has(self.spec.saga) || \
         self.spec.saga.steps.all(step, step in self.spec.services && self.spec.services[step].enabled)",
    )
    .message("saga.steps has a step whose service does not run; enable services.<step> or remove the step")
}

/// A route to a service that does not run leads nowhere.
fn routed_services_rule() -> Rule {
    Rule::new(
        "!has(self.spec.gateway) || !has(self.spec.gateway.route) || self.spec.gateway.route.services.all(name, \
         name in self.spec.services && self.spec.services[name].enabled)",
    )
    .message(
        "gateway.route.services names a service that does not run; enable it under services or leave it out of the route",
    )
}

/// With more in-sync replicas demanded than a topic has, nothing could be written to it. Values are any string; what
/// is no number the broker refuses.
fn in_sync_rule() -> Rule {
    Rule::new(
        "!has(self.spec.topics.overrides) || self.spec.topics.overrides.all(name, \
         !has(self.spec.topics.overrides[name].config) || \
         !('min.insync.replicas' in self.spec.topics.overrides[name].config) || \
         !self.spec.topics.overrides[name].config['min.insync.replicas'].matches('^[0-9]{1,9}$') || \
         int(self.spec.topics.overrides[name].config['min.insync.replicas']) <= \
         (has(self.spec.topics.overrides[name].replicas) ? self.spec.topics.overrides[name].replicas \
         : has(self.spec.topics.replicas) ? self.spec.topics.replicas : self.spec.profile == 'Dev' ? 1 : 2))",
    )
    .message(
        "config[min.insync.replicas] of a topic in topics.overrides is more than the topic's replicas, so that nothing \
         could be written; lower the first or raise the second",
    )
}

/// A duration of zero would mean "never" to one reader and "at once" to another.
fn not_zero_rule() -> Rule {
    Rule::new("self.matches('[1-9]')").message("must be a duration such as 30s, 12h or 7d, and not zero")
}

/// Users and passwords can only be created for SCRAM: other mechanisms have theirs elsewhere. Strimzi makes users of
/// its own.
fn managed_access_rule() -> Rule {
    Rule::new(
        "!has(self.spec.access) || !has(self.spec.access.mode) || self.spec.access.mode != 'Managed' || \
         !has(self.spec.kafka.bootstrap) || \
         (has(self.spec.kafka.bootstrap.security) && self.spec.kafka.bootstrap.security.protocol.startsWith('SASL') \
         && self.spec.kafka.bootstrap.security.mechanism.startsWith('SCRAM'))",
    )
    .message("access.mode Managed needs a Kafka that services log in to with SASL and SCRAM")
}

/// The only user that could be shared is the operator's, which may do more than any service.
fn strimzi_access_rule() -> Rule {
    Rule::new(
        "!has(self.spec.access) || !has(self.spec.access.mode) || self.spec.access.mode != 'Shared' || \
         !has(self.spec.kafka.strimzi)",
    )
    .message("access.mode Shared is not for kafka.strimzi, where each service has a KafkaUser of its own; leave access out")
}

/// Without an API there is only one part.
fn apart_rule() -> Rule {
    let with_api = Service::ALL.iter().filter(|service| service.spec().has_api());
    let names: Vec<&str> = with_api.map(|service| service.name()).collect();
    let rule = "self.all(name, !has(self[name].containers) || self[name].containers != 'Apart' || name in";
    Rule::new(format!("{rule} ['{}'])", names.join("', '"))).message(Message::Message(format!(
        "containers may be Apart only where a service has an API; these have: {}",
        names.join(", ")
    )))
}

fn roster_rule() -> Rule {
    let names: Vec<&str> = Service::ALL.iter().map(|service| service.name()).collect();
    Rule::new(format!("self.all(name, name in ['{}'])", names.join("', '"))).message(Message::Message(
        format!("services names a service that does not exist; there are: {}", names.join(", ")),
    ))
}
