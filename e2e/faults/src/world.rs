//! A system under load, what happens to it, and the verdict.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use contract::{Service, Step};
use rand::prelude::*;
use sqlx::{Connection, PgConnection};
use verify::{Expected, Report, verify, wait_for_rest};

use crate::load::Load;
use crate::system::{STOCK, System};
use crate::{Fault, Format, Machine};

/// The longest way back: brokers elect, groups wait for the dead (4 s), deadlines pass (12 s), connections that hang
/// are given up (15 s), some of it in a row, on a busy machine.
const REST_TIMEOUT: Duration = Duration::from_secs(150);
/// Orders before the fault and after it, so that it strikes in the middle.
const AROUND: usize = 40;
/// How soon order follows order where a test is to be cheap: more than enough for every fault to meet some.
const SCENARIO_INTERVAL: Duration = Duration::from_millis(50);
/// How long the first order may take to its end: groups form meanwhile, on a busy machine.
const WARM_UP: Duration = Duration::from_secs(90);

/// A running system under load, over a machine that is its own for now.
#[derive(Debug)]
pub(crate) struct World<'m> {
    pub(crate) machine: &'m mut Machine,
    pub(crate) system: System,
    pub(crate) load: Load,
    pub(crate) rng: StdRng,
    /// The most dead letters that may follow from what was injected.
    pub(crate) injected: u64,
}

/// How long and how hard [`soak`] goes.
#[derive(Debug, Clone, Copy)]
pub struct Soak {
    /// How long faults go on; rest and verdict come afterwards.
    pub duration: Duration,
    /// From order to order.
    pub interval: Duration,
    /// What decides about orders, faults and moments.
    pub seed: u64,
}

/// One fault, under load, on a new system; then rest and the verdict.
///
/// # Errors
/// When the fault could not be caused, the system did not come to rest, or an invariant does not hold: with the seed,
/// the report, and the folder of the logs.
pub async fn scenario(
    machine: &mut Machine,
    steps: &[Step],
    format: &Format,
    fault: Fault,
    seed: u64,
) -> Result<Report> {
    let mut world = World::begin(machine, steps, format, seed, SCENARIO_INTERVAL).await?;
    let told = world.told();
    let run = async {
        world.until_completed().await?;
        world.load.accept(AROUND).await?;
        fault.cause(&mut world).await?;
        world.load.accept(AROUND).await?;
        world.judge().await
    };
    run.await.with_context(|| format!("{fault}, {told}"))
}

/// One fault after the other, chosen at random, on one system under continuous load; then rest and the verdict.
/// `progress` gets a line per fault.
///
/// # Errors
/// As [`scenario`].
pub async fn soak(
    machine: &mut Machine,
    steps: &[Step],
    format: &Format,
    soak: Soak,
    progress: fn(&str),
) -> Result<Report> {
    let mut world = World::begin(machine, steps, format, soak.seed, soak.interval).await?;
    let told = world.told();
    let run = async {
        let (started, mut faults) = (Instant::now(), 0);
        while started.elapsed() < soak.duration {
            world.load.accept(AROUND).await?;
            let fault = *Fault::ALL.choose(&mut world.rng).context("there are faults")?;
            fault.cause(&mut world).await.with_context(|| format!("fault {faults}: {fault}"))?;
            faults += 1;
            let (elapsed, accepted) = (started.elapsed().as_secs(), world.load.accepted());
            let ended = world.ended().await?;
            progress(&format!(
                "{elapsed:>5} s  {faults:>3} faults  {accepted:>6} accepted  {ended:>6} ended  {fault}"
            ));
        }
        world.judge().await
    };
    run.await.context(told)
}

impl<'m> World<'m> {
    async fn begin(
        machine: &'m mut Machine,
        steps: &[Step],
        format: &Format,
        seed: u64,
        interval: Duration,
    ) -> Result<Self> {
        // The one before may have ended in the middle of its fault.
        tokio::task::block_in_place(|| machine.heal())?;
        let system = System::start(machine, steps, format).await?;
        let load = Load::start(&system.url(Service::Order)?, seed, interval)?;
        Ok(Self { machine, system, load, rng: StdRng::seed_from_u64(seed), injected: 0 })
    }

    /// What whoever looks into a failure needs.
    fn told(&self) -> String {
        format!("logs in {}", self.system.logs().display())
    }

    async fn order_database(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(self.system.database_url(Service::Order)?).await?)
    }

    async fn ended(&self) -> Result<i64> {
        let mut database = self.order_database().await?;
        let ended = sqlx::query_scalar("SELECT count(*) FROM sagas WHERE deadline_us IS NULL");
        Ok(ended.fetch_one(&mut database).await?)
    }

    /// Waits until orders get through: while the groups form, their deadlines pass, and a fault would find nothing under
    /// way.
    async fn until_completed(&self) -> Result<()> {
        let mut database = self.order_database().await?;
        let deadline = Instant::now() + WARM_UP;
        loop {
            let completed =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM sagas WHERE status = 'COMPLETED')");
            if completed.fetch_one(&mut database).await? {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "no order was completed within {WARM_UP:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the load, waits for rest, and checks.
    async fn judge(self) -> Result<Report> {
        let accepted = self.load.finish().await?;
        let source = self.system.source()?;
        let rest = wait_for_rest(&source, REST_TIMEOUT).await;
        let expected =
            Expected { accepted: Some(accepted), stocked: stocked()?, dead_letters: self.injected };
        let report = verify(&source, &expected).await?;
        ensure!(report.holds(), "{report}\n{rest:?}");
        rest?;
        // A run in which nothing succeeds would satisfy most invariants.
        ensure!(report.states.contains_key("COMPLETED"), "no order was completed\n{report}");
        let (letters, injected) = (report.dead_letters, self.injected);
        ensure!(letters == injected, "{letters} dead letters follow from {injected} unreadable records");
        let others = self.system.count_in_other_format().await?;
        ensure!(others == 0, "{others} events are not in the format that the services were told to write");
        self.system.discard().await?;
        Ok(report)
    }
}

fn stocked() -> Result<BTreeMap<contract::ProductId, u64>> {
    STOCK.iter().map(|(product, units)| Ok((product.parse()?, *units))).collect()
}
