//! The Job that prepares the databases: one database and one role per service that has one.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::deployment::{container_security, pod_security, secret_variable, secret_volume};
use super::labels::{Component, PipelineId};
use super::secret::DATABASE_URL;
use super::workload::{Workload, default_resources, short_hex};
use crate::crd::order_pipeline::{Profile, SecretKeyRef};

/// Where the Job finds a folder per service with its `DATABASE_URL`.
const DATABASES_DIR: &str = "/run/orderpipeline/databases";
/// A failed Job stays this long for whoever wants its logs, then it is tried again. A successful one is removed by
/// the operator before that.
const KEEP_SECONDS: i32 = 600;
/// Retries, with pauses of 10, 20, 40 and 80 s in between: longer than a database server's restart.
const RETRIES: i32 = 4;
/// A pod that cannot even start (image, quota) is given up after this.
const DEADLINE_SECONDS: i64 = 600;

/// What the Job is given.
#[derive(Clone, Debug)]
pub struct DatabaseAdmin {
    /// Where the admin URL stands.
    pub secret: SecretKeyRef,
    /// The admin URL; only its digest becomes part of the Job.
    pub url: SecretString,
    /// The image.
    pub image: String,
}

/// The Job for the databases of `workloads`; none where none of them has one.
///
/// Its name is made from all that it is given, the passwords among it: a Job's template cannot change, so
/// other input is another Job, and the same input is the same Job, which does not run twice.
#[must_use]
pub fn maybe_build(id: &PipelineId, admin: &DatabaseAdmin, workloads: &[Workload]) -> Option<Job> {
    let owners: Vec<&Workload> =
        workloads.iter().filter(|workload| workload.access.database_url.is_some()).collect();
    (!owners.is_empty()).then(|| build(id, admin, &owners))
}

fn build(id: &PipelineId, admin: &DatabaseAdmin, workloads: &[&Workload]) -> Job {
    let hash = short_hex(&digest(admin, workloads));
    Job {
        metadata: id.metadata(format!("{}-database-{hash}", id.name), Component::Database),
        spec: Some(JobSpec {
            backoff_limit: Some(RETRIES),
            active_deadline_seconds: Some(DEADLINE_SECONDS),
            ttl_seconds_after_finished: Some(KEEP_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(id.labels(Component::Database)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(id, admin, workloads)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn digest(admin: &DatabaseAdmin, workloads: &[&Workload]) -> Vec<u8> {
    let mut digest = Sha256::new();
    let urls = workloads.iter().flat_map(|workload| {
        let url = workload.access.database_url.iter().map(ExposeSecret::expose_secret);
        std::iter::once(workload.service.name()).chain(url)
    });
    let given = [&admin.secret.name, &admin.secret.key, admin.url.expose_secret(), admin.image.as_str()];
    for text in given.into_iter().chain(urls) {
        digest.update(text.len().to_be_bytes());
        digest.update(text);
    }
    digest.finalize().to_vec()
}

fn pod(id: &PipelineId, admin: &DatabaseAdmin, workloads: &[&Workload]) -> PodSpec {
    let volumes = workloads.iter().map(|workload| volume(id, workload)).collect();
    let mounts = workloads.iter().map(|workload| mount(workload)).collect();
    PodSpec {
        // Never: each attempt keeps its own logs.
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security()),
        containers: vec![container(admin, mounts)],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

fn container(admin: &DatabaseAdmin, mounts: Vec<VolumeMount>) -> Container {
    Container {
        name: "prepare-database".to_owned(),
        image: Some(admin.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec!["prepare-database".to_owned()]),
        env: Some(vec![secret_variable("ADMIN_DATABASE_URL", &admin.secret.name, &admin.secret.key)]),
        // A handful of statements: small in every profile.
        resources: Some(default_resources(Profile::Dev)),
        security_context: Some(container_security()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn volume(id: &PipelineId, workload: &Workload) -> Volume {
    secret_volume(workload.service.name(), &id.object_name(workload.service), &[DATABASE_URL])
}

fn mount(workload: &Workload) -> VolumeMount {
    VolumeMount {
        name: workload.service.name().to_owned(),
        mount_path: format!("{DATABASES_DIR}/{}", workload.service.name()),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
