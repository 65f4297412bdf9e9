//! The watch of one kind of what belongs to owners.

use futures::{Stream, StreamExt, stream};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};

use super::{Change, Owned, Trust};
use crate::controller::apply::OWNER_LABEL;
use crate::controller::error::is_absent;

/// Keeps in `owned` what `api` has of `kind` and carries an owner's label, for as long as it is polled; tells the
/// changes that were not of our own making. It does not end.
pub fn changes<'a>(
    owned: &'a Owned,
    api: Api<DynamicObject>,
    kind: &'a ApiResource,
) -> impl Stream<Item = Change> + Send + 'a {
    let watched = Watched { owned, kind };
    // The first list is the most recent one, not any that a cache of the apiserver happens to have: whoever takes
    // over must see what the one before it wrote last.
    let ours = watcher::Config::default().labels(OWNER_LABEL);
    let events = watcher(api, ours).default_backoff();
    events.flat_map(move |event| {
        stream::iter(match event {
            Ok(event) => watched.owned.observe(watched.kind, event),
            Err(error) => {
                watched.failed(&error);
                Vec::new()
            }
        })
    })
}

/// A kind while it is watched: nothing is known of it afterwards.
struct Watched<'a> {
    owned: &'a Owned,
    kind: &'a ApiResource,
}

impl Watched<'_> {
    /// The watch has failed. One that was only cut off is resumed where it was; without a list, or the right to
    /// watch, what is known is not to be relied on until there is a list again.
    fn failed(&self, error: &watcher::Error) {
        let awaited = self.owned.kinds().get(self.kind).is_some_and(|known| known.trust == Trust::Awaited);
        if awaited || matches!(error, watcher::Error::InitialListFailed(_)) || is_refusal(error) {
            self.owned.set_trust(self.kind, Trust::Lost);
        }
        let error: &dyn std::error::Error = error;
        tracing::warn!(object.kind = self.kind.kind, error, "watch failed, will be resumed");
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.owned.forget(self.kind);
    }
}

/// Whether the apiserver says that there is no such kind, or that it is not for us.
pub(in crate::controller) fn is_refusal(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        watcher::Error::WatchError(status) => status,
        _ => return false,
    };
    is_absent(status)
}
