//! The watches of Strimzi's kinds. They come and go with Strimzi: whether they are there is asked now and then.
//!
//! A watch is refused for a moment while an apiserver starts, or loads rights anew. What is known stays until it is
//! certain that the kinds are gone: to forget it would hand Strimzi's topics to the controller of ours.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::objects::{Kafka, Key, Topic};
use super::{Change, GROUP, user_kind};
use crate::controller::apply::OWNER_LABEL;
use crate::controller::context::Context;
use crate::controller::owned::{self, is_refusal};

/// Strimzi's API versions, the newer first; both have all that is read here.
const VERSIONS: [&str; 2] = ["v1", "v1beta2"];
/// Whether Strimzi is there is asked so often; it comes and goes with a platform, not with a topic.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(300);
/// First wait after watches were refused, or after an answer that is not trusted; the next ones double.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Watches that held so long were ended by something new, which is looked into at once.
const STEADY: Duration = Duration::from_secs(60);
/// An apiserver that has just started may not have heard of all groups yet.
const ABSENCES_TO_BELIEVE: u32 = 3;

/// Keeps what is known up to date, until shutdown.
pub async fn watch(ctx: &Context) {
    tokio::select! {
        () = discover(ctx) => {}
        () = ctx.shutdown.cancelled() => {}
    }
}

async fn discover(ctx: &Context) {
    let (mut refused, mut absent) = (0, 0);
    loop {
        let wait = match served(&ctx.client).await {
            Ok(Some(version)) => {
                tracing::info!(version, "Strimzi is there; what it looks after is left to it");
                *ctx.strimzi.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
                absent = 0;
                let began = Instant::now();
                refused = match follow(ctx, version).await {
                    Followed::Listed if began.elapsed() >= STEADY => 0,
                    // Who may list and not watch would otherwise list all the time.
                    Followed::Listed | Followed::Refused => refused + 1,
                };
                retry_after(refused)
            }
            Ok(None) if ctx.strimzi.version().is_some() && absent + 1 < ABSENCES_TO_BELIEVE => {
                absent += 1;
                retry_after(absent)
            }
            Ok(None) => {
                absent = 0;
                ctx.strimzi.is_gone();
                DISCOVERY_INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "whether Strimzi is there is not known, will be asked again");
                FIRST_RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// When to ask again after so many attempts in vain: rights that are not there may never come.
fn retry_after(attempts: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(attempts)).min(DISCOVERY_INTERVAL)
}

/// The newest version in which Strimzi's topics are served, if they are.
///
/// # Errors
/// When the apiserver does not tell.
pub async fn served(client: &Client) -> kube::Result<Option<&'static str>> {
    let groups = client.list_api_groups().await?.groups;
    let Some(group) = groups.into_iter().find(|group| group.name == GROUP) else { return Ok(None) };
    for version in VERSIONS {
        if group.versions.iter().any(|served| served.version == version) {
            let resources = client.list_api_group_resources(&format!("{GROUP}/{version}")).await?.resources;
            return Ok(resources.iter().any(|resource| resource.name == "kafkatopics").then_some(version));
        }
    }
    Ok(None)
}

/// How far watches got until one of them was refused.
enum Followed {
    /// All objects were seen.
    Listed,
    /// They were not.
    Refused,
}

/// Follows all kinds until one of them is no longer to be had.
async fn follow(ctx: &Context, version: &str) -> Followed {
    let strimzi = &ctx.strimzi;
    let (topics_listed, kafkas_listed) = (watch::Sender::new(false), watch::Sender::new(false));
    let both_listed = async {
        // The senders live as long as this future.
        let _ = kafkas_listed.subscribe().wait_for(|listed| *listed).await;
        let _ = topics_listed.subscribe().wait_for(|listed| *listed).await;
        strimzi.known.send_replace(true);
        std::future::pending::<()>().await
    };
    let topics = Mirror {
        api: api(ctx, version, "KafkaTopic"),
        read: Topic::of,
        change: |topic: &Topic| Change::Topic(topic.name.clone()),
        known: &strimzi.topics,
    };
    let kafkas = Mirror {
        api: api(ctx, version, "Kafka"),
        read: Kafka::of,
        change: |_: &Kafka| Change::Everything,
        known: &strimzi.kafkas,
    };
    // Without them it is only later that users are seen to be ready.
    let kind = user_kind(version);
    let users = owned::changes(&ctx.owned, api(ctx, version, "KafkaUser"), &kind).for_each(|change| {
        if let Some(owner) = change.object.labels().get(OWNER_LABEL) {
            strimzi.tell(Change::User(owner.clone()));
        }
        ready(())
    });
    tokio::select! {
        () = topics.run(ctx, &topics_listed) => {}
        () = kafkas.run(ctx, &kafkas_listed) => {}
        () = users => {}
        () = both_listed => {}
    }
    // Not to be had: that must not keep anybody from working.
    strimzi.known.send_replace(true);
    if *topics_listed.borrow() && *kafkas_listed.borrow() { Followed::Listed } else { Followed::Refused }
}

fn api(ctx: &Context, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, kind));
    match &ctx.settings.namespace {
        Some(namespace) => Api::namespaced_with(ctx.client.clone(), namespace, &resource),
        None => Api::all_with(ctx.client.clone(), &resource),
    }
}

/// Keeps in `known` what `read` makes of each object of a kind, and tells of changes.
struct Mirror<'a, T> {
    api: Api<DynamicObject>,
    read: fn(&DynamicObject) -> Option<T>,
    change: fn(&T) -> Change,
    known: &'a Mutex<HashMap<Key, T>>,
}

impl<T: Clone + PartialEq> Mirror<'_, T> {
    /// Ends when the kind is not served any more, or may not be read.
    async fn run(self, ctx: &Context, listed: &watch::Sender<bool>) {
        let mut events = watcher(self.api.clone(), watcher::Config::default()).default_backoff().boxed();
        let mut listing: BTreeMap<Key, Option<T>> = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listing.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listing.insert(key(&object), (self.read)(&object));
                }
                Ok(watcher::Event::InitDone) => {
                    self.replace(ctx, std::mem::take(&mut listing));
                    listed.send_replace(true);
                }
                Ok(watcher::Event::Apply(object)) => self.put(ctx, key(&object), (self.read)(&object)),
                Ok(watcher::Event::Delete(object)) => self.put(ctx, key(&object), None),
                Err(error) if is_refusal(&error) => {
                    tracing::warn!(%error, "Strimzi's objects can no longer be watched");
                    return;
                }
                Err(error) => tracing::debug!(%error, "watch failed, will be resumed"),
            }
        }
    }

    /// Knows these objects from now on, and no others.
    fn replace(&self, ctx: &Context, listing: BTreeMap<Key, Option<T>>) {
        let gone: Vec<Key> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.keys().filter(|key| !listing.contains_key(*key)).cloned().collect()
        };
        gone.into_iter().for_each(|key| self.put(ctx, key, None));
        listing.into_iter().for_each(|(key, value)| self.put(ctx, key, value));
    }

    fn put(&self, ctx: &Context, key: Key, value: Option<T>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match value.clone() {
            Some(value) => known.insert(key, value),
            None => known.remove(&key),
        };
        drop(known);
        if before != value {
            // Both: a topic may have got another name.
            for one in [before, value].into_iter().flatten() {
                ctx.strimzi.tell((self.change)(&one));
            }
        }
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
