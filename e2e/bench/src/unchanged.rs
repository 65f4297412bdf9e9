//! Ten thousand topics that nobody changes: what they cost while nothing happens.

use std::path::Path;

use anyhow::Result;

use crate::cost::Per;
use crate::counts::Counts;
use crate::report::Figure;
use crate::topics::{Phase, Topics};
use crate::world::{NEVER, World};

/// Drift intervals that are measured, of the operator's default length.
const INTERVALS: usize = 2;

/// Creates `count` topics and leaves them alone.
pub(crate) async fn measure(binary: &Path, count: usize) -> Result<Vec<Figure>> {
    eprintln!("unchanged topics:");
    // No passes but those of the creation, so that looks for drift are measured alone.
    let mut topics = Topics::start(binary, &[("RESYNC_SECONDS", NEVER)]).await?;
    let mut figures = topics.phase(Phase::Created, count).await?;
    let what = format!("{count} unchanged topics");
    figures.extend(drift_intervals(&topics.world, &what).await?);
    let per = Per { unit: "per topic", count };
    figures.extend(topics.world.resync(&what, per, "kafkatopic", u64::try_from(count)?).await?);
    Ok(figures)
}

/// What one of the intervals costs in which topics are compared with their objects: each from the end of one look to
/// the end of the next.
async fn drift_intervals(world: &World, what: &str) -> Result<Vec<Figure>> {
    look(world).await?;
    let before = world.read().await?;
    for _ in 0..INTERVALS {
        look(world).await?;
    }
    let cost = world.since(&before).await?;
    let name = format!("a drift interval of {what}");
    eprintln!("  {INTERVALS} times {name}: {:.1} s; {:?}", cost.seconds, cost.operator);
    let per = Per { unit: "requests", count: 1 };
    Ok(cost.figures(&name, per, INTERVALS))
}

/// Waits until the operator has looked at all topics once more.
async fn look(world: &World) -> Result<()> {
    let asked = |counts: &Counts| counts.kafka_of("describe_topics");
    let before = asked(&world.counts().await?);
    world.settled("a look for drift", asked, before + 1).await.map(drop)
}
