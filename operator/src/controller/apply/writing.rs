//! The writes, one object each, and each only over what was looked at: what a watch has not shown yet, such as a
//! stranger that took the name meanwhile, is never written over.

use kube::ResourceExt;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::Status;

use super::reading::{has_label, ours_named};
use super::{Owner, api, difference};
use crate::controller::context::{Context, MANAGER};
use crate::controller::error::Error;

/// The version of no object: etcd's revisions begin at 1, before the first write. Server-side apply over an object
/// that has another version is refused, and creates where there is none.
const NO_VERSION: &str = "1";

/// What is written over.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Over {
    /// Nothing of this name may be there.
    Nothing,
    /// The object with this uid.
    This(String),
}

/// Makes `planned` what there is; no write, where `live` is as planned.
///
/// # Errors
/// [`Error::Foreign`] when there is an object of this name that belongs to somebody else.
pub(super) async fn apply_one(
    ctx: &Context,
    owner: &Owner,
    kind: &ApiResource,
    planned: &DynamicObject,
    live: Option<DynamicObject>,
) -> Result<DynamicObject, Error> {
    let over = match live {
        Some(live) if !difference::differs(planned, &live) => return Ok(live),
        Some(live) => Over::This(live.uid().unwrap_or_default()),
        None => Over::Nothing,
    };
    let name = planned.name_any();
    let refusal = match write(ctx, owner, kind, planned, &over).await {
        Err(kube::Error::Api(refusal)) if is_another(&refusal) => refusal,
        answer => return answer.map_err(Error::kubernetes(format!("apply {} {name}", kind.kind))),
    };
    let found = ours_named(&api(ctx, owner, kind), owner, kind, &name).await?;
    let behind = found.as_ref().is_some_and(|found| over == Over::Nothing && has_label(found, owner));
    if let Some(found) = &found {
        ctx.owned.wrote(kind, found);
    }
    let next = found.map_or(Over::Nothing, |found| Over::This(found.uid().unwrap_or_default()));
    // What was planned without knowing of our own object (a password may be new) is planned again.
    if behind || next == over {
        return Err(Error::kubernetes(format!("apply {} {name}", kind.kind))(kube::Error::Api(refusal)));
    }
    let answer = write(ctx, owner, kind, planned, &next).await;
    answer.map_err(Error::kubernetes(format!("apply {} {name}", kind.kind)))
}

async fn write(
    ctx: &Context,
    owner: &Owner,
    kind: &ApiResource,
    planned: &DynamicObject,
    over: &Over,
) -> kube::Result<DynamicObject> {
    let name = planned.name_any();
    let mut planned = planned.clone();
    match over {
        Over::Nothing => planned.metadata.resource_version = Some(NO_VERSION.to_owned()),
        Over::This(uid) => planned.metadata.uid = Some(uid.clone()),
    }
    tracing::info!(object.kind = kind.kind, object.name = name, "applying {} {name}", kind.kind);
    ctx.metrics.wrote(&kind.kind, "apply");
    // Forced: what the plan states is ours, whoever set it last.
    let params = PatchParams::apply(MANAGER).force();
    let written = api(ctx, owner, kind).patch(&name, &params, &Patch::Apply(&planned)).await?;
    ctx.owned.wrote(kind, &written);
    Ok(written)
}

/// Whether what is there, or that nothing is, is not what was to be written over. Another uid is told as a field that
/// cannot change; all else as a conflict.
fn is_another(refusal: &Status) -> bool {
    let causes = refusal.details.iter().flat_map(|details| &details.causes);
    refusal.is_conflict() || causes.into_iter().any(|cause| cause.field == "metadata.uid")
}

/// Deletes `object`, and nothing that has taken its place.
pub(super) async fn delete(
    ctx: &Context,
    owner: &Owner,
    kind: &ApiResource,
    object: &DynamicObject,
) -> Result<(), Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let name = object.name_any();
    tracing::info!(object.kind = kind.kind, object.name = name, "removing {} {name}", kind.kind);
    ctx.metrics.wrote(&kind.kind, "delete");
    // The very object that was looked at, not a successor; and its pods with it, which Jobs leave behind else.
    let params =
        DeleteParams::background().preconditions(Preconditions { uid: object.uid(), resource_version: None });
    match api(ctx, owner, kind).delete(&name, &params).await {
        Ok(answer) => match answer.left().filter(|left| left.metadata.deletion_timestamp.is_some()) {
            // It goes when whoever has a finalizer on it lets it go.
            Some(left) => ctx.owned.wrote(kind, &left),
            None => ctx.owned.deleted(kind, object),
        },
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() => ctx.owned.deleted(kind, object),
        Err(kube::Error::Api(refusal)) if refusal.is_conflict() => {}
        Err(error) => return Err(Error::kubernetes(format!("delete {} {name}", kind.kind))(error)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(code: u16, field: &str) -> Status {
        let details =
            json!({"causes": [{"reason": "FieldValueInvalid", "message": "immutable", "field": field}]});
        serde_json::from_value(json!({
            "status": "Failure", "code": code, "reason": if code == 409 { "Conflict" } else { "Invalid" },
            "message": "no", "details": details
        }))
        .unwrap()
    }

    #[test]
    fn another_object_is_told_by_a_conflict_or_by_its_uid() {
        assert!(is_another(&refusal(409, "")));
        assert!(is_another(&refusal(422, "metadata.uid")));
        assert!(!is_another(&refusal(422, "spec.replicas")));
    }
}
