//! The inbox: which events were handled. Rows are written in the transaction of the effect, so that an event
//! has its effect exactly if its row is there.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::metrics::ServiceMetrics;

/// Rows removed per statement: few enough that it takes milliseconds and its locks hold nobody up.
const CLEAN_BATCH: i64 = 5_000;
/// How often old rows are looked for. At a thousand events a second an hour is a fraction of the table.
const CLEAN_INTERVAL: Duration = Duration::from_secs(3600);
/// Key of the lock that lets one replica clean at a time; more would only wait for each other's rows.
const CLEAN_LOCK: (i32, i32) = (0x494e_4258, 0);

/// Records `ids` as handled by `consumer`, and returns those that were not before. An id that is given twice
/// is returned once. A concurrent transaction with the same ids is waited for: only one of the two gets them.
pub(crate) async fn claim(
    conn: &mut PgConnection,
    consumer: &str,
    ids: &[Uuid],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    // In one order everywhere, so that two transactions with the same ids wait instead of deadlocking.
    let claimed: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO inbox (consumer, event_id)
         SELECT $1, id FROM unnest($2::uuid[]) AS id ORDER BY id
         ON CONFLICT DO NOTHING
         RETURNING event_id",
    )
    .bind(consumer)
    .bind(ids)
    .fetch_all(conn)
    .await?;
    Ok(claimed.into_iter().collect())
}

/// Removes rows that are older than `retention`, a bounded number per statement. Returns how many, or nothing
/// if another replica is at it.
pub(crate) async fn clean(pool: &PgPool, retention: Duration) -> Result<Option<u64>, sqlx::Error> {
    let mut removed = 0;
    loop {
        match clean_some(pool, retention).await? {
            None => return Ok((removed > 0).then_some(removed)),
            Some(0) => return Ok(Some(removed)),
            Some(some) => removed += some,
        }
    }
}

async fn clean_some(pool: &PgPool, retention: Duration) -> Result<Option<u64>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let (class, object) = CLEAN_LOCK;
    let alone: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1, $2)")
        .bind(class)
        .bind(object)
        .fetch_one(&mut *tx)
        .await?;
    if !alone {
        return Ok(None);
    }
    let removed = sqlx::query(
        "DELETE FROM inbox WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM inbox WHERE received_at < now() - make_interval(secs => $1) LIMIT $2))",
    )
    .bind(retention.as_secs_f64())
    .bind(CLEAN_BATCH)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    tx.commit().await?;
    Ok(Some(removed))
}

/// Cleans now and then, for ever. Dropping it in the middle rolls one statement back.
pub(crate) async fn keep_clean(pool: &PgPool, retention: Duration, metrics: &ServiceMetrics) -> Infallible {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        let wait = match clean(pool, retention).await {
            Ok(removed) => {
                metrics.inbox_expired(removed.unwrap_or_default());
                backoff.reset();
                CLEAN_INTERVAL
            }
            Err(error) => {
                let wait = backoff.next();
                tracing::warn!(%error, ?wait, "could not clean the inbox");
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}
