//! Faults of the services' processes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::prelude::*;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use crate::system::SESSION;
use crate::world::World;

/// How often each service is killed in a row.
const ROUNDS: usize = 2;
/// Longer than the session of a consumer group, so that the frozen service's partitions have new owners, or wait for
/// one, when it goes on.
const FREEZE: Duration = SESSION.saturating_add(Duration::from_secs(2));
/// How long a relay may take to publish something.
const RELAY_PATIENCE: Duration = Duration::from_secs(60);
/// The advisory lock at which deletions wait. The relay's own have two keys, and so are others.
const GATE: i64 = 0x0067_6174_6500_0000;

pub(super) async fn kill_services(world: &mut World<'_>) -> Result<()> {
    for _ in 0..ROUNDS {
        let mut services = world.system.services();
        services.shuffle(&mut world.rng);
        for service in services {
            // A random moment is the fault.
            sleep(Duration::from_millis(world.rng.random_range(0..400))).await;
            world.system.kill(service)?;
            world.system.spawn(service)?;
        }
        world.system.wait_ready().await?;
        world.load.accept(10).await?;
    }
    Ok(())
}

/// Two at random: the order service is one of them every other time.
pub(super) async fn freeze_services(world: &mut World<'_>) -> Result<()> {
    let services = world.system.services().into_iter().choose_multiple(&mut world.rng, 2);
    for service in &services {
        world.system.pause(*service)?;
    }
    // The fault is this span of time.
    sleep(FREEZE).await;
    for service in &services {
        world.system.resume(*service)?;
    }
    world.system.wait_ready().await
}

/// A trigger makes each deletion from the outbox wait at a lock that is ours: so a relay stands right behind the
/// acknowledgement of what it published, and dies there.
pub(super) async fn kill_relays(world: &mut World<'_>) -> Result<()> {
    for service in world.system.services() {
        let url = world.system.database_url(service)?.to_owned();
        let mut gate = PgConnection::connect(&url).await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(GATE).execute(&mut gate).await?;
        sqlx::raw_sql(CLOSE_GATE).execute(&mut gate).await?;
        let waiting = waiting_relay(&mut gate).await;
        let relay = waiting.with_context(|| format!("the relay of {service}"))?;
        world.system.kill(service)?;
        // As PostgreSQL does when it notices that its client is gone; before the gate opens, or the deletion that
        // the dead process asked for would still happen.
        sqlx::query("SELECT pg_terminate_backend($1)").bind(relay).execute(&mut gate).await?;
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&mut gate).await?;
        ensure!(left > 0, "{service} deleted what it published before it was killed");
        sqlx::raw_sql("DROP TRIGGER gate ON outbox; DROP FUNCTION gate").execute(&mut gate).await?;
        gate.close().await?;
        world.system.spawn(service)?;
    }
    world.system.wait_ready().await
}

const CLOSE_GATE: &str = "
    CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(29099075139796992); RETURN NULL; END $$;
    CREATE TRIGGER gate BEFORE DELETE ON outbox FOR EACH STATEMENT EXECUTE FUNCTION gate();";

async fn waiting_relay(gate: &mut PgConnection) -> Result<i32> {
    let deadline = Instant::now() + RELAY_PATIENCE;
    loop {
        let waiting = sqlx::query_scalar(
            "SELECT pid FROM pg_locks
             WHERE locktype = 'advisory' AND NOT granted AND database =
                 (SELECT oid FROM pg_database WHERE datname = current_database())
             AND (classid::bigint << 32) | objid::bigint = $1",
        );
        if let Some(pid) = waiting.bind(GATE).fetch_optional(&mut *gate).await? {
            return Ok(pid);
        }
        ensure!(Instant::now() < deadline, "published nothing for {RELAY_PATIENCE:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trigger_waits_for_the_lock_that_is_held() {
        assert!(CLOSE_GATE.contains(&format!("({GATE})")), "{GATE}");
    }
}
