//! How far a pipeline has come, read from the objects as they were applied. No I/O.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use crate::crd::KafkaTopic;
use crate::crd::conditions::{self, ConditionType, Explanation};

/// How far one thing has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is as it should be.
    Done,
    /// It is on its way.
    Pending(Explanation),
    /// It will not come without somebody's help.
    Failed(Explanation),
}

/// How far several things of one sort have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    /// Those that are done.
    pub done: usize,
    /// All of them.
    pub total: usize,
    /// All together: failed if one is, else pending if one is.
    pub progress: Progress,
}

impl Tally {
    /// The tally of `all`.
    pub(super) fn of(all: impl IntoIterator<Item = Progress>) -> Self {
        let mut tally = Self { done: 0, total: 0, progress: Progress::Done };
        for progress in all {
            tally.total += 1;
            match progress {
                Progress::Done => tally.done += 1,
                Progress::Pending(_) if tally.progress != Progress::Done => {}
                Progress::Failed(_) if matches!(tally.progress, Progress::Failed(_)) => {}
                Progress::Pending(_) | Progress::Failed(_) => tally.progress = progress,
            }
        }
        tally
    }

    /// As the printer columns show it: `11/12`.
    pub(super) fn ratio(&self) -> String {
        format!("{}/{}", self.done, self.total)
    }
}

/// How far a topic is. A status of an older generation says nothing about the present spec.
pub(super) fn topic(topic: &KafkaTopic) -> Progress {
    let name = topic.name_any();
    let current =
        topic.status.as_ref().filter(|status| Some(status.observed_generation) == topic.metadata.generation);
    let ready = current.and_then(|status| conditions::find(&status.conditions, ConditionType::Ready));
    let (Some(status), Some(ready)) = (current, ready) else {
        return Progress::Pending(Explanation::new(
            "TopicsPending",
            format!("topic {name} has not been looked at yet"),
        ));
    };
    let why = format!("topic {name} is not ready: {}: {}", ready.reason, ready.message);
    if conditions::is_true(&status.conditions, ConditionType::Ready) {
        Progress::Done
    } else if conditions::is_true(&status.conditions, ConditionType::Stalled) {
        Progress::Failed(Explanation::new("TopicsStalled", why))
    } else {
        Progress::Pending(Explanation::new("TopicsPending", why))
    }
}

/// How far the Job is that prepares the databases.
pub(super) fn job(job: &Job) -> Progress {
    let (name, namespace) = (job.name_any(), job.namespace().unwrap_or_default());
    let all = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    for condition in all.filter(|condition| condition.status == "True") {
        let told = [condition.reason.as_deref(), condition.message.as_deref()].into_iter().flatten();
        match condition.type_.as_str() {
            "Complete" => return Progress::Done,
            "Failed" => {
                return Progress::Failed(Explanation::new(
                    "DatabaseFailed",
                    format!(
                        "job {name}, which prepares the databases, failed ({}); see kubectl logs -n {namespace} \
                         job/{name}; it is tried again when its inputs change, or in some minutes",
                        told.collect::<Vec<_>>().join(": ")
                    ),
                ));
            }
            _ => {}
        }
    }
    Progress::Pending(Explanation::new("DatabasePending", format!("job {name} is preparing the databases")))
}

/// A service that is not started before its topics and its database are there.
pub(super) fn held_back(name: &str) -> Progress {
    let why = format!("{name} is started when its topics and its database are ready");
    Progress::Pending(Explanation::new("ServicesStarting", why))
}

/// How far a Deployment is.
pub(super) fn deployment(deployment: &Deployment) -> Progress {
    let name = deployment.name_any();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let none = DeploymentStatus::default();
    let status = deployment.status.as_ref().unwrap_or(&none);
    let current = status.observed_generation >= deployment.metadata.generation;
    let count = |number: Option<i32>| number.unwrap_or_default();
    // `replicas` counts pods of old versions too: as long as there are some, the rollout is not over.
    let rolled_out = count(status.updated_replicas) == wanted && count(status.replicas) == wanted;
    let ready = count(status.ready_replicas).min(count(status.available_replicas));
    if current && rolled_out && ready == wanted {
        return Progress::Done;
    }
    let why = format!("{name} has {ready} of {wanted} pods ready");
    match trouble(status) {
        Some(trouble) => Progress::Pending(Explanation::new("ServicesFailing", format!("{why}: {trouble}"))),
        None => Progress::Pending(Explanation::new("ServicesStarting", why)),
    }
}

/// What the Deployment's controller complains of. It goes on trying, so it may heal by itself.
fn trouble(status: &DeploymentStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    let mut troubles = conditions.filter(|condition| {
        (condition.type_ == "Progressing" && condition.status == "False")
            || (condition.type_ == "ReplicaFailure" && condition.status == "True")
    });
    let found = troubles.next()?;
    Some(found.message.clone().or_else(|| found.reason.clone()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::fixtures::kafka_topic;

    fn pending(reason: &str) -> Progress {
        Progress::Pending(Explanation::new(reason, ""))
    }

    fn failed(reason: &str) -> Progress {
        Progress::Failed(Explanation::new(reason, ""))
    }

    #[test]
    fn a_tally_tells_the_first_failure_else_the_first_that_is_pending() {
        let tally = Tally::of([Progress::Done, pending("a"), failed("b"), failed("c"), pending("d")]);

        assert_eq!(tally, Tally { done: 1, total: 5, progress: failed("b") });
        assert_eq!(Tally::of([pending("a"), pending("b")]).progress, pending("a"));
        assert_eq!(Tally::of([]).progress, Progress::Done);
        assert_eq!(tally.ratio(), "1/5");
    }

    #[test]
    fn a_rollout_is_over_when_no_old_pod_is_left() {
        let with = |replicas: i32| -> Deployment {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "shop-order", "generation": 2},
                "spec": {"replicas": 2, "selector": {}, "template": {}},
                "status": {"observedGeneration": 2, "replicas": replicas, "updatedReplicas": 2,
                           "readyReplicas": 2, "availableReplicas": 2}
            }))
            .unwrap()
        };

        assert_eq!(deployment(&with(2)), Progress::Done);
        assert!(matches!(deployment(&with(3)), Progress::Pending(_)));
    }

    #[test]
    fn a_topic_s_status_of_an_older_generation_counts_for_nothing() {
        let with = |observed: i64| -> KafkaTopic {
            kafka_topic(serde_json::json!({
                "metadata": {"generation": 2},
                "status": {"observedGeneration": observed, "conditions": [
                    {"type": "Ready", "status": "True", "reason": "Synced", "message": "",
                     "lastTransitionTime": "2026-01-01T00:00:00Z"}
                ]}
            }))
        };

        assert_eq!(topic(&with(2)), Progress::Done);
        assert!(matches!(topic(&with(1)), Progress::Pending(_)));
    }
}
