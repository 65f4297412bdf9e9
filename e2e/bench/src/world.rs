//! What the operator is measured in: a broker with its own defaults, an apiserver without nodes, and the operator as
//! a process of its own, which another one with other settings can take over from.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use devcluster::apiserver::{Apiserver, ApiserverOptions};
use devcluster::kafka::{Kafka, KafkaOptions, Tuning};
use devcluster::ports;
use devcluster::process::{Launcher, Process, Spec};
use devcluster::tempdir::TempDir;
use futures::{StreamExt, TryStreamExt, stream};
use hyper::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource, ResourceExt};
use operator::controller::runner::Kind;
use operator::crd::{KafkaTopic, OrderPipeline};

use crate::cost::{Cost, Per, Reading};
use crate::counts::{self, Counts};
use crate::report::{Better, Figure};
use crate::usage::{Sample, Watched};

const NAMESPACE: &str = "default";
/// Objects that are submitted at once.
const SUBMITTED_AT_ONCE: usize = 32;
/// How long anything here may take before it counts as failed.
const LIMIT: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(20);
/// Counters that stand still for so long belong to something that has ended.
const QUIET: Duration = Duration::from_secs(2);
/// How long passes under way may take to end when the operator is stopped.
const GRACE: Duration = Duration::from_secs(20);
/// The longest that a setting of the operator takes, in seconds.
pub(crate) const NEVER: &str = "86400";
/// A resync that is measured, in seconds: long enough that one is over before the next begins, which is up to a fifth
/// of it and the time of the first pass over all objects.
const RESYNC: &str = "60";

/// Environment variables of the operator that are not as by default.
pub(crate) type Settings = [(&'static str, &'static str)];

/// The build of `operator` beside this program.
pub(crate) fn binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("operator");
    ensure!(binary.exists(), "{} is missing; build it with: make bench", binary.display());
    Ok(binary)
}

pub(crate) struct World {
    pub(crate) kafka: Kafka,
    pub(crate) client: Client,
    apiserver: Apiserver,
    operator: Process,
    binary: PathBuf,
    admin: u16,
    // Dropped last: the others have their data in it.
    dir: TempDir,
}

impl World {
    pub(crate) async fn start(binary: &Path, settings: &Settings) -> Result<Self> {
        eprintln!("  starting a broker, an apiserver and the operator");
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
        let operator = launch(binary, admin, &apiserver, dir.path(), settings)?;
        Ok(Self { kafka, client, apiserver, operator, binary: binary.to_owned(), admin, dir })
    }

