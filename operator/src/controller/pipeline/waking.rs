//! What wakes pipelines besides changes of their own and of what belongs to them: a Secret that they read, and what
//! Strimzi says of clusters and users.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::mpsc;

use super::access;
use crate::build::kafka_user;
use crate::build::labels::PipelineId;
use crate::controller::context::Context;
use crate::controller::endpoint::{self, endpoint};
use crate::controller::owned::is_refusal;
use crate::controller::strimzi::{Change, Key};
use crate::crd::OrderPipeline;

/// Watches all Secrets, as long as it is polled, and wakes the pipelines that read one that has changed. Metadata only:
/// which one it was is enough to know.
pub(super) async fn those_that_read(
    ctx: Arc<Context>,
    store: Store<OrderPipeline>,
    wake: mpsc::Sender<ObjectRef<OrderPipeline>>,
) {
    let api = ctx.watched::<PartialObjectMeta<Secret>>();
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => {}
            Ok(watcher::Event::InitDone) => ctx.secrets.listed(),
            Ok(
                watcher::Event::InitApply(secret)
                | watcher::Event::Apply(secret)
                | watcher::Event::Delete(secret),
            ) => {
                let secret: Key = (secret.namespace().unwrap_or_default(), secret.name_any());
                ctx.secrets.forget(&secret);
                for pipeline in store.state().iter().filter(|pipeline| reads(&ctx, pipeline, &secret)) {
                    // Closed means that the controller has ended, and so will this task.
                    let _ = wake.send(ObjectRef::from_obj(&**pipeline)).await;
                }
            }
            Err(error) => {
                if matches!(error, watcher::Error::InitialListFailed(_)) || is_refusal(&error) {
                    ctx.secrets.unwatched();
                }
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "watch of Secrets failed, will be resumed");
            }
        }
    }
}

fn reads(ctx: &Context, pipeline: &OrderPipeline, (namespace, name): &Key) -> bool {
    let own = pipeline.namespace().unwrap_or_default();
    if own == *namespace && access::referenced(&pipeline.spec).any(|named| named == *name) {
        return true;
    }
    let Ok(endpoint) = endpoint(&ctx.strimzi, &own, &pipeline.spec.kafka) else { return false };
    if endpoint.namespace != *namespace {
        return false;
    }
    let id = PipelineId { namespace: own, name: pipeline.name_any() };
    let mut services = contract::Service::ALL.iter();
    endpoint::secrets(&endpoint).any(|named| named == name)
        || (endpoint.strimzi.is_some() && services.any(|service| kafka_user::name(&id, *service) == *name))
}

/// Wakes, for as long as it is polled, the pipelines whose cluster or users Strimzi said something about.
pub(super) fn those_that_strimzi_concerns(
    ctx: &Context,
    store: &Store<OrderPipeline>,
    wake: mpsc::Sender<ObjectRef<OrderPipeline>>,
) -> impl Future<Output = ()> + Send + use<> {
    let store = store.clone();
    ctx.strimzi.changes().each(move |change| {
        let concerns = |pipeline: &OrderPipeline| match change.unwrap_or(&Change::Everything) {
            Change::Topic(_) => false,
            Change::User(owner) => pipeline.uid().as_deref() == Some(owner),
            Change::Everything => true,
        };
        for pipeline in store.state().iter().filter(|pipeline| concerns(pipeline)) {
            // A full queue is no loss: whoever waits looks again by itself.
            let _ = wake.try_send(ObjectRef::from_obj(&**pipeline));
        }
    })
}
