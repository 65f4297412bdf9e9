//! Looks for drift in bulk: one look at all topics of a cluster per interval, whoever owns them, and only
//! the objects whose topic is not as they left it are woken. Also the one probe of unreachable clusters.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::NAME;
use super::access;
use super::observed::{self, Sighting};
use super::registry::Entry;
use crate::controller::clusters::{Cluster, Health};
use crate::controller::context::Context;
use crate::crd::KafkaTopic;

/// Clusters are probed so often; an outage or its end is noticed this late, plus the request timeout.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// Topics in one look: a broker describes so many in some tens of milliseconds, in one request of each kind.
const LOOK_AT_MOST: usize = 1000;

type Wake = mpsc::Sender<ObjectRef<KafkaTopic>>;

/// What is remembered of a cluster between visits.
#[derive(Clone, Copy, Debug, Default)]
struct Visited {
    /// Whether it answered, as its objects were last told.
    up: Option<bool>,
    /// When its topics were last looked at.
    looked: Option<Instant>,
}

/// Probes every cluster and looks for drift, for as long as it is polled. Each cluster is visited by itself: one that
/// is silent keeps nobody waiting for the others.
pub async fn watch(ctx: Arc<Context>, wake: Wake) -> Infallible {
    let mut ticks = tokio::time::interval(PROBE_INTERVAL.min(ctx.settings.drift_interval));
    // A slow cluster must not be asked more often afterwards.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut visited: HashMap<String, Visited> = HashMap::new();
    let mut under_way = FuturesUnordered::new();
    let mut visiting: HashSet<String> = HashSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let clusters = ctx.clusters.all();
                visited.retain(|key, _| clusters.iter().any(|cluster| cluster.key() == key));
                for cluster in clusters {
                    if visiting.insert(cluster.key().to_owned()) {
                        let before = visited.get(cluster.key()).copied().unwrap_or_default();
                        let (ctx, wake) = (&ctx, &wake);
                        under_way.push(async move { (visit(ctx, &cluster, before, wake).await, cluster) });
                    }
                }
            }
            Some((visit, cluster)) = under_way.next() => {
                visiting.remove(cluster.key());
                visited.insert(cluster.key().to_owned(), visit);
            }
        }
    }
}

async fn visit(ctx: &Context, cluster: &Arc<Cluster>, before: Visited, wake: &Wake) -> Visited {
    let up = Some(matches!(cluster.probe().await, Health::Up { .. }));
    let entries = ctx.topics.of_cluster(cluster.key());
    if before.up.is_some() && before.up != up {
        // Lost or back: every object has to say so.
        wake_all(entries.into_iter().map(|(_, entry)| entry.object), wake).await;
        return Visited { up, ..before };
    }
    let due = before.looked.is_none_or(|at| at.elapsed() >= ctx.settings.drift_interval);
    if !due || up != Some(true) {
        return Visited { up, ..before };
    }
    for chunk in entries.chunks(LOOK_AT_MOST) {
        let (topics, rights) =
            futures::join!(drifted(ctx, cluster, chunk), with_other_rights(ctx, cluster, chunk));
        wake_all(topics.into_iter().chain(rights), wake).await;
    }
    Visited { up, looked: Some(Instant::now()) }
}

/// The objects among `entries` whose topic is not as they left it.
async fn drifted(
    ctx: &Context,
    cluster: &Cluster,
    entries: &[(String, Entry)],
) -> Vec<ObjectRef<KafkaTopic>> {
    let names: Vec<_> = entries.iter().map(|(_, entry)| entry.name.clone()).collect();
    let sightings = observed::look(cluster, &names).await;
    let pairs = entries.iter().zip(sightings);
    pairs
        .filter_map(|((uid, entry), sighting)| {
            let found = found(&sighting);
            ctx.topics.sighted(uid, sighting).then(|| {
                ctx.metrics.drifted(NAME, found);
                tracing::info!(kafka.topic = %entry.name, found, "topic is not as it was left");
                entry.object.clone()
            })
        })
        .collect()
}

/// The objects among `entries` whose ACLs are not as they left them.
async fn with_other_rights(
    ctx: &Context,
    cluster: &Cluster,
    entries: &[(String, Entry)],
) -> Vec<ObjectRef<KafkaTopic>> {
    let concerned: Vec<_> =
        entries.iter().filter_map(|(uid, entry)| Some((uid, entry, entry.rights.as_ref()?))).collect();
    let filters: Vec<_> = concerned.iter().map(|(_, entry, _)| access::filter(&entry.name)).collect();
    let answers = cluster.admin().describe_acls(&filters).await;
    let drifted = concerned.into_iter().zip(answers).filter(|((uid, entry, rights), answer)| match answer {
        Ok(found) => {
            let found = found.iter().filter(|binding| rights.asked.contains(*binding)).cloned().collect();
            ctx.topics.rights_sighted(uid, rights, &found)
        }
        Err(error) => {
            cluster.note(error);
            tracing::debug!(kafka.topic = %entry.name, %error, "ACLs not looked at");
            false
        }
    });
    drifted
        .map(|((_, entry, _), _)| {
            ctx.metrics.drifted(NAME, "access");
            tracing::info!(kafka.topic = %entry.name, "ACLs are not as they were left");
            entry.object.clone()
        })
        .collect()
}

/// Label of what a look found.
fn found(sighting: &Sighting) -> &'static str {
    match sighting {
        Ok(Some(_)) => "changed",
        Ok(None) => "gone",
        Err(_) => "unreadable",
    }
}

async fn wake_all(objects: impl IntoIterator<Item = ObjectRef<KafkaTopic>>, wake: &Wake) {
    for object in objects {
        // Closed means that the controller takes no more work, and will end with its last pass.
        if wake.send(object).await.is_err() {
            return;
        }
    }
}
