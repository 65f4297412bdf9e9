//! The parts of Kubernetes' controllers that the tests play.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use operator::crd::KafkaTopic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::{World, eventually};

impl World {
    /// What the Job's controller does when its pod ends: `Complete` or `Failed`.
    pub(crate) async fn finish_job(&self, end: &str) {
        let jobs = self.names::<Job>().await;
        let [job] = jobs.as_slice() else { panic!("there should be one Job, there are {jobs:?}") };
        self.end_job(job, end).await;
    }

    /// The same of the Job of this name.
    pub(crate) async fn end_job(&self, job: &str, end: &str) {
        let before = if end == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "played by the test",
                   "lastProbeTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let mut status = json!({
            "startTime": "2026-01-01T00:00:00Z", "conditions": [condition(before), condition(end)]
        });
        if end == "Complete" {
            status["completionTime"] = "2026-01-01T00:00:01Z".into();
            status["succeeded"] = 1.into();
        }
        self.patch_status::<Job>(job, status).await;
    }

    /// The same, once the Job was made.
    pub(crate) async fn finish_job_when_there(&self) {
        eventually("the Job", || async {
            if self.names::<Job>().await.is_empty() { Err("none".to_owned()) } else { Ok(()) }
        })
        .await;
        self.finish_job("Complete").await;
    }

    /// What the Deployments' controller does when all pods are there.
    pub(crate) async fn roll_out(&self) {
        for deployment in self.api::<Deployment>().list(&ListParams::default()).await.unwrap() {
            let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap();
            let status = json!({
                "observedGeneration": deployment.metadata.generation, "replicas": replicas,
                "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas
            });
            self.patch_status::<Deployment>(&deployment.name_any(), status).await;
        }
    }

    async fn patch_status<K>(&self, name: &str, status: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Serialize,
    {
        let patch = Patch::Merge(json!({ "status": status }));
        match self.api::<K>().patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            // The operator has removed it meanwhile.
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// What the garbage collector does after the pipeline was deleted: it goes on until nothing is left, because a
    /// pass that was under way may still have made an object.
    pub(crate) async fn collect_garbage(&self) {
        eventually("topic objects are gone", || async {
            let left = self.names::<KafkaTopic>().await;
            for topic in &left {
                self.api::<KafkaTopic>().delete(topic, &DeleteParams::default()).await.ok();
            }
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }
}
