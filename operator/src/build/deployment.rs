//! The Deployment of a service.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapEnvSource, Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource,
    HTTPGetAction, KeyToPath, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile,
    SecretKeySelector, SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{Component, PipelineId};
use super::process::{Port, Process, processes};
use super::secret::{
    DATABASE_CA, DATABASE_URL, ISSUER_CA, KAFKA_CA, KAFKA_CERTIFICATE, KAFKA_CERTIFICATE_KEY, KAFKA_PASSWORD,
    KAFKA_USERNAME, REGISTRY_CA, REGISTRY_PASSWORD, REGISTRY_USERNAME,
};
use super::workload::{KAFKA_DIR, TRUST_DIR, Workload};

/// Annotation on pods: the digest of what they read at their start.
pub const CONFIG_HASH: &str = "orderpipeline.dev/config-hash";
/// The unprivileged user of the image.
const USER: i64 = 65_532;
/// The services drain for at most 22 s (2 s until Services notice, 20 s for batches and the outbox); the rest
/// is for a busy node.
const GRACE_SECONDS: i64 = 40;

/// The Deployment of `workload`.
#[must_use]
pub fn build(id: &PipelineId, workload: &Workload) -> Deployment {
    let component = Component::Service(workload.service);
    let selector = LabelSelector { match_labels: Some(id.selector(component)), ..LabelSelector::default() };
    Deployment {
        metadata: id.metadata(id.object_name(workload.service), component),
        spec: Some(DeploymentSpec {
            replicas: Some(workload.fewest_replicas()),
            // Two old versions are enough to go back to; each is an object in every list.
            revision_history_limit: Some(2),
            strategy: Some(strategy()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(id.labels(component)),
                    annotations: Some(BTreeMap::from([(CONFIG_HASH.to_owned(), workload.config_hash())])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(id, workload, &selector)),
            },
            selector,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// A new pod is ready before an old one goes: a rollout never has fewer pods than asked for.
fn strategy() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(0)),
            max_surge: Some(IntOrString::Int(1)),
        }),
    }
}

fn pod(id: &PipelineId, workload: &Workload, selector: &LabelSelector) -> PodSpec {
    let name = id.object_name(workload.service);
    PodSpec {
        service_account_name: Some(name.clone()),
        automount_service_account_token: Some(false),
        // Without it every Service of the namespace becomes variables: one called `kafka` would set KAFKA_PORT.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(pod_security()),
        topology_spread_constraints: Some(vec![
            spread("topology.kubernetes.io/zone", selector),
            spread("kubernetes.io/hostname", selector),
        ]),
        containers: processes(workload).iter().map(|process| container(&name, workload, process)).collect(),
        volumes: stated(folders(workload).iter().map(|folder| folder.volume(&name)).collect()),
        ..PodSpec::default()
    }
}

/// What the Pod Security Standard "restricted" asks of a pod; its files are readable by our user only.
pub(super) fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// What the Pod Security Standard "restricted" asks of a container, and a root file system nobody can change.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        ..SecurityContext::default()
    }
}

/// Pods of one version spread over zones and nodes as well as they can; a full zone does not stop a rollout.
fn spread(key: &str, selector: &LabelSelector) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector.clone()),
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    }
}

fn container(name: &str, workload: &Workload, process: &Process) -> Container {
    let probe = |path, period, failures| Some(probe(process.admin, path, period, failures));
    Container {
        name: process.container.to_owned(),
        image: Some(workload.image.clone()),
        // Also for `:latest`, whose default is Always: images that were loaded onto a node are found there.
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(process.arguments.clone()),
        env_from: Some(vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource { name: name.to_owned(), optional: None }),
            ..EnvFromSource::default()
        }]),
        env: Some(environment(name, workload)),
        ports: Some(process.ports().map(port).collect()),
        resources: Some(workload.resources.clone()),
        security_context: Some(container_security()),
        // Migrations of a large database may take minutes: 150 × 2 s.
        startup_probe: probe("/startupz", 2, 150),
        // Five seconds of trouble take a pod out of its Service at most ten seconds later.
        readiness_probe: probe("/readyz", 5, 2),
        // Only a process that stopped turning is restarted: a minute of silence.
        liveness_probe: probe("/livez", 10, 6),
        // The last lines of a crashed container stand in its status.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: stated(folders(workload).iter().map(Folder::mount).collect()),
        ..Container::default()
    }
}

