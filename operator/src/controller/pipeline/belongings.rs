//! The watches of what belongs to pipelines: they feed what passes read, and wake the pipelines whose objects somebody
//! else has changed. What a pass wrote itself wakes nobody: it has read the answer.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::{join, join_all, join3, try_join_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc;

use super::{routes, scaling};
use crate::controller::apply::OWNER_LABEL;
use crate::controller::context::Context;
use crate::controller::owned::{self, Change};
use crate::controller::watches::{self, Versions};
use crate::crd::{KafkaTopic, OrderPipeline};

/// Name of these watches where they are spoken of together.
const NAME: &str = "owned";

/// Which changes of an object concern its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakes {
    /// All.
    Always,
    /// All but those of its status: an autoscaler writes its own all the time, and what an ingress controller writes is
    /// no business of ours.
    ExceptByStatus,
}

/// What a pipeline may have, besides objects of kinds that are not served everywhere.
fn kinds() -> [(ApiResource, Wakes); 11] {
    fn kind<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>() -> ApiResource {
        ApiResource::erase::<K>(&())
    }
    [
        (kind::<KafkaTopic>(), Wakes::Always),
        (kind::<Secret>(), Wakes::Always),
        (kind::<Job>(), Wakes::Always),
        (kind::<ServiceAccount>(), Wakes::Always),
        (kind::<ConfigMap>(), Wakes::Always),
        (kind::<Deployment>(), Wakes::Always),
        (kind::<Service>(), Wakes::Always),
        (kind::<NetworkPolicy>(), Wakes::Always),
        (kind::<Ingress>(), Wakes::ExceptByStatus),
        (kind::<PodDisruptionBudget>(), Wakes::Always),
        (kind::<HorizontalPodAutoscaler>(), Wakes::ExceptByStatus),
    ]
}

/// Announces the watches, and runs them for as long as it is polled.
pub(super) fn watch(
    ctx: Arc<Context>,
    wake: mpsc::Sender<ObjectRef<OrderPipeline>>,
) -> impl Future<Output = ()> + Send {
    ctx.watches.expect(NAME);
    kinds().iter().for_each(|(kind, _)| ctx.owned.expect(kind));
    async move {
        let all = kinds().map(|(kind, wakes)| watch_kind(&ctx, kind, wakes, &wake));
        let known = async {
            ctx.owned.until_listed().await;
            ctx.watches.synced(NAME);
            let cached =
                || kinds().iter().filter_map(|(kind, _)| ctx.owned.versions(kind)).flatten().collect();
            watches::compare(NAME, &ctx, ctx.settings.resync, cached, || listed_versions(&ctx)).await;
        };
        // Nobody waits for these: until they are known, passes ask.
        let unwatched =
            join(ctx.keda_owners.find(&ctx, scaling::kinds()), ctx.route_owners.find(&ctx, routes::kinds()));
        join3(join_all(all), known, unwatched).await;
    }
}

/// Versions of all objects of kinds whose watches are relied on.
async fn listed_versions(ctx: &Context) -> kube::Result<Versions> {
    let kinds = kinds().map(|(kind, _)| kind);
    let relied_on = kinds.iter().filter(|kind| ctx.owned.versions(kind).is_some());
    let lists = relied_on.map(|kind| async move {
        // Any version: from the apiserver's cache, without asking etcd.
        let ours = ListParams::default().labels(OWNER_LABEL).match_any();
        let list = ctx.watched_kind(kind).list_metadata(&ours).await?;
        Ok::<_, kube::Error>(list.iter().filter_map(watches::version).collect::<Vec<_>>())
    });
    Ok(try_join_all(lists).await?.into_iter().flatten().collect())
}

async fn watch_kind(
    ctx: &Context,
    kind: ApiResource,
    wakes: Wakes,
    wake: &mpsc::Sender<ObjectRef<OrderPipeline>>,
) {
    let mut changes = pin!(owned::changes(&ctx.owned, ctx.watched_kind(&kind), &kind));
    while let Some(change) = changes.next().await {
        if let Some(pipeline) = owner_of(&change.object).filter(|_| concerns(wakes, &change)) {
            // Closed means that the controller has ended, and so will this task.
            let _ = wake.send(pipeline).await;
        }
    }
}

fn concerns(wakes: Wakes, change: &Change) -> bool {
    match (wakes, &change.before) {
        (Wakes::ExceptByStatus, Some(before)) => without_status(before) != without_status(&change.object),
        (Wakes::ExceptByStatus, None) | (Wakes::Always, _) => true,
    }
}

fn without_status(object: &DynamicObject) -> DynamicObject {
    let mut object = object.clone();
    object.metadata.resource_version = None;
    if let Some(fields) = object.data.as_object_mut() {
        fields.remove("status");
    }
    object
}

/// The pipeline that an object belongs to.
fn owner_of(object: &DynamicObject) -> Option<ObjectRef<OrderPipeline>> {
    let owners = object.owner_references().iter();
    let (group, kind) = (OrderPipeline::group(&()), OrderPipeline::kind(&()));
    let is_ours = |api_version: &str| api_version.split_once('/').is_some_and(|(of, _)| of == group);
    let owner = owners.clone().find(|owner| owner.kind == kind && is_ours(&owner.api_version))?;
    Some(ObjectRef::new(&owner.name).within(&object.namespace()?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn autoscaler(version: &str, most: i32, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "shop-order", "namespace": "shop", "resourceVersion": version, "ownerReferences": [
                {"apiVersion": "orderpipeline.dev/v1alpha1", "kind": "OrderPipeline", "name": "shop", "uid": "u"}
            ]},
            "spec": {"maxReplicas": most}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn an_autoscaler_that_writes_its_status_wakes_nobody() {
        let before = Some(autoscaler("1", 5, json!({"currentReplicas": 1})));
        let scaled = Change { object: autoscaler("2", 5, json!({"currentReplicas": 2})), before };
        let changed = Change { object: autoscaler("2", 6, json!({"currentReplicas": 1})), ..scaled.clone() };
        let gone = Change { before: None, ..scaled.clone() };

        assert!(!concerns(Wakes::ExceptByStatus, &scaled));
        assert!(concerns(Wakes::Always, &scaled));
        assert!(concerns(Wakes::ExceptByStatus, &changed));
        assert!(concerns(Wakes::ExceptByStatus, &gone));
    }

    #[test]
    fn an_object_wakes_the_pipeline_that_it_belongs_to() {
        let mut object = autoscaler("1", 5, json!({}));

        assert_eq!(owner_of(&object), Some(ObjectRef::new("shop").within("shop")));
        object.metadata.owner_references.as_mut().unwrap()[0].api_version = "other.dev/v1".to_owned();
        assert_eq!(owner_of(&object), None);
    }
}
