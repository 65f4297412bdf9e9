//! The parts of Kubernetes' controllers that make a pipeline Ready: beside an apiserver without nodes nobody runs
//! Jobs and pods, so it is only said that they have run.

use anyhow::{Context, Result};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use operator::controller::runner::Kind;
use serde_json::{Value, json};

/// Statuses that are written at once.
const WRITTEN_AT_ONCE: usize = 16;

/// Plays them for as long as it is polled.
///
/// # Errors
/// When a status cannot be written, or objects are not to be watched.
pub(crate) async fn play(jobs: Api<Job>, deployments: Api<Deployment>) -> Result<()> {
    let finish = answer(jobs, |job| match &job.status {
        Some(status) if status.succeeded == Some(1) => None,
        Some(_) | None => Some(finished()),
    });
    let roll_out = answer(deployments, |deployment| {
        let generation = deployment.metadata.generation;
        let seen = deployment.status.as_ref().and_then(|status| status.observed_generation);
        (seen != generation).then(|| rolled_out(deployment))
    });
    futures::future::try_join(finish, roll_out).await.map(drop)
}

/// Writes the status that `status` gives to each object, where it gives one.
async fn answer<K: Kind>(api: Api<K>, status: impl Fn(&K) -> Option<Value>) -> Result<()> {
    let objects = watcher(api.clone(), watcher::Config::default()).applied_objects();
    let write = |object: K| {
        let (api, name, status) = (api.clone(), object.name_any(), status(&object));
        async move {
            let Some(status) = status else { return Ok(()) };
            let patch = Patch::Merge(json!({ "status": status }));
            match api.patch_status(&name, &PatchParams::default(), &patch).await {
                Ok(_) => Ok(()),
                // The operator removes a Job whose work is done.
                Err(kube::Error::Api(refusal)) if refusal.is_not_found() => Ok(()),
                Err(error) => Err(error).with_context(|| format!("could not write the status of {name}")),
            }
        }
    };
    let objects = objects.map_err(|error| anyhow::Error::new(error).context("could not watch"));
    objects.try_for_each_concurrent(WRITTEN_AT_ONCE, write).await
}

/// The status of a Job whose pod has done its work.
fn finished() -> Value {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "CompletionsReached", "message": "played by the benchmark",
               "lastProbeTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    json!({
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z", "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    })
}

/// The status of a Deployment all pods of which are there.
fn rolled_out(deployment: &Deployment) -> Value {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    json!({
        "observedGeneration": deployment.metadata.generation, "replicas": replicas,
        "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
    })
}
