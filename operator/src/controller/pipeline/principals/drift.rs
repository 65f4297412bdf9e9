//! Looks for drift in bulk: what the users of all pipelines may do is read once per cluster and interval, and only
//! the pipelines whose users are not as they left them are woken.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kafka_admin::AclBinding;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::kafka::{acls_of, without_password};
use super::registry::Entry;
use crate::controller::clusters::Health;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::pipeline::NAME;
use crate::crd::OrderPipeline;

/// Looks for as long as it is polled.
pub(crate) async fn watch(ctx: Arc<Context>, wake: mpsc::Sender<ObjectRef<OrderPipeline>>) -> Infallible {
    let mut ticks = tokio::time::interval(ctx.settings.drift_interval);
    // A slow cluster must not be asked more often afterwards.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // All at once, so that the questions about one cluster meet and become one.
        let settled = ctx.principals.all();
        let mut looks: FuturesUnordered<_> =
            settled.iter().map(|(uid, entry)| look(&ctx, uid, entry)).collect();
        while let Some(look) = looks.next().await {
            let Some(drifted) = look else { continue };
            // Closed means that the controller takes no more work, and will end with its last pass.
            let _ = wake.send(drifted).await;
        }
    }
}

/// The pipeline, if its users are not as it left them.
async fn look(ctx: &Context, uid: &str, entry: &Entry) -> Option<ObjectRef<OrderPipeline>> {
    // A cluster that is away is probed elsewhere, and its pipelines hear of it by their topics.
    if !matches!(entry.cluster.health(), Health::Up { .. }) {
        return None;
    }
    match has_drifted(entry).await {
        Ok(false) => None,
        // Only if no pass changed it meanwhile: that one has looked itself.
        Ok(true) => ctx.principals.forget(uid).then(|| {
            ctx.metrics.drifted(NAME, "access");
            tracing::info!(pipeline = %entry.object, "users in Kafka are not as they were left");
            entry.object.clone()
        }),
        Err(error) => {
            tracing::debug!(pipeline = %entry.object, error = error.chain(), "users in Kafka not looked at");
            None
        }
    }
}

async fn has_drifted(entry: &Entry) -> Result<bool, Error> {
    let acls = acls_of(&entry.cluster, entry.users.iter().cloned());
    let passwords = without_password(&entry.cluster, &entry.users, entry.mechanism);
    let (acls, without_password): (BTreeSet<AclBinding>, bool) =
        futures::future::try_join(acls, passwords).await?;
    Ok(acls != entry.acls || without_password)
}
