//! The Job that prepares the databases: one database and one role per service that has one.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::deployment::{container_security, file_volume, pod_security, secret_variable, secret_volume};
use super::labels::{Component, PipelineId};
use super::secret::{DATABASE_CA, DATABASE_URL};
use super::workload::{DATABASE_CA_FILE, TRUST_DIR, Workload, default_resources, short_hex};
use crate::crd::ca_secret_ref::CaSecretRef;
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
    /// Who has to have signed the server's certificate, where that is known.
    pub authority: Option<DatabaseAuthority>,
    /// The image.
    pub image: String,
}

/// Authorities that the database server is known by.
#[derive(Clone, Debug)]
pub struct DatabaseAuthority {
    /// Where their certificates stand.
    pub secret: CaSecretRef,
    /// The certificates; only their digest becomes part of the Job.
    pub certificates: SecretString,
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
    let authority = admin.authority.iter().flat_map(|DatabaseAuthority { secret, certificates }| {
        [secret.name.as_str(), &secret.key, certificates.expose_secret()]
    });
    for text in given.into_iter().chain(urls).chain(authority) {
        digest.update(text.len().to_be_bytes());
        digest.update(text);
    }
    digest.finalize().to_vec()
}

fn pod(id: &PipelineId, admin: &DatabaseAdmin, workloads: &[&Workload]) -> PodSpec {
    let authority = admin.authority.iter();
    let trust =
        authority.clone().map(|of| file_volume("trust", &of.secret.name, &of.secret.key, DATABASE_CA));
    let volumes = workloads.iter().map(|workload| volume(id, workload)).chain(trust).collect();
    let trust = authority.map(|_| mount("trust", TRUST_DIR.to_owned()));
    let databases = workloads.iter().map(|workload| {
        let name = workload.service.name();
        mount(name, format!("{DATABASES_DIR}/{name}"))
    });
    let mounts = databases.chain(trust).collect();
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
        env: Some(environment(admin)),
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

fn mount(volume: &str, path: String) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path, read_only: Some(true), ..VolumeMount::default() }
}

fn environment(admin: &DatabaseAdmin) -> Vec<EnvVar> {
    let url = secret_variable("ADMIN_DATABASE_URL", &admin.secret.name, &admin.secret.key);
    let file = || EnvVar {
        name: DATABASE_CA_FILE.to_owned(),
        value: Some(format!("{TRUST_DIR}/{DATABASE_CA}")),
        ..EnvVar::default()
    };
    std::iter::once(url).chain(admin.authority.iter().map(|_| file())).collect()
}