fn environment(secret: &str, workload: &Workload) -> Vec<EnvVar> {
    let mut variables = Vec::new();
    if workload.access.database_url.is_some() {
        variables.push(DATABASE_URL);
    }
    if workload.access.kafka.credentials.is_some() {
        variables.extend([KAFKA_USERNAME, KAFKA_PASSWORD]);
    }
    if workload.access.registry_credentials.is_some() {
        variables.extend([REGISTRY_USERNAME, REGISTRY_PASSWORD]);
    }
    variables
        .into_iter()
        .map(|key| secret_variable(key, secret, key))
        .chain(workload.extra_env.iter().cloned())
        .collect()
}

/// A variable that is the value of `key` of the Secret `secret`.
pub(super) fn secret_variable(variable: &str, secret: &str, key: &str) -> EnvVar {
    EnvVar {
        name: variable.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn port(port: Port) -> ContainerPort {
    ContainerPort {
        name: Some(port.name.to_owned()),
        container_port: port.number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(port: Port, path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(port.name.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        // A node under load answers late; one second, the default, restarts pods that only waited for CPU.
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

/// A folder with files out of the service's Secret.
struct Folder {
    name: &'static str,
    path: &'static str,
    keys: Vec<&'static str>,
}

/// The folders that the pods of `workload` have; none that is empty.
fn folders(workload: &Workload) -> Vec<Folder> {
    let access = &workload.access;
    let ca = access.kafka_ca.iter().map(|_| KAFKA_CA);
    let certificate =
        access.kafka.certificate.iter().flat_map(|_| [KAFKA_CERTIFICATE, KAFKA_CERTIFICATE_KEY]);
    let database = access.database_ca.iter().map(|_| DATABASE_CA);
    let registry = access.registry_ca.iter().map(|_| REGISTRY_CA);
    let issuer = access.issuer_ca.iter().map(|_| ISSUER_CA);
    let kafka = Folder { name: "kafka", path: KAFKA_DIR, keys: ca.chain(certificate).collect() };
    let trust =
        Folder { name: "trust", path: TRUST_DIR, keys: database.chain(registry).chain(issuer).collect() };
    [kafka, trust].into_iter().filter(|folder| !folder.keys.is_empty()).collect()
}

impl Folder {
    fn volume(&self, secret: &str) -> Volume {
        secret_volume(self.name, secret, &self.keys)
    }

    fn mount(&self) -> VolumeMount {
        VolumeMount {
            name: self.name.to_owned(),
            mount_path: self.path.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }
    }
}

/// An empty list is left out, as the API server does.
fn stated<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// A volume with keys of a Secret as files of their names, readable by our group only.
pub(super) fn secret_volume(name: &str, secret: &str, keys: &[&str]) -> Volume {
    let items = keys.iter().map(|key| item(key, key)).collect();
    Volume { secret: Some(source(secret, items)), name: name.to_owned(), ..Volume::default() }
}

/// The same with one key, as the file `path`.
pub(super) fn file_volume(name: &str, secret: &str, key: &str, path: &str) -> Volume {
    let items = vec![item(key, path)];
    Volume { secret: Some(source(secret, items)), name: name.to_owned(), ..Volume::default() }
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None }
}

fn source(secret: &str, items: Vec<KeyToPath>) -> SecretVolumeSource {
    SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        default_mode: Some(0o440),
        items: Some(items),
        optional: None,
    }
}
