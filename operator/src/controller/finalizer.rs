//! Our finalizer: there while deleting an object has work outside Kubernetes, and only then, so that
//! everything else can be deleted while the operator is away.

use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::context::Context;
use super::error::Error;
use crate::crd::FINALIZER;

/// Whether deleting an object has work for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// The finalizer has to be there.
    Needed,
    /// It must not be there.
    NotNeeded,
}

/// Whether `object` carries our finalizer.
pub fn is_set<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// What became of our finalizer.
#[derive(Debug)]
pub enum Set<K> {
    /// It is as wanted already; no call was made.
    Already,
    /// The object as it is now.
    Written(Box<K>),
    /// The object is gone: whoever went on would make what nobody removes.
    Gone,
}

/// Adds or removes our finalizer. Other finalizers stay as they are.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver refuses; an object that is gone is no error.
pub async fn set<K>(ctx: &Context, object: &K, wanted: Cleanup) -> Result<Set<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let finalizers: Vec<&String> = match (wanted, is_set(object)) {
        (Cleanup::Needed, true) | (Cleanup::NotNeeded, false) => return Ok(Set::Already),
        (Cleanup::Needed, false) => object.finalizers().iter().collect(),
        (Cleanup::NotNeeded, true) => object.finalizers().iter().filter(|name| *name != FINALIZER).collect(),
    };
    let mut finalizers: Vec<String> = finalizers.into_iter().cloned().collect();
    if wanted == Cleanup::Needed {
        finalizers.push(FINALIZER.to_owned());
    }
    // The list is replaced as a whole, so the version it was read at must still be current.
    let metadata = json!({"finalizers": finalizers, "resourceVersion": object.resource_version()});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    ctx.metrics.wrote(&K::kind(&()), "finalizer");
    match api.patch(&name, &PatchParams::default(), &patch).await {
        Ok(updated) => {
            ctx.superseded.wrote(object, &updated);
            Ok(Set::Written(Box::new(updated)))
        }
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() => Ok(Set::Gone),
        Err(error) => Err(Error::kubernetes(format!("set the finalizer of {namespace}/{name}"))(error)),
    }
}
