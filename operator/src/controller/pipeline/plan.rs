//! The objects that a pipeline should have: the list of what we own. No I/O.

use std::collections::BTreeMap;

use contract::Service;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self, ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::access::PipelineAccess;
use super::fetch::Running;
use super::validate::{ValidPipeline, ValidService};
use crate::build::Availability;
use crate::build::autoscaler::Autoscaler;
use crate::build::route::{self, Route};
use crate::build::secret::{
    DATABASE_CA, ISSUER_CA, KAFKA_CA, KAFKA_CERTIFICATE, KAFKA_CERTIFICATE_KEY, REGISTRY_CA,
};
use crate::build::workload::{
    ADMIN_PORT, Access, DATABASE_CA_FILE, HTTP_PORT, KAFKA_DIR, Reading, TRUST_DIR, Workload,
};
use crate::build::{
    autoscaler, config_map, database_job, deployment, disruption_budget, network_policy, secret, service,
    service_account, topic,
};
use crate::controller::endpoint::Endpoint;
use crate::crd::KafkaTopic;
use crate::crd::events::{Compatibility, Format};
use crate::crd::order_pipeline::JwtSpec;

/// What a pipeline should have.
pub struct Plan {
    /// What services need before they start, in this order: topics and Secrets.
    pub topics: Vec<KafkaTopic>,
    /// One per service.
    pub secrets: Vec<Secret>,
    /// Prepares the databases, where any service has one.
    pub job: Option<Job>,
    /// What runs the services.
    pub workloads: Vec<ServiceObjects>,
}

/// The objects that run one service.
pub struct ServiceObjects {
    /// Which one.
    pub service: Service,
    /// Its identity.
    pub service_account: ServiceAccount,
    /// Its settings.
    pub config_map: ConfigMap,
    /// Its pods.
    pub deployment: Deployment,
    /// Its address, where it has an API.
    pub address: Option<v1::Service>,
    /// How its API is reached from outside the cluster, where it is.
    pub route: Option<Route>,
    /// Which of its ports can be reached.
    pub network_policy: NetworkPolicy,
    /// How many of its pods may be away at once.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// What decides how many pods there are, where the pipeline does not.
    pub autoscaler: Option<Autoscaler>,
}

/// What `pipeline` should have. `access` holds an entry for each of its services.
#[must_use]
pub fn plan(pipeline: &ValidPipeline, access: &PipelineAccess, keda: Availability) -> Plan {
    let id = &pipeline.id;
    let workloads: Vec<Workload> = pipeline
        .services
        .iter()
        .filter_map(|valid| {
            Some(workload(pipeline, valid, &access.kafka, access.services.get(&valid.service)?))
        })
        .collect();
    let topics = pipeline.topics.iter().map(|wanted| topic::build(id, &pipeline.topic_defaults, wanted));
    Plan {
        topics: topics.collect(),
        secrets: workloads.iter().map(|workload| secret::build(id, workload)).collect(),
        job: database_job::maybe_build(id, &access.admin, &workloads),
        workloads: workloads
            .iter()
            .map(|workload| ServiceObjects {
                service: workload.service,
                service_account: service_account::build(id, workload),
                config_map: config_map::build(id, workload),
                deployment: deployment::build(id, workload),
                address: service::maybe_build(id, workload),
                route: route::maybe_build(id, workload),
                network_policy: network_policy::build(id, workload),
                disruption_budget: disruption_budget::maybe_build(id, workload),
                autoscaler: autoscaler::maybe_build(id, workload, keda),
            })
            .collect(),
    }
}

impl Plan {
    /// The services whose objects are applied now.
    ///
    /// A service is first started when its topics and its database are there. Once it runs it is never held
    /// back: while a broker is away, an image can still be replaced and a service scaled.
    #[must_use]
    pub(super) fn startable(
        &self,
        ready: Foundations,
        running: &BTreeMap<String, Running>,
    ) -> Vec<&ServiceObjects> {
        let may_start = |objects: &&ServiceObjects| match ready {
            Foundations::Ready => true,
            Foundations::Pending => {
                objects.deployment.metadata.name.as_ref().is_some_and(|name| running.contains_key(name))
            }
        };
        self.workloads.iter().filter(may_start).collect()
    }
}

/// Whether what services need before they start is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foundations {
    /// Topics are ready and databases prepared.
    Ready,
    /// Not yet.
    Pending,
}

fn workload(pipeline: &ValidPipeline, valid: &ValidService, kafka: &Endpoint, access: &Access) -> Workload {
    Workload {
        service: valid.service,
        image: pipeline.image.clone(),
        replicas: valid.replicas,
        autoscaling: valid.autoscaling,
        reading: reading(pipeline, kafka, valid.service),
        containers: valid.containers,
        resources: valid.resources.clone(),
        exposure: pipeline.gateway.exposure_of(valid.service).cloned(),
        settings: settings(pipeline, valid, kafka, access),
        extra_env: valid.env.clone(),
        access: access.clone(),
    }
}

