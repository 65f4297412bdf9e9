//! Writes statuses, and tells people about transitions by events. Generic over the kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use serde::Serialize;

use super::context::Context;
use super::error::Error;
use super::runner::Kind;
use crate::crd::conditions::{self, ConditionType, State};

/// Owner of the fields of a status; another one than that of what we apply, so that neither removes the other's.
const STATUS_MANAGER: &str = "orderpipeline-status";

/// Longest note that the events API takes is 1 kB.
const NOTE_MAX_BYTES: usize = 1000;

/// A status that holds conditions.
pub trait HasConditions: Serialize + PartialEq + Default {
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
pub async fn write<K: Kind, S: HasConditions>(
    ctx: &Context,
    object: &K,
    old: Option<&S>,
    new: &S,
) -> Result<Option<K>, Error> {
    if old == Some(new) {
        return Ok(None);
    }
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        // Makes this fail rather than describe a successor of the same name.
        uid: object.uid(),
        resource_version: object.resource_version(),
        ..ObjectMeta::default()
    };
    let patch = serde_json::json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": new,
    });
    ctx.metrics.wrote(&K::kind(&()), "status");
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let written = match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
        Ok(written) => written,
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => {
            tracing::debug!(%name, %namespace, "status not written, the object is gone or was written by others");
            return Ok(None);
        }
        Err(error) => {
            return Err(Error::kubernetes(format!("write the status of {namespace}/{name}"))(error));
        }
    };
    if let Some(event) = transition(old.map(S::conditions).unwrap_or_default(), new.conditions()) {
        publish(ctx, object, event).await;
    }
    Ok(Some(written))
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

/// An event; a note that is too long is cut.
pub fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    let end =
        note.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= NOTE_MAX_BYTES).last();
    let note = note.get(..end.unwrap_or(0)).unwrap_or_default().to_owned();
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}

/// Publishes `event` about `object`. An event is a courtesy: where it cannot be published that is logged only.
pub async fn publish<K: Resource<DynamicType = ()>>(ctx: &Context, object: &K, event: Event) {
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(reason = event.reason, error, "event not published");
    }
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

    #[test]
    fn notes_are_cut_between_characters() {
        let cut = event(EventType::Normal, "R", "A", &"ä".repeat(600));

        assert_eq!(cut.note.unwrap().len(), NOTE_MAX_BYTES);
    }
}
