//! `reconcilePolicy: Plan`: what a pass would change, without changing anything.

use super::principals::{self, Principals, noted};
use super::progress::Progress;
use super::status::Report;
use super::validate::ValidPipeline;
use super::{Databases, Foundations, access, apply, fetch, foundations, plan, waiting_for, workloads};
use super::{routes, scaling};
use crate::controller::apply::Owner;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::crd::OrderPipeline;

/// Compares what `valid` asks for with what there is. Where both are the same, how far it has come.
///
/// # Errors
/// [`Error::Kubernetes`] when something cannot be read.
pub(super) async fn look(
    ctx: &Context,
    pipeline: &OrderPipeline,
    valid: &ValidPipeline,
    owner: &Owner,
) -> Result<Report, Error> {
    let connection = match ctx.clusters.connection(owner.namespace(), &pipeline.spec.kafka).await? {
        Ok(connection) => connection,
        Err(missing) => return Ok(Report::Blocked(waiting_for(missing.reason(), &missing))),
    };
    let mut changes = principals::pending(ctx, pipeline, valid, &connection, owner).await?;
    let observed = fetch::fetch(ctx, pipeline, valid, owner).await?;
    let (secrets, passwords, held) = (&observed.secrets, &observed.passwords, &observed.identities);
    let plan = match access::resolve(valid, connection, secrets, passwords, held) {
        Ok(access) => plan(valid, &access, observed.keda),
        Err(unusable) => return Ok(Report::Blocked(waiting_for(unusable.reason(), &unusable))),
    };
    let databases = Databases::of(pipeline, &plan);
    if databases == Databases::Unprepared && plan.job.is_some() {
        // Its name would be another one each time, made from passwords that nobody has yet.
        changes.push("run a Job that prepares the databases".to_owned());
    }
    changes.extend(foundations(&plan, owner, Databases::Prepared)?.pending(ctx).await?);
    changes.extend(workloads(&plan, Foundations::Ready, &observed.deployments, owner)?.pending(ctx).await?);
    let autoscalers = scaling::autoscalers(&plan, Foundations::Ready, &observed, owner)?;
    changes.extend(autoscalers.pending(ctx).await?);
    changes.extend(routes::resources(&plan, Foundations::Ready, &observed, owner)?.pending(ctx).await?);
    if !changes.is_empty() {
        return Ok(Report::Planned(changes));
    }
    let (identities, users) = (held.clone(), noted(pipeline));
    let principals = Principals { progress: Progress::Done, identities, users };
    // There is nothing to apply, so that this only looks.
    let applied = apply(pipeline, plan, &observed, principals, owner, ctx).await?;
    Ok(Report::Applied(Box::new(applied)))
}