fn reading(pipeline: &ValidPipeline, kafka: &Endpoint, service: Service) -> Reading {
    let prefix = pipeline.topic_defaults.prefix.clone();
    Reading {
        servers: kafka.servers.clone(),
        protocol: kafka.protocol,
        mechanism: kafka.mechanism,
        group: service.consumer_group(&prefix),
        prefix,
        topics: service.subscriptions(&pipeline.saga.steps),
    }
}

/// The environment of a service, as far as it is no secret.
fn settings(
    pipeline: &ValidPipeline,
    valid: &ValidService,
    kafka: &Endpoint,
    access: &Access,
) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::from([
        ("ADMIN_ADDR", format!("0.0.0.0:{ADMIN_PORT}")),
        ("HTTP_ADDR", format!("0.0.0.0:{HTTP_PORT}")),
        ("LOG_LEVEL", "info".to_owned()),
        ("PIPELINE", pipeline.id.name.clone()),
        ("TOPIC_PREFIX", pipeline.topic_defaults.prefix.clone()),
    ]);
    settings.extend(kafka_settings(kafka, access));
    if access.database_ca.is_some() {
        settings.insert(DATABASE_CA_FILE, format!("{TRUST_DIR}/{DATABASE_CA}"));
    }
    settings.extend(events_settings(pipeline, access));
    // Those without an API have nobody to ask for a token.
    if let Some(jwt) = pipeline.gateway.jwt.as_ref().filter(|_| valid.service.spec().has_api()) {
        settings.extend(jwt_settings(jwt, access));
    }
    // Only those that the saga concerns: the others would roll for nothing when it changes.
    let saga = &pipeline.saga;
    if valid.service == Service::Order || valid.service.spec().saga_step.is_some() {
        let steps: Vec<String> = saga.steps.iter().map(ToString::to_string).collect();
        settings.insert("SAGA_STEPS", steps.join(","));
    }
    if valid.service == Service::Order {
        settings.extend([
            ("SAGA_DELIVERY_TIMEOUT", format!("{}s", saga.delivery_timeout.as_secs())),
            ("SAGA_STEP_TIMEOUT", format!("{}s", saga.step_timeout.as_secs())),
            ("SAGA_NOTIFICATION_TIMEOUT", format!("{}s", saga.notification_timeout.as_secs())),
        ]);
    }
    settings.extend(valid.config.clone());
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How events are written. Nothing is said of the defaults, so that pipelines without a registry do not know of one.
fn events_settings(pipeline: &ValidPipeline, access: &Access) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::new();
    if let Some(registry) = &pipeline.events.schema_registry {
        settings.insert("SCHEMA_REGISTRY_URL", registry.url.clone());
    }
    if pipeline.events.compatibility != Compatibility::default() {
        settings
            .insert("SCHEMA_REGISTRY_COMPATIBILITY", <&str>::from(pipeline.events.compatibility).to_owned());
    }
    if access.registry_ca.is_some() {
        settings.insert("SCHEMA_REGISTRY_CA_FILE", format!("{TRUST_DIR}/{REGISTRY_CA}"));
    }
    if pipeline.events.format == Format::Avro {
        settings.insert("EVENTS_FORMAT", "avro".to_owned());
    }
    settings
}

/// Whose tokens a service takes.
fn jwt_settings(jwt: &JwtSpec, access: &Access) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::from([("JWT_ISSUER", jwt.issuer.clone())]);
    if !jwt.audiences.is_empty() {
        settings.insert("JWT_AUDIENCES", jwt.audiences.join(","));
    }
    if let Some(url) = &jwt.jwks_url {
        settings.insert("JWT_JWKS_URL", url.clone());
    }
    if access.issuer_ca.is_some() {
        settings.insert("JWT_CA_FILE", format!("{TRUST_DIR}/{ISSUER_CA}"));
    }
    settings
}

/// How a service connects to Kafka.
fn kafka_settings(kafka: &Endpoint, access: &Access) -> BTreeMap<&'static str, String> {
    let file = |key| format!("{KAFKA_DIR}/{key}");
    let mut settings = BTreeMap::from([
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.servers.clone()),
        ("KAFKA_SECURITY_PROTOCOL", kafka.protocol.to_string()),
    ]);
    if kafka.protocol.has_sasl() {
        settings.insert("KAFKA_SASL_MECHANISM", kafka.mechanism.to_string());
    }
    if access.kafka_ca.is_some() {
        settings.insert("KAFKA_CA_FILE", file(KAFKA_CA));
    }
    if access.kafka.certificate.is_some() {
        settings.insert("KAFKA_CLIENT_CERTIFICATE_FILE", file(KAFKA_CERTIFICATE));
        settings.insert("KAFKA_CLIENT_KEY_FILE", file(KAFKA_CERTIFICATE_KEY));
    }
    settings
}
