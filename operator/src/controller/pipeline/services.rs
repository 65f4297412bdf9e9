//! `spec.services`: which services run, and with what. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use contract::Service;
use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements};

use super::form;
use super::validate::{Problem, ValidService};
use crate::build::secret::{
    DATABASE_URL, KAFKA_PASSWORD, KAFKA_USERNAME, REGISTRY_PASSWORD, REGISTRY_USERNAME,
};
use crate::build::workload::{
    Autoscaling, DATABASE_CA_FILE, default_replicas, default_resources, settings_of,
};
use crate::crd::order_pipeline::{Containers, OrderPipelineSpec, ServiceSettings};

/// The services that are enabled, in the order of the roster. Those that are not are checked as well: whoever
/// enables one shall not find it broken.
pub(super) fn validate(spec: &OrderPipelineSpec, problems: &mut Vec<Problem>) -> Vec<ValidService> {
    check_names(spec, problems);
    let mut enabled = Vec::new();
    for service in Service::ALL {
        let Some(settings) = spec.services.get(service.name()) else { continue };
        let config = config(*service, settings, problems);
        check_env(*service, settings, &config, problems);
        check_containers(*service, settings, problems);
        let replicas = default_replicas(spec.profile);
        let autoscaling = autoscaling(*service, settings, replicas, problems);
        if settings.enabled {
            enabled.push(ValidService {
                service: *service,
                replicas: settings.replicas.unwrap_or(replicas),
                autoscaling,
                containers: settings.containers,
                resources: settings.resources.clone().unwrap_or_else(|| default_resources(spec.profile)),
                config,
                env: settings.env.clone(),
            });
        }
    }
    if enabled.is_empty() {
        problems.push(Problem::new("services", "enables no service; enable at least one"));
    }
    enabled
}

fn autoscaling(
    service: Service,
    settings: &ServiceSettings,
    replicas: i32,
    problems: &mut Vec<Problem>,
) -> Option<Autoscaling> {
    let asked = settings.autoscaling.as_ref()?;
    let mut problem = |field: &str, message: &str| {
        problems.push(Problem::new(format!("services.{service}.{field}"), message));
    };
    if settings.replicas.is_some() {
        problem("replicas", "excludes autoscaling; name one of them");
    }
    if asked.min_replicas.is_some_and(|least| least > asked.max_replicas) {
        problem("autoscaling.minReplicas", "is more than maxReplicas; lower it");
    }
    if asked.target_lag.is_some() && settings.resources.as_ref().is_some_and(|own| !names_cpu(own)) {
        problem("autoscaling.targetLag", "needs resources.requests.cpu, because KEDA scales by CPU as well");
    }
    Some(Autoscaling {
        min_replicas: asked.min_replicas.unwrap_or_else(|| replicas.min(asked.max_replicas)),
        max_replicas: asked.max_replicas,
        target_cpu: asked.target_cpu,
        target_lag: asked.target_lag,
    })
}

/// Whether a share of CPU is a share of something. A limit is a request where nothing else is said.
fn names_cpu(resources: &ResourceRequirements) -> bool {
    [&resources.requests, &resources.limits].into_iter().flatten().any(|some| some.contains_key("cpu"))
}

fn check_containers(service: Service, settings: &ServiceSettings, problems: &mut Vec<Problem>) {
    if settings.containers == Containers::Apart && !service.spec().has_api() {
        problems.push(Problem::new(
            format!("services.{service}.containers"),
            "is Apart, but the service has no API to be apart from; remove it",
        ));
    }
}

fn check_names(spec: &OrderPipelineSpec, problems: &mut Vec<Problem>) {
    for name in spec.services.keys().filter(|name| name.parse::<Service>().is_err()) {
        let names: Vec<&str> = Service::ALL.iter().map(|service| service.name()).collect();
        let known = names.join(", ");
        problems.push(Problem::new(
            format!("services.{name}"),
            format!("is no service of this release; there are {known}"),
        ));
    }
}

/// The settings by the variable that each becomes.
fn config(
    service: Service,
    settings: &ServiceSettings,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'static str, String> {
    let known = settings_of(service);
    let mut config = BTreeMap::new();
    for (key, value) in &settings.config {
        let field = format!("services.{service}.config.{key}");
        match known.iter().find(|setting| setting.key == key) {
            None => {
                let keys: Vec<&str> = known.iter().map(|setting| setting.key).collect();
                let keys = keys.join(", ");
                problems
                    .push(Problem::new(field, format!("is no setting of this service; there are {keys}")));
            }
            Some(setting) => {
                if let Err(message) = form::check(setting.form, value) {
                    problems.push(Problem::new(field, message));
                }
                config.insert(setting.variable, value.clone());
            }
        }
    }
    config
}

/// Variables that the operator sets for every service; what each means stands in the services' own help.
const OURS: [&str; 30] = [
    "ADMIN_ADDR",
    "ADMIN_DATABASE_URL",
    DATABASE_CA_FILE,
    DATABASE_URL,
    "EVENTS_FORMAT",
    "HTTP_ADDR",
    "JWT_AUDIENCES",
    "JWT_CA_FILE",
    "JWT_ISSUER",
    "JWT_JWKS_URL",
    "KAFKA_BOOTSTRAP_SERVERS",
    "KAFKA_CA_FILE",
    "KAFKA_CLIENT_CERTIFICATE_FILE",
    "KAFKA_CLIENT_KEY_FILE",
    KAFKA_PASSWORD,
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SECURITY_PROTOCOL",
    KAFKA_USERNAME,
    "PARTS",
    "PIPELINE",
    "SAGA_DELIVERY_TIMEOUT",
    "SAGA_NOTIFICATION_TIMEOUT",
    "SAGA_STEPS",
    "SAGA_STEP_TIMEOUT",
    "SCHEMA_REGISTRY_CA_FILE",
    "SCHEMA_REGISTRY_COMPATIBILITY",
    REGISTRY_PASSWORD,
    "SCHEMA_REGISTRY_URL",
    REGISTRY_USERNAME,
    "TOPIC_PREFIX",
];

fn check_env(
    service: Service,
    settings: &ServiceSettings,
    config: &BTreeMap<&'static str, String>,
    problems: &mut Vec<Problem>,
) {
    let mut seen = BTreeSet::new();
    for EnvVar { name, .. } in &settings.env {
        let remedy = if OURS.contains(&name.as_str()) {
            "is set by the operator; remove it"
        } else if config.contains_key(name.as_str()) {
            "is set by config already; remove one of the two"
        } else if !seen.insert(name) {
            "is there twice; remove one"
        } else {
            continue;
        };
        problems.push(Problem::new(format!("services.{service}.env[{name}]"), remedy));
    }
}