    /// Ends the operator and starts another one.
    fn replace_operator(&mut self, settings: &Settings) -> Result<()> {
        self.operator.stop(GRACE);
        self.operator = launch(&self.binary, self.admin, &self.apiserver, self.dir.path(), settings)?;
        Ok(())
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Submits everything and waits until it `is_done`; the figures are about `what`.
    pub(crate) async fn phase<F: Future<Output = Result<()>>>(
        &self,
        what: &str,
        per: Per,
        submissions: impl Iterator<Item = F>,
        is_done: impl Fn() -> bool,
    ) -> Result<Vec<Figure>> {
        let before = self.read().await?;
        let started = Instant::now();
        stream::iter(submissions).buffer_unordered(SUBMITTED_AT_ONCE).try_collect::<Vec<()>>().await?;
        let submitted = started.elapsed();
        while !is_done() {
            ensure!(started.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
            tokio::time::sleep(POLL).await;
        }
        let took = started.elapsed();
        let cost = self.since(&before).await?;
        eprintln!("  {what}: {took:.2?}, of which submission {submitted:.2?}; {:?}", cost.operator);
        let after = took.saturating_sub(submitted).as_secs_f64();
        let time =
            |of: &str, seconds| Figure::new(format!("{what}, {of} to the end"), "s", seconds, Better::Lower);
        let mut figures = vec![time("last submission", after), time("first submission", took.as_secs_f64())];
        figures.extend(cost.figures(what, per, 1));
        Ok(figures)
    }

    /// What it costs that another operator takes over, and then one resync of all `objects` of a controller while
    /// none of them changes and nobody looks for drift.
    pub(crate) async fn resync(
        &mut self,
        what: &str,
        per: Per,
        controller: &str,
        objects: u64,
    ) -> Result<Vec<Figure>> {
        self.replace_operator(&[("DRIFT_INTERVAL_SECONDS", NEVER), ("RESYNC_SECONDS", RESYNC)])?;
        let passes = |counts: &Counts| counts.passes_of(controller);
        // The counters of a process begin with it.
        let started = Reading { counts: Counts::default(), ..self.read().await? };
        let over = self.settled("the first pass over each object", passes, objects).await?;
        let took = over.duration_since(started.at).as_secs_f64();
        let name = format!("{what} taken over by another operator");
        let mut figures = vec![Figure::new(format!("{name}, until the last pass"), "s", took, Better::Lower)];
        let cost = self.since(&started).await?;
        eprintln!("  {name}: {took:.2} s; {:?}", cost.operator);
        figures.extend(cost.figures(&name, per, 1));

        let before = self.read().await?;
        self.settled("a resync", passes, passes(&before.counts) + objects).await?;
        let cost = self.since(&before).await?;
        let name = format!("one resync of {what}");
        eprintln!("  {name}: {:?}", cost.operator);
        figures.extend(cost.figures(&name, per, 1));
        Ok(figures)
    }

    /// Everything that is counted, now.
    pub(crate) async fn read(&self) -> Result<Reading> {
        let sample = Sample::take(&self.watched())?;
        Ok(Reading {
            at: Instant::now(),
            counts: self.counts().await?,
            verbs: counts::verbs(
                &self.client.request_text(Request::get("/metrics").body(Vec::new())?).await?,
            ),
            sample,
        })
    }

    /// What it came to since `before`. Requests are counted until there are no more: the last status is seen before
    /// its event is published.
    pub(crate) async fn since(&self, before: &Reading) -> Result<Cost> {
        let watched = self.watched();
        let usage = before.sample.until(&Sample::take(&watched)?, &watched)?;
        let seconds = before.at.elapsed().as_secs_f64();
        self.settled("silence", |counts| counts.reads() + counts.writes(), 0).await?;
        let now = self.read().await?;
        Ok(Cost {
            seconds,
            operator: now.counts.since(&before.counts),
            apiserver: counts::difference(&now.verbs, &before.verbs),
            usage,
        })
    }

    /// Waits until a counter of the operator is at least `least` and stands still, and tells when it moved last.
    pub(crate) async fn settled(
        &self,
        what: &str,
        count: impl Fn(&Counts) -> u64,
        least: u64,
    ) -> Result<Instant> {
        let started = Instant::now();
        let (mut last, mut moved) = (count(&self.counts().await?), started);
        while last < least || moved.elapsed() < QUIET {
            ensure!(started.elapsed() < LIMIT, "{what}: {last} of {least} within {LIMIT:?}");
            tokio::time::sleep(POLL * 10).await;
            let now = count(&self.counts().await?);
            if now != last {
                (last, moved) = (now, Instant::now());
            }
        }
        Ok(moved)
    }

    pub(crate) async fn counts(&self) -> Result<Counts> {
        let metrics = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.admin)).await?;
        Ok(Counts::read(&metrics.text().await?))
    }

    fn watched(&self) -> Vec<Watched> {
        let named = |name: &str, pid: i32| Watched { name: name.to_owned(), pid: pid.unsigned_abs() };
        let apiserver = self.apiserver.process_id().map(|id| named("apiserver", id.pid));
        let kafka = self.kafka.process_ids().into_iter().map(|id| named("kafka", id.pid));
        std::iter::once(named("operator", self.operator.id().pid)).chain(apiserver).chain(kafka).collect()
    }
}

fn launch(
    binary: &Path,
    admin: u16,
    apiserver: &Apiserver,
    dir: &Path,
    settings: &Settings,
) -> Result<Process> {
    let spec = Spec::new("operator", binary, dir.join("operator.log"))
        .env("KUBECONFIG", apiserver.kubeconfig())
        .env("ADMIN_ADDR", format!("127.0.0.1:{admin}"));
    let spec = settings.iter().fold(spec, |spec, (name, value)| spec.env(name, value));
    let mut operator = Launcher::host().spawn(spec)?;
    operator.wait_for_port(admin, LIMIT)?;
    Ok(operator)
}

async fn install(client: &Client) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in operator::crd::all() {
        api.patch(&crd.name_any(), &PatchParams::apply("bench").force(), &Patch::Apply(&crd)).await?;
    }
    served::<KafkaTopic>(client).await?;
    served::<OrderPipeline>(client).await
}

/// Waits until the apiserver serves `K`, which it does a moment after the CRD is established.
async fn served<K: Kind>(client: &Client) -> Result<()> {
    let (objects, started): (Api<K>, _) = (Api::all(client.clone()), Instant::now());
    while objects.list(&ListParams::default()).await.is_err() {
        ensure!(started.elapsed() < LIMIT, "the apiserver does not serve the CRDs");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
