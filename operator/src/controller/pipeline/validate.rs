//! Whether a spec makes sense, and what it means once every default is filled in. No I/O.
//!
//! The API server has refused what the schema and its rules can see; here is the rest, and the same again for
//! objects that are older than a rule. All problems are reported at once, each with its field and the remedy.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{Service, Step};
use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements};
use kafka_admin::ScramMechanism;

use super::duration;
use super::gateway::ValidGateway;
use super::{gateway, services, topics};
use crate::build::labels::PipelineId;
use crate::build::topic::{TopicDefaults, WantedTopic};
use crate::build::workload::Autoscaling;
use crate::crd::events::{EventsSpec, Format};
use crate::crd::kafka_ref::{Bootstrap, KafkaRef, Mechanism, Security};
use crate::crd::order_pipeline::{AccessMode, Containers, DatabaseSpec, OrderPipelineSpec};

/// A spec that makes sense, every default filled in.
#[derive(Clone, Debug)]
pub struct ValidPipeline {
    /// Whose objects they are.
    pub id: PipelineId,
    /// What all topics have in common.
    pub topic_defaults: TopicDefaults,
    /// The topics, in the order of the catalogue.
    pub topics: Vec<WantedTopic>,
    /// The services, in the order of the roster; at least one.
    pub services: Vec<ValidService>,
    /// The saga, where the order service runs.
    pub saga: Saga,
    /// How events are written.
    pub events: EventsSpec,
    /// Who may use the APIs, and how they are reached from outside the cluster.
    pub gateway: ValidGateway,
    /// Who makes the services' Kafka users; none where access is not managed.
    pub managed_access: Option<ManagedAccess>,
    /// The PostgreSQL server.
    pub database: DatabaseSpec,
    /// The image of all services.
    pub image: String,
}

/// Who makes the services' Kafka users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagedAccess {
    /// The operator, in Kafka, with passwords for this mechanism.
    Scram(ScramMechanism),
    /// Strimzi, as `KafkaUser`s say.
    Strimzi,
}

/// One service of a [`ValidPipeline`].
#[derive(Clone, Debug)]
pub struct ValidService {
    /// Which one.
    pub service: Service,
    /// Pods, where nobody else decides.
    pub replicas: i32,
    /// How its load decides on the number of pods, where it does.
    pub autoscaling: Option<Autoscaling>,
    /// What the containers of each run.
    pub containers: Containers,
    /// CPU and memory of each container.
    pub resources: ResourceRequirements,
    /// Settings by environment variable.
    pub config: BTreeMap<&'static str, String>,
    /// Variables that the author added; none that is ours.
    pub env: Vec<EnvVar>,
}

/// How an order is carried to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saga {
    /// Its steps.
    pub steps: Vec<Step>,
    /// How long each may take.
    pub step_timeout: Duration,
    /// How long a confirmed order waits for its notification.
    pub notification_timeout: Duration,
    /// How long a confirmed order waits for its delivery.
    pub delivery_timeout: Duration,
}

/// Something in a spec that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, as a path below `spec`.
    pub field: String,
    /// What is wrong with it and what would be right; continues the field's name to a sentence.
    pub message: String,
}

impl Problem {
    /// A problem with `field`.
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "spec.{} {}", self.field, self.message)
    }
}

