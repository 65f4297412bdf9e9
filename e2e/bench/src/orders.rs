//! Orders through all services: how many per second from POST to their end, and how long each takes at half of
//! that.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::load::{self, Accepted, Pace};
use crate::report::{Better, Figure};
use crate::system::System;
use crate::usage::{Sample, Usage};

/// Most orders in flight while the limit is looked for: enough that no service ever waits for work.
const IN_FLIGHT: u64 = 4_000;

/// How long the system runs at its limit before anything is counted: the broker's virtual machine is not done with
/// compiling earlier, and takes up to a third of the processor time for it meanwhile.
const WARM_UP: Duration = Duration::from_secs(30);

/// How long orders may take to end after the load has.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);

/// What is measured.
pub(crate) struct Plan {
    pub(crate) binary: PathBuf,
    pub(crate) phase: Duration,
    pub(crate) rate: Option<u64>,
    pub(crate) repeat: usize,
}

type Usages = std::collections::BTreeMap<String, Usage>;

/// Measures on a fresh system each time.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let (mut rates, mut halves) = (Vec::new(), Vec::new());
    for round in 1..=plan.repeat {
        eprintln!("orders, round {round} of {}: starting the system", plan.repeat);
        let system = System::start(&plan.binary).await?;
        let (rate, usages) = saturate(&system, plan.phase).await?;
        eprintln!("  {rate:.0} orders/s from POST to their end");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is a small positive number"
        )]
        let half = plan.rate.unwrap_or((rate / 2.0) as u64).max(1);
        let latencies = half_load(&system, half, plan.phase).await?;
        eprintln!("  at {half}/s: {}", latencies.summary());
        rates.push((rate, usages));
        halves.push(latencies);
    }
    Ok(figures(rates, &halves))
}

