//! Rest: nothing is under way any more. Only then do the invariants have to hold.

use std::time::{Duration, Instant};

use crate::source::{GatherError, Source};
use crate::{databases, topics};

/// How long between two looks. Each costs some small queries per service.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// The looks are not one instant: what moves from one service to another during a look is seen by neither, but not
/// twice in a row.
const LOOKS_IN_A_ROW: u32 = 2;

/// The system did not come to rest in time.
#[derive(Debug, thiserror::Error)]
#[error("not at rest after {limit:?}: {why}")]
pub struct Unrest {
    /// How long it was waited for.
    pub limit: Duration,
    /// What was under way at the last look, or why it could not be seen.
    pub why: String,
}

/// Waits until every order has ended and no service has anything to do, at most for `limit`. Outages of the database
/// and of the broker are waited through.
///
/// # Errors
/// [`Unrest`], which says what was still under way.
pub async fn wait_for_rest(source: &Source, limit: Duration) -> Result<(), Unrest> {
    let started = Instant::now();
    let mut quiet = 0;
    loop {
        let why = match under_way(source).await {
            Ok(None) => {
                quiet += 1;
                "at rest at the last look".to_owned()
            }
            Ok(Some(why)) => {
                quiet = 0;
                why
            }
            Err(error) => {
                quiet = 0;
                chain(&error)
            }
        };
        if quiet == LOOKS_IN_A_ROW {
            return Ok(());
        }
        if started.elapsed() > limit {
            return Err(Unrest { limit, why });
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn under_way(source: &Source) -> Result<Option<String>, GatherError> {
    for (&service, pool) in &source.databases {
        let failed = |source| GatherError::Database { service, source };
        let undecided = databases::undecided(service, pool).await.map_err(failed)?;
        let waiting = databases::waiting(pool).await.map_err(failed)?;
        if undecided + waiting.outbox + waiting.parked > 0 {
            let (outbox, parked) = (waiting.outbox, waiting.parked);
            let why =
                format!("{service}: {undecided} rows undecided, {outbox} in the outbox, {parked} parked");
            return Ok(Some(why));
        }
    }
    let behind = topics::lag(source).await?.into_iter().find(|(_, records)| *records > 0);
    Ok(behind.map(|(service, records)| format!("{service}: {records} records to read")))
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
