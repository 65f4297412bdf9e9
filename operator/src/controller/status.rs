//! Writes statuses, and tells people about transitions by events. Generic over the kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use kube::core::object::HasStatus;
use kube::runtime::events::{Event, EventType};
use serde::Serialize;

use super::context::Context;
use super::error::Error;
use super::events::{event, publish};
use super::runner::Kind;
use crate::crd::conditions::{self, ConditionType, State};

/// Who owns the fields of a status: another one than the owner of what we apply, so that neither removes the other's.
const STATUS_MANAGER: &str = "orderpipeline-status";

/// Newer versions that are tried when something must not be forgotten: each attempt loses only to another write within
/// the milliseconds that it takes.
const KEEP_ATTEMPTS: u32 = 3;

/// A status that holds conditions.
pub trait HasConditions: Clone + PartialEq + Default {
    /// The conditions.
    fn conditions(&self) -> &[Condition];
}

/// Writes `new` as the status of `object` unless it is what the object has, and publishes an event when
/// `Ready` changed its status or reason. Returns the object as written; nothing when it was not.
///
/// It is written only while `object` is the newest version of itself: statuses are remembered by, and a pass over an
/// old object must not make one forget. Another pass sees the newer version. An object that is gone, or another one of
/// the same name, is left alone: that is no error.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver does not take it.
pub async fn write<K>(ctx: &Context, object: &K, new: &K::Status) -> Result<Option<K>, Error>
where
    K: Kind + HasStatus + Serialize,
    K::Status: HasConditions,
{
    match put(ctx, object, new).await? {
        Put::Written(written) => Ok(Some(*written)),
        Put::Unchanged | Put::Gone | Put::Outdated => Ok(None),
    }
}

/// Writes `new` as [`write`] does. Where the object has a newer version, `keep` puts into the status of that one what
/// must not be forgotten, and nothing else is changed there.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver does not take it.
pub async fn write_and_keep<K>(
    ctx: &Context,
    object: &K,
    new: &K::Status,
    keep: impl Fn(&mut K::Status),
) -> Result<(), Error>
where
    K: Kind + HasStatus + Serialize,
    K::Status: HasConditions,
{
    if !matches!(put(ctx, object, new).await?, Put::Outdated) {
        return Ok(());
    }
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    for _attempt in 0..KEEP_ATTEMPTS {
        let newest = api.get_opt(&name).await;
        let newest = newest.map_err(Error::kubernetes(format!("read {namespace}/{name}")))?;
        let Some(newest) = newest.filter(|newest| newest.uid() == object.uid()) else { return Ok(()) };
        let mut status = newest.status().cloned().unwrap_or_default();
        keep(&mut status);
        if !matches!(put(ctx, &newest, &status).await?, Put::Outdated) {
            return Ok(());
        }
    }
    tracing::warn!(%name, %namespace, "status not written, others write the object all the time");
    Ok(())
}

/// What became of a status.
enum Put<K> {
    /// The object with it.
    Written(Box<K>),
    /// The object has it already.
    Unchanged,
    /// The object is gone.
    Gone,
    /// The object has a newer version, or is another one of its name.
    Outdated,
}

async fn put<K>(ctx: &Context, object: &K, new: &K::Status) -> Result<Put<K>, Error>
where
    K: Kind + HasStatus + Serialize,
    K::Status: HasConditions,
{
    if object.status() == Some(new) {
        return Ok(Put::Unchanged);
    }
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    // Its uid and version make this fail rather than describe a successor. A status is replaced, not applied: all of
    // it is ours, so that there is nothing to merge.
    let mut successor = object.clone();
    *successor.status_mut() = Some(new.clone());
    ctx.metrics.wrote(&K::kind(&()), "status");
    let params = PostParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PostParams::default() };
    let written = match api.replace_status(&name, &params, &successor).await {
        Ok(written) => written,
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => {
            tracing::debug!(%name, %namespace, "status not written, the object is gone or was written by others");
            return Ok(if refusal.is_not_found() { Put::Gone } else { Put::Outdated });
        }
        Err(error) => {
            return Err(Error::kubernetes(format!("write the status of {namespace}/{name}"))(error));
        }
    };
    ctx.superseded.wrote(object, &written);
    let before = object.status().map(HasConditions::conditions).unwrap_or_default();
    if let Some(event) = transition(before, new.conditions()) {
        publish(ctx, object, event).await;
    }
    Ok(Put::Written(Box::new(written)))
}

/// The event that tells of the change from `old` to `new`; none when `Ready` kept status and reason, or is true at the
/// first look: an event about what was done has told that already, and each is a request.
fn transition(old: &[Condition], new: &[Condition]) -> Option<Event> {
    let now = conditions::find(new, ConditionType::Ready)?;
    let before = conditions::find(old, ConditionType::Ready);
    if before.is_some_and(|before| before.status == now.status && before.reason == now.reason) {
        return None;
    }
    let ready = now.status == State::True.name();
    if before.is_none() && ready {
        return None;
    }
    // Losing readiness and being stuck are worth a warning; being on the way for the first time is not.
    let lost = before.is_some_and(|before| before.status == State::True.name());
    let stalled = conditions::is_true(new, ConditionType::Stalled);
    let warning = stalled || (lost && !ready);
    Some(event(
        if warning { EventType::Warning } else { EventType::Normal },
        &now.reason,
        "Reconcile",
        &now.message,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::conditions::{Explanation, Summary, merge};

    fn conditions(summary: Summary) -> Vec<Condition> {
        merge(&[], summary.facts(), 1, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn events_are_for_transitions_only() {
        let ready = conditions(Summary::Ready(Explanation::new("Synced", "")));
        let failing = conditions(Summary::Reconciling(Explanation::new("BrokerUnreachable", "down")));

        assert!(transition(&ready, &ready).is_none());
        assert_eq!(transition(&ready, &failing).unwrap().type_, EventType::Warning);
        assert_eq!(transition(&[], &failing).unwrap().type_, EventType::Normal);
        assert_eq!(transition(&failing, &ready).unwrap().reason, "Synced");
        assert!(transition(&[], &ready).is_none());
    }
}
