//! Versions of objects that this process has itself written over. A watch shows a write a moment after its answer,
//! and a pass over the version before would do, and write, the same once more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::{Resource, ResourceExt};

/// Versions that were written over, by the uid of their object; forgotten once the watch shows a later one.
#[derive(Debug, Default)]
pub struct Superseded {
    versions: Mutex<HashMap<String, Vec<String>>>,
}

impl Superseded {
    /// `before` became `after` by a write of ours.
    pub fn wrote<K: Resource>(&self, before: &K, after: &K) {
        let (Some(uid), Some(old)) = (before.uid(), before.resource_version()) else { return };
        // A write that changes nothing leaves the version, and no event follows it.
        if after.resource_version().as_ref() != Some(&old) {
            self.versions.lock().unwrap_or_else(PoisonError::into_inner).entry(uid).or_default().push(old);
        }
    }

    /// Whether `object` was written over, so that the event of a later version is on its way. A watch never goes back:
    /// once it shows another version, those before are forgotten.
    pub fn is<K: Resource>(&self, object: &K) -> bool {
        let (uid, version) =
            (object.uid().unwrap_or_default(), object.resource_version().unwrap_or_default());
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let superseded = versions.get(&uid).is_some_and(|old| old.contains(&version));
        if !superseded {
            versions.remove(&uid);
        }
        superseded
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn version(version: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            uid: Some("a".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    #[test]
    fn what_was_written_over_is_superseded_until_the_watch_shows_a_later_version() {
        let superseded = Superseded::default();
        superseded.wrote(&version("1"), &version("2"));
        superseded.wrote(&version("2"), &version("3"));

        assert!(superseded.is(&version("1")));
        assert!(superseded.is(&version("2")));
        assert!(!superseded.is(&version("3")));
        assert!(superseded.versions.lock().unwrap().is_empty());
    }

    #[test]
    fn a_write_that_changed_nothing_supersedes_nothing() {
        let superseded = Superseded::default();

        superseded.wrote(&version("1"), &version("1"));

        assert!(!superseded.is(&version("1")));
    }

    #[test]
    fn a_later_version_of_somebody_else_is_not_superseded() {
        let superseded = Superseded::default();
        superseded.wrote(&version("1"), &version("2"));

        assert!(!superseded.is(&version("7")));
        assert!(!superseded.is(&version("1")), "a watch does not go back");
    }
}
