//! `spec.suspend` and `spec.reconcilePolicy` of a pipeline reach the objects of its topics, whose controller would go
//! on changing them: that is all that is written on behalf of a pipeline that is suspended or only planned.
//!
//! It is written under a field manager of its own, so that it can be taken back without touching what somebody else has
//! said of a topic, who may have suspended one for reasons of his own.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::controller::apply::{self, Owner};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::crd::reconcile_policy::ReconcilePolicy;
use crate::crd::{KafkaTopic, OrderPipelineSpec};

/// Who says it.
const HOLDER: &str = "orderpipeline-hold";
/// Annotation of a topic's object: what it is told on its pipeline's behalf.
const HELD_ANNOTATION: &str = "orderpipeline.dev/held";

/// What a pipeline keeps the controller of topics from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nothing.
    Nothing,
    /// Changing its topics.
    Changes,
    /// Looking at them.
    Everything,
}

impl Hold {
    /// What `spec` asks for.
    pub(super) fn of(spec: &OrderPipelineSpec) -> Self {
        match (spec.suspend, spec.reconcile_policy) {
            (true, _) => Self::Everything,
            (false, ReconcilePolicy::Plan) => Self::Changes,
            (false, ReconcilePolicy::Apply) => Self::Nothing,
        }
    }

    /// What a topic is told: the value of the annotation, and the fields of its spec.
    fn told(self) -> Option<(&'static str, Value)> {
        match self {
            Self::Nothing => None,
            Self::Changes => Some(("Plan", json!({"reconcilePolicy": "Plan"}))),
            Self::Everything => Some(("Suspend", json!({"suspend": true}))),
        }
    }

    /// Whether `topic` was told this and nothing else.
    fn is_told(self, topic: &KafkaTopic) -> bool {
        let told = topic.annotations().get(HELD_ANNOTATION).map(String::as_str);
        let obeyed = match self {
            Self::Nothing => true,
            Self::Changes => topic.spec.reconcile_policy == ReconcilePolicy::Plan,
            Self::Everything => topic.spec.suspend,
        };
        obeyed && told == self.told().map(|(value, _)| value)
    }

    /// What is applied to `topic`: by leaving out what was said before it is taken back.
    fn patch(self, kind: &ApiResource, topic: &KafkaTopic) -> Value {
        let (version, kind) = (&kind.api_version, &kind.kind);
        // The very object that was looked at: a name alone would create one.
        let (name, uid) = (topic.name_any(), topic.uid());
        match self.told() {
            None => json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "uid": uid}}),
            Some((told, spec)) => json!({
                "apiVersion": version, "kind": kind, "spec": spec,
                "metadata": {"name": name, "uid": uid, "annotations": {HELD_ANNOTATION: told}},
            }),
        }
    }
}

/// Sees to it that all topics of `owner` are told `hold`. Writes to those alone that are not yet.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver does not do what is asked.
pub(super) async fn tell(ctx: &Context, owner: &Owner, hold: Hold) -> Result<(), Error> {
    let kind = ApiResource::erase::<KafkaTopic>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), owner.namespace(), &kind);
    let topics: Vec<KafkaTopic> = apply::owned(ctx, owner).await?;
    let leaving = |topic: &KafkaTopic| topic.metadata.deletion_timestamp.is_some();
    for topic in topics.iter().filter(|topic| !hold.is_told(topic) && !leaving(topic)) {
        let name = topic.name_any();
        tracing::info!(topic = name, ?hold, "telling a topic what its pipeline says");
        ctx.metrics.wrote(&kind.kind, "hold");
        let (params, patch) = (PatchParams::apply(HOLDER).force(), hold.patch(&kind, topic));
        match api.patch(&name, &params, &Patch::Apply(&patch)).await {
            Ok(written) => ctx.owned.wrote(&kind, &written),
            // It is gone, and the watch will tell so.
            Err(kube::Error::Api(refusal)) if refusal.is_conflict() => {}
            Err(error) => return Err(Error::kubernetes(format!("hold {} {name}", kind.kind))(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::fixtures::kafka_topic;

    fn topic(annotations: &Value, spec: &Value) -> KafkaTopic {
        kafka_topic(json!({"metadata": {"annotations": annotations}, "spec": spec}))
    }

    #[test]
    fn a_topic_is_told_until_it_obeys() {
        let free = topic(&json!({}), &json!({}));
        let suspended = topic(&json!({HELD_ANNOTATION: "Suspend"}), &json!({"suspend": true}));
        let disobedient = topic(&json!({HELD_ANNOTATION: "Suspend"}), &json!({}));

        assert!(Hold::Nothing.is_told(&free) && !Hold::Everything.is_told(&free));
        assert!(Hold::Everything.is_told(&suspended) && !Hold::Everything.is_told(&disobedient));
        assert!(!Hold::Changes.is_told(&suspended) && !Hold::Nothing.is_told(&suspended));
    }

    #[test]
    fn a_topic_that_somebody_else_suspended_is_not_freed() {
        assert!(Hold::Nothing.is_told(&topic(&json!({}), &json!({"suspend": true}))));
    }
}
