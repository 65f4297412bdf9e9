//! What there is: from what the watches have told, else from the apiserver.

use std::time::Instant;

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::{OWNER_LABEL, Owner, api, json, type_of};
use crate::controller::context::Context;
use crate::controller::error::Error;

/// The objects of kind `K` that belong to `owner`.
///
/// # Errors
/// [`Error::Kubernetes`] when they have to be listed and cannot be; [`Error::Encoding`] when one is none of that kind.
pub async fn owned<K>(ctx: &Context, owner: &Owner) -> Result<Vec<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
{
    let all = existing(ctx, owner, &ApiResource::erase::<K>(&())).await?;
    let typed = |object: &DynamicObject| {
        let what = format!("{} {}", K::kind(&()), object.name_any());
        serde_json::from_value(json(object)).map_err(|source| Error::Encoding { what, source })
    };
    all.iter().map(typed).collect()
}

/// The objects of `kind` that belong to `owner`.
pub(super) async fn existing(
    ctx: &Context,
    owner: &Owner,
    kind: &ApiResource,
) -> Result<Vec<DynamicObject>, Error> {
    match ctx.owned.of(kind, owner) {
        Some(known) => Ok(known),
        None => list(ctx, owner, kind).await,
    }
}

async fn list(ctx: &Context, owner: &Owner, kind: &ApiResource) -> Result<Vec<DynamicObject>, Error> {
    let (begun, mine) =
        (Instant::now(), ListParams::default().labels(&format!("{OWNER_LABEL}={}", owner.uid)));
    let list = match api(ctx, owner, kind).list(&mine).await {
        Ok(list) => list.items,
        // A kind that is not served any more has no objects.
        Err(kube::Error::Api(refusal)) if refusal.code == 404 => Vec::new(),
        Err(error) => return Err(Error::kubernetes(format!("list {}", kind.plural))(error)),
    };
    ctx.owned.listed(kind, owner, &list, begun);
    // The items of a list of built-in kinds do not say of which kind they are.
    let typed = |object| DynamicObject { types: Some(type_of(kind)), ..object };
    Ok(list.into_iter().map(typed).collect())
}

/// The object that has this name, whoever made it.
///
/// # Errors
/// [`Error::Foreign`] when it belongs to somebody else: server-side apply would take it over.
pub(super) async fn ours_named(
    api: &Api<DynamicObject>,
    owner: &Owner,
    kind: &ApiResource,
    name: &str,
) -> Result<Option<DynamicObject>, Error> {
    let found = api.get_opt(name).await.map_err(Error::kubernetes(format!("read {} {name}", kind.kind)))?;
    match found {
        Some(object) if !is_ours(&object, owner) => {
            Err(Error::Foreign { kind: kind.kind.clone(), name: name.to_owned() })
        }
        found => Ok(found),
    }
}

/// One that carries our owner reference is ours as well: its label was lost.
fn is_ours(object: &DynamicObject, owner: &Owner) -> bool {
    has_label(object, owner) || object.owner_references().iter().any(|reference| reference.uid == owner.uid)
}

/// Whether it is among what belongs to `owner` by its label, and so watched.
pub(super) fn has_label(object: &DynamicObject, owner: &Owner) -> bool {
    object.labels().get(OWNER_LABEL) == Some(&owner.uid)
}
