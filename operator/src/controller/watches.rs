//! Whether the watches make progress: the truth behind `/livez`.
//!
//! A watch can die without a word, and an operator that no longer sees changes looks healthy from outside.
//! So the cache is audited: once a minute the objects' versions are listed (metadata only, from the
//! apiserver's cache) and compared; those of what belongs to pipelines as often as these are looked at. An
//! object of which the list knew more a round ago, and knows more still, while its cached version has not moved,
//! was missed. Of what our cache knows more, it is the list that is late: one of several apiservers may answer it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::{Api, ResourceExt};

use super::context::Context;
use super::runner::Kind;

/// A watch delivers within a second or so; a minute of silence about a change is no delay but a loss.
const AUDIT_INTERVAL: Duration = Duration::from_secs(60);

/// Version of each object, by uid.
pub type Versions = BTreeMap<String, String>;

/// State of each watch of ours.
#[derive(Debug, Default)]
pub struct Watches {
    synced: Mutex<BTreeMap<&'static str, bool>>,
    stuck: Mutex<BTreeSet<&'static str>>,
}

impl Watches {
    /// Announces a watch, so that readiness waits for its first list.
    pub fn expect(&self, name: &'static str) {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(false);
    }

    /// The watch has seen its first list.
    pub fn synced(&self, name: &'static str) {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner).insert(name, true);
    }

    fn set_stuck(&self, name: &'static str, stuck: bool) {
        let mut all = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        if stuck {
            all.insert(name)
        } else {
            all.remove(name)
        };
    }

    /// Watches that have not seen their first list; readiness is their absence.
    pub fn unsynced(&self) -> Vec<&'static str> {
        let all = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(_, synced)| !**synced).map(|(name, _)| *name).collect()
    }

    /// Watches that have missed a change; liveness is their absence.
    pub fn stuck(&self) -> Vec<&'static str> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// Audits the cache of `K` for as long as it is polled.
pub async fn audit<K: Kind>(name: &'static str, store: Store<K>, ctx: Arc<Context>) {
    if store.wait_until_ready().await.is_ok() {
        ctx.watches.synced(name);
    }
    compare(name, &ctx, AUDIT_INTERVAL, || cached_versions(&store), || listed_versions::<K>(&ctx)).await;
}

/// Audits a cache every `interval`, for as long as it is polled: what it holds is `cached`, what there is `listed`.
pub async fn compare<F>(
    name: &'static str,
    ctx: &Context,
    interval: Duration,
    cached: impl Fn() -> Versions,
    listed: impl Fn() -> F,
) where
    F: Future<Output = kube::Result<Versions>>,
{
    let mut suspects = Versions::new();
    loop {
        tokio::time::sleep(interval).await;
        let found = cached();
        match listed().await {
            Ok(listed) => {
                let behind = behind(&found, &listed);
                let missed = missed(&suspects, &behind);
                ctx.watches.set_stuck(name, missed);
                if missed {
                    let message = "the watch has missed a change; the process should be restarted";
                    tracing::error!(controller = name, "{message}");
                }
                suspects = behind;
            }
            // No list, no judgement: an apiserver that is away is no reason to restart.
            Err(error) => {
                suspects.clear();
                ctx.watches.set_stuck(name, false);
                let error: &dyn std::error::Error = &error;
                tracing::debug!(controller = name, error, "cache not audited");
            }
        }
    }
}

fn cached_versions<K: Kind>(store: &Store<K>) -> Versions {
    store.state().iter().filter_map(|object| version(&**object)).collect()
}

async fn listed_versions<K: Kind>(ctx: &Context) -> kube::Result<Versions> {
    let api: Api<PartialObjectMeta<K>> = ctx.watched();
    // Any version: from the apiserver's cache, without asking etcd.
    let list = api.list_metadata(&ListParams::default().match_any()).await?;
    Ok(list.iter().filter_map(version).collect())
}

/// Uid and version of an object.
pub fn version<K: kube::Resource>(object: &K) -> Option<(String, String)> {
    Some((object.uid()?, object.resource_version()?))
}

/// Whether an object is behind with the same version as a round ago.
fn missed(suspects: &Versions, behind: &Versions) -> bool {
    suspects.iter().any(|suspect| behind.get(suspect.0) == Some(suspect.1))
}

/// Cached versions (empty where there is none) of the objects of which the list knows more than the cache. One that
/// the list lacks is gone, unless the list is late.
fn behind(cached: &Versions, listed: &Versions) -> Versions {
    let uids: BTreeSet<&String> = cached.keys().chain(listed.keys()).collect();
    uids.into_iter()
        .filter(|uid| match (cached.get(*uid), listed.get(*uid)) {
            (Some(cached), Some(listed)) => cached != listed && !is_newer(cached, listed),
            (cached, listed) => cached != listed,
        })
        .map(|uid| (uid.clone(), cached.get(uid).cloned().unwrap_or_default()))
        .collect()
}

/// Versions of one kind are numbers that grow: a promise of Kubernetes since 1.35, and true of etcd's revisions before.
fn is_newer(one: &str, other: &str) -> bool {
    matches!((one.parse::<u64>(), other.parse::<u64>()), (Ok(one), Ok(other)) if one > other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(pairs: &[(&str, &str)]) -> Versions {
        pairs.iter().map(|(uid, version)| ((*uid).to_owned(), (*version).to_owned())).collect()
    }

    #[test]
    fn suspects_are_changed_added_and_deleted_objects() {
        let cached = versions(&[("same", "1"), ("changed", "9"), ("deleted", "1")]);
        let listed = versions(&[("same", "1"), ("changed", "10"), ("added", "1")]);

        assert_eq!(behind(&cached, &listed), versions(&[("changed", "9"), ("deleted", "1"), ("added", "")]));
    }

    #[test]
    fn what_the_cache_knows_better_than_a_late_list_is_not_missed() {
        let late = versions(&[("ours", "9")]);

        assert!(behind(&versions(&[("ours", "10")]), &late).is_empty());
    }

    #[test]
    fn only_a_change_that_never_arrived_is_missed() {
        let suspects = versions(&[("changed", "1"), ("deleted", "1"), ("added", "")]);

        assert!(missed(&suspects, &versions(&[("changed", "1")])));
        assert!(missed(&suspects, &versions(&[("deleted", "1")])));
        assert!(missed(&suspects, &versions(&[("added", "")])));
        assert!(!missed(&suspects, &versions(&[("changed", "2")])), "it arrived, and another is under way");
        assert!(!missed(&suspects, &versions(&[("another", "1")])), "a late list has caught up");
        assert!(!missed(&Versions::new(), &suspects));
    }

    #[test]
    fn readiness_waits_for_every_announced_watch() {
        let watches = Watches::default();
        watches.expect("kafkatopic");

        assert_eq!(watches.unsynced(), ["kafkatopic"]);
        watches.synced("kafkatopic");
        assert!(watches.unsynced().is_empty());
    }
}