/// Fills in every default of `spec`; `image` is that of this release.
///
/// # Errors
/// All problems of the spec, in the order of its fields; at least one.
pub fn validate(
    id: PipelineId,
    spec: &OrderPipelineSpec,
    image: &str,
) -> Result<ValidPipeline, Vec<Problem>> {
    let mut problems = Vec::new();
    check_kafka(spec, &mut problems);
    let managed_access = managed_access(spec, &mut problems);
    check_events(&spec.events, &mut problems);
    let services = services::validate(spec, &mut problems);
    let enabled: Vec<Service> = services.iter().map(|service| service.service).collect();
    let topics = topics::validate(spec, &enabled, &mut problems);
    let saga = saga(spec, &enabled, &mut problems);
    let gateway = gateway::validate(spec, &enabled, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(ValidPipeline {
        id,
        topic_defaults: TopicDefaults {
            kafka: spec.kafka.clone(),
            prefix: spec.topics.prefix.clone(),
            deletion_policy: spec.topics.deletion_policy,
            adoption_policy: spec.topics.adoption_policy,
        },
        topics,
        services,
        saga,
        events: spec.events.clone(),
        gateway,
        managed_access,
        database: spec.database.clone(),
        image: spec.image.clone().unwrap_or_else(|| image.to_owned()),
    })
}

fn check_kafka(spec: &OrderPipelineSpec, problems: &mut Vec<Problem>) {
    let KafkaRef::Bootstrap(Bootstrap { security, .. }) = &spec.kafka else { return };
    if security.protocol.has_sasl() && security.credentials.is_none() {
        problems.push(Problem::new(
            "kafka.bootstrap.security.credentials",
            format!(
                "is missing, and {} needs it; name a Secret with user name and password",
                security.protocol
            ),
        ));
    }
}

/// Managed is the default wherever it is possible: whoever says nothing gets the fewest rights.
fn managed_access(spec: &OrderPipelineSpec, problems: &mut Vec<Problem>) -> Option<ManagedAccess> {
    let possible = match &spec.kafka {
        KafkaRef::Strimzi(_) => Some(ManagedAccess::Strimzi),
        KafkaRef::Bootstrap(bootstrap) => scram(&bootstrap.security).map(ManagedAccess::Scram),
    };
    let mut problem = |message| problems.push(Problem::new("access.mode", message));
    match (spec.access.as_ref().and_then(|access| access.mode), possible) {
        (Some(AccessMode::Shared), Some(ManagedAccess::Strimzi)) => {
            problem(
                "is Shared, which is not for kafka.strimzi: each service has a KafkaUser there; leave access out",
            );
            None
        }
        (Some(AccessMode::Managed), None) => {
            problem(
                "is Managed, which needs a Kafka that services log in to with SASL and SCRAM; set it to Shared",
            );
            None
        }
        (Some(AccessMode::Shared), _) => None,
        (Some(AccessMode::Managed) | None, possible) => possible,
    }
}

fn scram(security: &Security) -> Option<ScramMechanism> {
    let mechanism = match security.mechanism {
        Mechanism::ScramSha256 => Some(ScramMechanism::Sha256),
        Mechanism::ScramSha512 => Some(ScramMechanism::Sha512),
        Mechanism::Plain => None,
    };
    mechanism.filter(|_| security.protocol.has_sasl())
}

fn check_events(events: &EventsSpec, problems: &mut Vec<Problem>) {
    if events.format == Format::Avro && events.schema_registry.is_none() {
        problems.push(Problem::new(
            "events.schemaRegistry",
            "is missing, and Avro needs it; name the registry's URL",
        ));
    }
}

fn saga(spec: &OrderPipelineSpec, enabled: &[Service], problems: &mut Vec<Problem>) -> Saga {
    let mut steps = Vec::new();
    for name in &spec.saga.steps {
        match step(name, enabled) {
            Ok(step) if steps.contains(&step) => {
                problems.push(Problem::new("saga.steps", format!("names {name} twice; name it once")));
            }
            Ok(step) if steps.last().is_some_and(|before| *before > step) => {
                let order = names(Step::ALL);
                problems.push(Problem::new("saga.steps", format!("are not in the order {order}")));
            }
            Ok(step) => steps.push(step),
            Err(message) => problems.push(Problem::new("saga.steps", message)),
        }
    }
    Saga {
        steps,
        step_timeout: time("saga.stepTimeout", &spec.saga.step_timeout, problems),
        notification_timeout: time("saga.notificationTimeout", &spec.saga.notification_timeout, problems),
        delivery_timeout: time("saga.deliveryTimeout", &spec.saga.delivery_timeout, problems),
    }
}

/// The step called `name`, if somebody performs it. Where no order service runs, no saga does, and its steps
/// need nobody.
fn step(name: &str, enabled: &[Service]) -> Result<Step, String> {
    let step: Step = name.parse().map_err(|_| {
        format!("has the step {name}, which no service performs; there are {}", names(Step::ALL))
    })?;
    let service = step.service();
    if enabled.contains(&Service::Order) && !enabled.contains(&service) {
        return Err(format!(
            "has the step {name}, but the service that performs it does not run; enable services.{service} or \
             remove the step"
        ));
    }
    Ok(step)
}

fn names(steps: &[Step]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The duration in `field`; a second, and a problem, where it is none.
pub(super) fn time(field: &str, text: &str, problems: &mut Vec<Problem>) -> Duration {
    duration::parse(text).unwrap_or_else(|| {
        problems.push(Problem::new(
            field,
            format!("is {text:?}; write a duration such as 30s, 12h or 7d, of a thousand years at most"),
        ));
        Duration::from_secs(1)
    })
}
