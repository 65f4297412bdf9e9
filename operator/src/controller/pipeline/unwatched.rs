//! Kinds of others that are not served everywhere: KEDA's, the Gateway API's. They come and go without a word and are
//! not watched; a pass asks for them where it matters to.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};

use crate::build::Availability;
use crate::controller::apply::{Applied, OWNER_LABEL, Owner, Planned, Resources};
use crate::controller::context::Context;
use crate::controller::error::{Error, is_absent};

/// The owners that may have objects of such kinds, by uid. It spares everybody else the question. Whoever is not among
/// them has none, since nobody but us gives anybody any.
#[derive(Debug, Default)]
pub struct UnwatchedOwners(Mutex<Owners>);

#[derive(Debug, Default)]
struct Owners {
    /// Whether it is known who had some before this process.
    complete: bool,
    uids: BTreeSet<String>,
}

impl UnwatchedOwners {
    /// Whether `owner` may have some.
    fn may_have(&self, owner: &Owner) -> bool {
        let owners = self.owners();
        !owners.complete || owners.uids.contains(owner.uid())
    }

    /// `owner` is about to have some.
    fn add(&self, owner: &Owner) {
        self.owners().uids.insert(owner.uid().to_owned());
    }

    /// The owner with this uid has none any more.
    pub(super) fn forget(&self, uid: &str) {
        self.owners().uids.remove(uid);
    }

    /// Finds out who has objects of `kinds` already.
    pub(super) async fn find<const N: usize>(&self, ctx: &Context, kinds: [ApiResource; N]) {
        loop {
            match try_join_all(kinds.iter().map(|kind| owners_of(ctx, kind))).await {
                Ok(found) => {
                    let mut owners = self.owners();
                    owners.uids.extend(found.into_iter().flatten());
                    owners.complete = true;
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, ?kinds, "who has such objects is not known, will be asked again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Applies `resources`, to which these objects of `owner` belong, and keeps book of whether it has some: some are
    /// `wanted` now, or may be left from before where they are `served` to us.
    ///
    /// # Errors
    /// See [`Resources::apply`].
    pub(super) async fn apply(
        &self,
        ctx: &Context,
        owner: &Owner,
        resources: Resources<Planned>,
        wanted: bool,
        served: Availability,
    ) -> Result<Resources<Applied>, Error> {
        if wanted {
            // Before there is any.
            self.add(owner);
        }
        let applied = resources.apply(ctx).await?;
        if !wanted && served == Availability::Served && applied.removed() == 0 {
            self.forget(owner.uid());
        }
        Ok(applied)
    }

    /// Whether objects of `kind` can be had by `owner`. Asked where they are wanted, or there may be some, only.
    ///
    /// # Errors
    /// [`Error::Kubernetes`] when the apiserver does not say.
    pub(super) async fn availability(
        &self,
        ctx: &Context,
        owner: &Owner,
        kind: &ApiResource,
        wanted: bool,
    ) -> Result<Availability, Error> {
        if !wanted && !self.may_have(owner) {
            return Ok(Availability::Absent);
        }
        let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), owner.namespace(), kind);
        match api.list_metadata(&ListParams::default().limit(1)).await {
            Ok(_) => Ok(Availability::Served),
            Err(kube::Error::Api(refusal)) if is_absent(&refusal) => Ok(Availability::Absent),
            Err(error) => Err(Error::kubernetes(format!("list {}", kind.plural))(error)),
        }
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owners of all objects of `kind`.
async fn owners_of(ctx: &Context, kind: &ApiResource) -> kube::Result<Vec<String>> {
    let api: Api<DynamicObject> = ctx.watched_kind(kind);
    match api.list_metadata(&ListParams::default().labels(OWNER_LABEL)).await {
        Ok(list) => Ok(list.iter().filter_map(|object| object.labels().get(OWNER_LABEL).cloned()).collect()),
        Err(kube::Error::Api(refusal)) if is_absent(&refusal) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