/// Keeps the system as busy as it can be; orders that ended per second, and what each process took.
async fn saturate(system: &System, phase: Duration) -> Result<(f64, Usages)> {
    let (permits, watched) = (Arc::new(Semaphore::new(0)), system.watched());
    let load = tokio::spawn({
        let (api, pace) = (system.api.clone(), Pace::Permits(permits.clone()));
        async move { load::run(&api, pace, WARM_UP + phase).await }
    });
    let (begin, mut first, mut allowed) = (Instant::now(), None, 0);
    while !load.is_finished() {
        let ended = system.ended().await?;
        let room = (ended + IN_FLIGHT).saturating_sub(allowed);
        permits.add_permits(usize::try_from(room)?);
        allowed += room;
        if first.is_none() && begin.elapsed() >= WARM_UP {
            first = Some((Instant::now(), ended, Sample::take(&watched)?));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let Some((from, ended_before, before)) = first else { anyhow::bail!("the phase was too short") };
    let (lasted, ended_after) = (from.elapsed(), system.ended().await?);
    let usages = before.until(&Sample::take(&watched)?, &watched)?;
    load.await??;
    drain(&system.orders).await?;
    Ok((float(ended_after - ended_before) / lasted.as_secs_f64(), usages))
}

/// Offers `rate` orders per second, come what may.
async fn half_load(system: &System, rate: u64, phase: Duration) -> Result<Latencies> {
    let watched = system.watched();
    let before = Sample::take(&watched)?;
    let accepted = load::run(&system.api, Pace::PerSecond(rate), phase).await?;
    let usages = before.until(&Sample::take(&watched)?, &watched)?;
    drain(&system.orders).await?;
    let mut latencies = Latencies { rate, usages, answer: histogram()?, end: histogram()?, failed: 0 };
    let ends = ends(&system.orders).await?;
    let warm = accepted.iter().map(|order| order.intended).min().map(|first| first + phase / 4);
    for order in accepted.iter().filter(|order| Some(order.intended) >= warm) {
        latencies.record(order, &ends)?;
    }
    Ok(latencies)
}

/// Microseconds since 1970 at which each order ended, and whether it ended well.
async fn ends(orders: &PgPool) -> Result<HashMap<Uuid, (i64, bool)>> {
    let rows: Vec<(Uuid, i64, bool)> = sqlx::query_as(
        "SELECT order_id, updated_at_us, status = 'COMPLETED' FROM sagas WHERE deadline_us IS NULL",
    )
    .fetch_all(orders)
    .await?;
    Ok(rows.into_iter().map(|(id, at, well)| (id, (at, well))).collect())
}

/// Latencies in microseconds.
struct Latencies {
    rate: u64,
    usages: Usages,
    answer: Histogram<u64>,
    end: Histogram<u64>,
    failed: u64,
}

/// One microsecond to ten minutes, to three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000, 3)?)
}

impl Latencies {
    fn record(&mut self, order: &Accepted, ends: &HashMap<Uuid, (i64, bool)>) -> Result<()> {
        let Some((ended, well)) = ends.get(&order.order_id) else {
            anyhow::bail!("order {} was accepted and has not ended", order.order_id);
        };
        self.failed += u64::from(!well);
        let took = ended.saturating_sub(order.intended.as_microsecond()).max(1);
        self.end.saturating_record(u64::try_from(took)?);
        self.answer.saturating_record(u64::try_from(order.answered_after.as_micros())?);
        Ok(())
    }

    fn summary(&self) -> String {
        let of = |histogram: &Histogram<u64>, quantile| millis(histogram.value_at_quantile(quantile));
        format!(
            "end p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms; answer p50 {:.1} ms, p99 {:.1} ms",
            of(&self.end, 0.5),
            of(&self.end, 0.99),
            millis(self.end.max()),
            of(&self.answer, 0.5),
            of(&self.answer, 0.99),
        )
    }
}

fn figures(rates: Vec<(f64, Usages)>, halves: &[Latencies]) -> Vec<Figure> {
    let usage_at_limit = rates.first().map(|(_, usages)| usages.clone());
    let rates = rates.into_iter().map(|(rate, _)| rate).collect();
    let mut figures =
        vec![Figure::median("orders, POST to end, at the limit", "orders/s", rates, Better::Higher)];
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let at = |histogram: fn(&Latencies) -> &Histogram<u64>| {
            halves.iter().map(|half| millis(histogram(half).value_at_quantile(quantile))).collect()
        };
        let end = Figure::median(
            format!("POST to end at half load, {name}"),
            "ms",
            at(|half| &half.end),
            Better::Lower,
        );
        let answer = Figure::median(
            format!("POST to 202 at half load, {name}"),
            "ms",
            at(|half| &half.answer),
            Better::Lower,
        );
        figures.extend([end, answer]);
    }
    if let Some(half) = halves.first() {
        figures.push(
            Figure::new("half load", "orders/s", float(half.rate), Better::Higher)
                .with(json!({ "cancelled": half.failed, "usage": half.usages })),
        );
    }
    figures.extend(usage_at_limit.into_iter().flatten().flat_map(|(process, usage)| {
        [
            Figure::new(format!("{process} at the limit, CPU"), "cores", usage.cores, Better::Lower),
            Figure::new(format!("{process} at the limit, memory"), "MiB", usage.memory_mib, Better::Lower),
        ]
    }));
    figures
}

async fn in_flight(orders: &PgPool) -> Result<i64> {
    // A partial index has exactly these.
    Ok(sqlx::query_scalar("SELECT count(*) FROM sagas WHERE sweep_at_us IS NOT NULL")
        .fetch_one(orders)
        .await?)
}

/// Waits until every order has ended.
async fn drain(orders: &PgPool) -> Result<()> {
    let begin = Instant::now();
    loop {
        let left = in_flight(orders).await?;
        if left == 0 {
            return Ok(());
        }
        ensure!(begin.elapsed() < DRAIN_LIMIT, "{left} orders had not ended {DRAIN_LIMIT:?} after the load");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
