//! A thousand `KafkaTopic` objects created, changed and deleted: a real apiserver without nodes, a broker with
//! its own defaults, the operator as a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use devcluster::apiserver::{Apiserver, ApiserverOptions};
use devcluster::kafka::{Kafka, KafkaOptions, Tuning};
use devcluster::ports;
use devcluster::process::{Launcher, Process, Spec};
use devcluster::tempdir::TempDir;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, ResourceExt};
use operator::crd::KafkaTopic;
use operator::crd::conditions::{self, ConditionType};
use serde_json::json;

use crate::report::{Better, Figure};
use crate::usage::{Sample, Watched};

const NAMESPACE: &str = "default";
/// Objects that are submitted at once.
const SUBMITTED_AT_ONCE: usize = 32;
/// How long one phase may take before it counts as failed.
const PHASE_LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(20);
/// Counters that stand still for so long belong to a phase that has ended.
const QUIET: Duration = Duration::from_secs(1);

/// What the operator says that it has sent, by counter and label.
type Requests = BTreeMap<String, u64>;

/// The release build of `operator`.
pub(crate) fn binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("operator");
    ensure!(binary.exists(), "{} is missing; build it with: make bench", binary.display());
    Ok(binary)
}

struct World {
    kafka: Kafka,
    apiserver: Apiserver,
    operator: Process,
    admin: u16,
    topics: Api<KafkaTopic>,
    store: Store<KafkaTopic>,
    // Dropped last: the others have their data in it.
    _dir: TempDir,
}

/// Creates, changes and deletes `count` topics.
pub(crate) async fn measure(binary: &Path, count: usize) -> Result<Vec<Figure>> {
    eprintln!("topics: starting a broker, an apiserver and the operator");
    let world = World::start(binary).await?;
    let mut figures = Vec::new();
    for phase in ["created", "changed", "deleted"] {
        figures.extend(world.phase(phase, count).await?);
    }
    Ok(figures)
}

impl World {
    async fn start(binary: &Path) -> Result<Self> {
        let dir = TempDir::new()?;
        let mut options = KafkaOptions::for_tests(dir.path().join("kafka"), 1)?;
        options.tuning = Tuning::Throughput;
        let kafka = Kafka::start(options)?;
        let apiserver = Apiserver::start(ApiserverOptions::for_tests(dir.path().join("apiserver"))?)?;
        let kubeconfig = Kubeconfig::read_from(apiserver.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        install(&client).await?;
        let admin = ports::free([127, 0, 0, 1].into())?;
        let spec = Spec::new("operator", binary, dir.path().join("operator.log"))
            .env("KUBECONFIG", apiserver.kubeconfig())
            .env("ADMIN_ADDR", format!("127.0.0.1:{admin}"));
        let mut operator = Launcher::host().spawn(spec)?;
        operator.wait_for_port(admin, PHASE_LIMIT)?;
        let topics: Api<KafkaTopic> = Api::namespaced(client, NAMESPACE);
        let store = follow(topics.clone());
        Ok(Self { kafka, apiserver, operator, admin, topics, store, _dir: dir })
    }

    async fn phase(&self, phase: &str, count: usize) -> Result<Vec<Figure>> {
        let watched = self.watched();
        let (before, sample) = (self.requests().await?, Sample::take(&watched)?);
        let started = Instant::now();
        let submissions = (0..count).map(|number| self.submit(phase, number));
        stream::iter(submissions).buffer_unordered(SUBMITTED_AT_ONCE).try_collect::<Vec<()>>().await?;
        let submitted = started.elapsed();
        while !self.is_done(phase, count) {
            ensure!(started.elapsed() < PHASE_LIMIT, "not all topics were {phase} in {PHASE_LIMIT:?}");
            tokio::time::sleep(POLL).await;
        }
        let took = started.elapsed();
        let usage = sample.until(&Sample::take(&watched)?, &watched)?;
        let requests = difference(&self.quiet().await?, &before);
        let (kubernetes, kafka) = (sum(&requests, "rest_client"), sum(&requests, "kafka"));
        eprintln!("  {phase}: {took:.2?}, of which submission {submitted:.2?}; {requests:?}");
        let detail = json!({
            "topics": count, "submission_s": submitted.as_secs_f64(), "all_s": took.as_secs_f64(),
            "requests": requests, "usage": usage,
        });
        let name = |what: &str| format!("{count} topics {phase}, {what}");
        let after = took.saturating_sub(submitted).as_secs_f64();
        Ok(vec![
            Figure::new(name("last submission to the end"), "s", after, Better::Lower).with(detail),
            Figure::new(name("first submission to the end"), "s", took.as_secs_f64(), Better::Lower),
            Figure::new(name("requests to Kubernetes"), "per topic", ratio(kubernetes, count), Better::Lower),
            Figure::new(name("requests to Kafka"), "requests", ratio(kafka, 1), Better::Lower),
            Figure::new(name("operator memory"), "MiB", memory(&usage, "operator"), Better::Lower),
        ])
    }

    async fn submit(&self, phase: &str, number: usize) -> Result<()> {
        let name = format!("topic-{number}");
        match phase {
            "created" => drop(self.topics.create(&PostParams::default(), &self.object(&name)?).await?),
            "changed" => {
                let patch = Patch::Merge(json!({"spec": {"config": {"retention.ms": "7200000"}}}));
                self.topics.patch(&name, &PatchParams::default(), &patch).await?;
            }
            _ => drop(self.topics.delete(&name, &DeleteParams::default()).await?),
        }
        Ok(())
    }

    fn object(&self, name: &str) -> Result<KafkaTopic> {
        let spec = json!({
            "kafka": {"bootstrap": {"servers": self.kafka.bootstrap()}},
            "partitions": 1, "replicas": 1, "config": {"retention.ms": "3600000"},
            "deletionPolicy": "Delete",
        });
        let object = json!({
            "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {"name": name}, "spec": spec,
        });
        Ok(serde_json::from_value(object)?)
    }

    fn is_done(&self, phase: &str, count: usize) -> bool {
        let objects = self.store.state();
        let generation = if phase == "created" { 1 } else { 2 };
        let ready = |topic: &KafkaTopic| {
            topic.status.as_ref().is_some_and(|status| {
                status.observed_generation >= generation
                    && conditions::is_true(&status.conditions, ConditionType::Ready)
            })
        };
        match phase {
            "deleted" => objects.is_empty(),
            _ => objects.iter().filter(|topic| ready(topic)).count() == count,
        }
    }

    async fn requests(&self) -> Result<Requests> {
        let text = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.admin)).await?.text().await?;
        Ok(text.lines().filter_map(counter).fold(Requests::new(), |mut all, (name, count)| {
            *all.entry(name).or_default() += count;
            all
        }))
    }

    /// The counters once they stand still.
    async fn quiet(&self) -> Result<Requests> {
        let mut before = self.requests().await?;
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.requests().await?;
            if sum(&now, "rest_client") == sum(&before, "rest_client") {
                return Ok(now);
            }
            before = now;
        }
    }

    fn watched(&self) -> Vec<Watched> {
        let named = |name: &str, pid: i32| Watched { name: name.to_owned(), pid: pid.unsigned_abs() };
        let apiserver = self.apiserver.process_id().map(|id| named("apiserver", id.pid));
        let kafka = self.kafka.process_ids().into_iter().map(|id| named("kafka", id.pid));
        std::iter::once(named("operator", self.operator.id().pid)).chain(apiserver).chain(kafka).collect()
    }
}

