//! Secrets of others, each read by name when it is needed, and kept for as long as a watch tells that it has not
//! changed. The watch sees metadata only, so that the operator holds no Secret that no spec names.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use secrecy::SecretSlice;

use super::changes::{Changes, Teller};
use super::error::Error;
use super::strimzi::Key;

/// Where nobody watches, a Secret is read once for all objects that need it at about the same time, and that it was
/// changed is noticed this late.
const UNWATCHED_TTL: Duration = Duration::from_secs(10);
/// What nobody has asked for in so long is not kept: nobody may name it any more. Longer than a resync takes.
const IDLE_LIMIT: Duration = Duration::from_secs(1800);

/// What stands in a Secret.
#[derive(Debug)]
pub struct Contents {
    /// Its uid.
    pub uid: Option<String>,
    /// Its version.
    pub resource_version: Option<String>,
    /// Its values.
    pub keys: BTreeMap<String, SecretSlice<u8>>,
}

impl From<Secret> for Contents {
    fn from(secret: Secret) -> Self {
        let (uid, resource_version) = (secret.uid(), secret.resource_version());
        let data = secret.data.unwrap_or_default();
        Self {
            uid,
            resource_version,
            keys: data.into_iter().map(|(key, bytes)| (key, bytes.0.into())).collect(),
        }
    }
}

/// Reads Secrets.
pub struct Secrets {
    client: Client,
    kept: Mutex<Kept>,
    changes: Teller<Key>,
}

#[derive(Default)]
struct Kept {
    by_name: HashMap<Key, Entry>,
    is_watched: bool,
    /// Counts what the watch told: what was read meanwhile may be from before.
    told: u64,
}

struct Entry {
    contents: Arc<Contents>,
    read: Instant,
    used: Instant,
}

impl Secrets {
    /// Reads through `client`.
    pub fn new(client: Client) -> Self {
        Self { client, kept: Mutex::default(), changes: Teller::default() }
    }

    /// What stands in this Secret; none where there is none.
    ///
    /// # Errors
    /// [`Error::Kubernetes`] when it cannot be read.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<Arc<Contents>>, Error> {
        let id: Key = (namespace.to_owned(), name.to_owned());
        let told = {
            let mut kept = self.kept();
            if let Some(known) = kept.get(&id, Instant::now()) {
                return Ok(Some(known));
            }
            kept.told
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name).await;
        let found = found.map_err(Error::kubernetes(format!("read Secret {namespace}/{name}")))?;
        let found = found.map(|secret| Arc::new(Contents::from(secret)));
        if let Some(contents) = &found {
            self.kept().put(id, Arc::clone(contents), told, Instant::now());
        }
        Ok(found)
    }

    /// The Secrets that change from now on, as far as a watch tells.
    pub fn changes(&self) -> Changes<Key> {
        self.changes.changes()
    }

    /// This Secret has changed: whoever asks for it next reads it anew.
    pub fn forget(&self, secret: &Key) {
        {
            let mut kept = self.kept();
            kept.told += 1;
            kept.by_name.remove(secret);
        }
        self.changes.tell(secret.clone());
    }

    /// The watch has listed all Secrets. Whatever happened before, nothing is told of any more.
    pub fn listed(&self) {
        let mut kept = self.kept();
        kept.told += 1;
        kept.is_watched = true;
        kept.by_name.clear();
    }

    /// The watch tells nothing any more.
    pub fn unwatched(&self) {
        self.kept().is_watched = false;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&mut self, id: &Key, now: Instant) -> Option<Arc<Contents>> {
        let is_watched = self.is_watched;
        let entry = self.by_name.get_mut(id)?;
        if !is_watched && now.duration_since(entry.read) >= UNWATCHED_TTL {
            return None;
        }
        entry.used = now;
        Some(Arc::clone(&entry.contents))
    }

    /// Keeps what was read; `told` is how much the watch had told before.
    fn put(&mut self, id: Key, contents: Arc<Contents>, told: u64, now: Instant) {
        let is_watched = self.is_watched;
        self.by_name.retain(|_, entry| {
            let (since, limit) =
                if is_watched { (entry.used, IDLE_LIMIT) } else { (entry.read, UNWATCHED_TTL) };
            now.duration_since(since) < limit
        });
        if self.told == told {
            self.by_name.insert(id, Entry { contents, read: now, used: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Key {
        ("shop".to_owned(), "admin".to_owned())
    }

    fn contents() -> Arc<Contents> {
        Arc::new(Contents::from(Secret::default()))
    }

    #[test]
    fn a_secret_is_kept_for_as_long_as_it_is_watched_and_asked_for() {
        let (mut kept, start) = (Kept { is_watched: true, ..Kept::default() }, Instant::now());
        kept.put(id(), contents(), 0, start);

        let later = start + IDLE_LIMIT - Duration::from_secs(1);
        assert!(kept.get(&id(), later).is_some());
        kept.put(("shop".to_owned(), "other".to_owned()), contents(), 0, later + UNWATCHED_TTL);
        assert!(kept.get(&id(), later + UNWATCHED_TTL).is_some());

        kept.is_watched = false;
        assert!(kept.get(&id(), later + UNWATCHED_TTL).is_none());
        kept.is_watched = true;
        kept.put(("shop".to_owned(), "third".to_owned()), contents(), 0, later + 2 * IDLE_LIMIT);
        assert!(!kept.by_name.contains_key(&id()));
    }

    #[test]
    fn what_was_read_while_the_watch_told_of_a_change_is_not_kept() {
        let (mut kept, now) = (Kept { is_watched: true, ..Kept::default() }, Instant::now());
        let before = kept.told;

        kept.told += 1;
        kept.put(id(), contents(), before, now);

        assert!(kept.get(&id(), now).is_none());
    }
}
