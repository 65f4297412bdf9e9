//! `spec.services.<name>`: how one service runs.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements};
use kube::KubeSchema;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one service runs.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.replicas) || !has(self.autoscaling)")
        .message("replicas and autoscaling exclude each other: name one of them"),
    validation = requested_cpu_rule()
)]
pub struct ServiceSettings {
    /// False removes the service from the cluster; its topics and its database keep what is in them.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// Pods of the service. More than the topics have partitions only helps its HTTP API. Default: 1 in Dev,
    /// 2 in Staging, 3 in Prod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,

    /// Lets the load decide how many pods there are, in place of `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,

    /// Whether each pod runs the service in one container, or its API in one and all that happens to events in another:
    /// then neither stops the other when it fails or needs too much memory. Only for services with an API.
    #[serde(default, skip_serializing_if = "Containers::is_default")]
    pub containers: Containers,

    /// CPU and memory of each pod; where its containers are Apart, of each of the two. Default: by profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// More environment variables, for what `config` has no key for. Values that are secret are taken from a
    /// Secret with `valueFrom.secretKeyRef`. What the operator sets itself cannot be replaced. Each name once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    // As in a pod: a list by name, in which the API server has no name twice.
    #[schemars(length(max = 64), extend(
        "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub env: Vec<EnvVar>,

    /// The service's own settings. order: `catalogue` (burger=8.99 USD,…); inventory: `initialStock`
    /// (burger=100,pizza=50), `reservationTtl` (15m), `backorderTimeout` (2h; without it nothing waits for stock);
    /// payment: `budget` (20s), `simulator`; shipping: `budget`, `transit`, `simulator`; notification: `smtpUrl`
    /// (smtp://host:port), `mailFrom`; order-analytics: `grace` (1h); all: `logLevel`. What is secret belongs into
    /// `env`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub config: BTreeMap<String, String>,
}

/// What the containers of a pod run.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Containers {
    /// One runs the whole service.
    #[default]
    Together,
    /// `api` answers requests, `events` does all else. Metrics and probes of `events` are on port 9091.
    Apart,
}

impl Containers {
    /// Whether this is what is meant where nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How many pods a service has, decided by its load.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas")
        .message("autoscaling.minReplicas must not be more than maxReplicas")
)]
pub struct Autoscaling {
    /// Fewest pods. Default: 1 in Dev, 2 in Staging, 3 in Prod, and never more than maxReplicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: Option<i32>,

    /// Most pods. More than the topics have partitions only helps the service's HTTP API.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,

    /// The CPU that pods should use on average, in percent of what they request.
    #[serde(default = "default_target_cpu", rename = "targetCPU")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu: i32,

    /// How many events each pod may be behind, on average: those in all topics that the service reads and its consumer
    /// group has not handled yet, divided by its pods. With it KEDA (2.12 or later) scales the service, by lag and by
    /// CPU, whichever asks for more pods; by lag never to more than there are partitions. Where KEDA is not installed
    /// the service is scaled by CPU alone, and the message of the condition Ready says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub target_lag: Option<i64>,
}

/// KEDA refuses to scale by CPU what requests none.
fn requested_cpu_rule() -> Rule {
    Rule::new(
        "!has(self.autoscaling) || !has(self.autoscaling.targetLag) || !has(self.resources) || \
         (has(self.resources.requests) && 'cpu' in self.resources.requests) || \
         (has(self.resources.limits) && 'cpu' in self.resources.limits)",
    )
    .message("autoscaling.targetLag needs resources.requests.cpu: KEDA scales by CPU as well")
}

/// Room for a pod to take over the partitions of another while a third one starts.
fn default_target_cpu() -> i32 {
    70
}

fn yes() -> bool {
    true
}
