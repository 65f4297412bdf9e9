//! Faults of brokers, database and network.

use std::time::Duration;

use anyhow::Result;
use rand::prelude::*;
use tokio::time::sleep;

use crate::link::Flow;
use crate::world::World;

/// How long an outage lasts, at least: its length is the fault.
const OUTAGE: Duration = Duration::from_secs(2);

pub(super) async fn kill_brokers(world: &mut World<'_>) -> Result<()> {
    world.machine.kafka.kill();
    // Orders are taken without a broker.
    world.load.accept(20).await?;
    sleep(OUTAGE).await;
    // Starting a broker blocks its thread for seconds.
    tokio::task::block_in_place(|| world.machine.kafka.restart())
}

pub(super) async fn lose_broker(world: &mut World<'_>) -> Result<()> {
    let broker = world.rng.random_range(1..=world.machine.kafka.brokers());
    world.machine.kafka.broker(broker)?.kill();
    world.load.accept(50).await?;
    sleep(OUTAGE).await;
    let restart = || world.machine.kafka.broker(broker)?.restart();
    tokio::task::block_in_place(restart)
}

pub(super) async fn kill_database(world: &mut World<'_>) -> Result<()> {
    world.machine.postgres.kill();
    sleep(OUTAGE).await;
    tokio::task::block_in_place(|| world.machine.postgres.restart())?;
    world.load.accept(10).await
}

pub(super) async fn cut_network(world: &mut World<'_>) -> Result<()> {
    for flow in [Flow::Stalled, Flow::Cut] {
        world.machine.cut_brokers(flow);
        sleep(OUTAGE).await;
        world.machine.cut_database(flow);
        sleep(OUTAGE).await;
        world.machine.cut_brokers(Flow::Open);
        sleep(OUTAGE).await;
        world.machine.cut_database(Flow::Open);
        world.load.accept(10).await?;
    }
    Ok(())
}