async fn install(client: &Client) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in operator::crd::all() {
        api.patch(&crd.name_any(), &PatchParams::apply("bench").force(), &Patch::Apply(&crd)).await?;
    }
    let (topics, started): (Api<KafkaTopic>, _) = (Api::all(client.clone()), Instant::now());
    while topics.list(&kube::api::ListParams::default()).await.is_err() {
        ensure!(started.elapsed() < PHASE_LIMIT, "the apiserver does not serve the CRDs");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// A mirror of all objects.
fn follow(topics: Api<KafkaTopic>) -> Store<KafkaTopic> {
    let (store, writer) = reflector::store();
    let events = watcher(topics, watcher::Config::default()).default_backoff().reflect(writer);
    // Ends with the process.
    drop(tokio::spawn(events.for_each(|_| std::future::ready(()))));
    store
}

/// A line of the operator's metrics that counts requests: what by, and how many.
fn counter(line: &str) -> Option<(String, u64)> {
    let (labels, count) = line.rsplit_once(' ')?;
    let label = |name: &str| labels.split(&format!("{name}=\"")).nth(1)?.split('"').next();
    let name = if labels.starts_with("rest_client_requests_total{") {
        format!("rest_client {}", label("method")?)
    } else if labels.starts_with("orderpipeline_operator_kafka_requests_total{") {
        format!("kafka {}", label("request")?)
    } else {
        return None;
    };
    Some((name, count.parse().ok()?))
}

fn difference(now: &Requests, before: &Requests) -> Requests {
    let since = |(name, count): (&String, &u64)| {
        (name.clone(), count.saturating_sub(before.get(name).copied().unwrap_or_default()))
    };
    now.iter().map(since).filter(|(_, count)| *count > 0).collect()
}

fn sum(requests: &Requests, prefix: &str) -> u64 {
    requests.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| count).sum()
}

fn memory(usage: &BTreeMap<String, crate::usage::Usage>, name: &str) -> f64 {
    usage.get(name).map_or(0.0, |usage| usage.memory_mib)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn ratio(count: u64, of: usize) -> f64 {
    count as f64 / of as f64
}
