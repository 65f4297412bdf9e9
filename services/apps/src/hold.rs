//! Keeps deadlines from ending what was answered while nobody could hear it; when they count is
//! [`domain::hold`]'s to say. Shared by the services that sweep deadlines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::hold::{Hold, HoldTerms};
use jiff::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{PgPool, Row};
use tokio::sync::watch;

use crate::rows::decode;

/// How long the database may be out of reach, or this process stand still, before answers may have gone unheard.
/// Twice the longest pause between two turns of a sweeper, and a third of a step's usual time.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// Says whether deadlines count.
#[derive(Debug)]
pub(crate) struct Holder {
    pool: PgPool,
    terms: HoldTerms,
    /// Whether this process's consumer hears what happens.
    current: watch::Receiver<bool>,
    seen: Mutex<Seen>,
}

/// What the last look saw.
#[derive(Debug, Default)]
struct Seen {
    looked: Option<Instant>,
    allowed: bool,
}

/// What a look at the database shows.
struct Look {
    hold: Hold,
    /// An event of ours has not left for so long that the broker must be away: who is to answer has not heard it.
    is_cut_off: bool,
}

impl Holder {
    /// Holds deadlines while `current` says no, while nothing can be published, and after a gap.
    pub(crate) fn new(pool: PgPool, terms: HoldTerms, current: watch::Receiver<bool>) -> Self {
        Self { pool, terms, current, seen: Mutex::default() }
    }

    /// Whether deadlines count at `now`. To be asked before every sweep: who does not ask for a while may not have
    /// heard either.
    ///
    /// # Errors
    /// The database did not answer.
    pub(crate) async fn allows(&self, now: Timestamp) -> Result<bool, sqlx::Error> {
        let mut conn = self.pool.acquire().await?;
        let Look { mut hold, is_cut_off } = look(&mut conn).await?;
        drop(conn);
        if !*self.current.borrow() || is_cut_off || self.was_away() {
            hold = self.extend(now).await?;
        }
        let allowed = self.terms.allow(hold, now);
        self.note(allowed);
        Ok(allowed)
    }

    async fn extend(&self, now: Timestamp) -> Result<Hold, sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        let hold = self.terms.extended(lock(&mut tx).await?, now);
        save(&mut tx, hold).await?;
        tx.commit().await?;
        Ok(hold)
    }

    fn was_away(&self) -> bool {
        let looked = self.seen.lock().unwrap_or_else(PoisonError::into_inner).looked;
        looked.is_none_or(|looked| looked.elapsed() > LONGEST_GAP)
    }

    fn note(&self, allowed: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = seen.looked.is_none() || seen.allowed;
        match (begins, allowed) {
            (true, false) => tracing::info!("deadlines are held: answers may have gone unheard"),
            (false, true) => tracing::info!("deadlines count again"),
            (true, true) | (false, false) => {}
        }
        *seen = Seen { looked: Some(Instant::now()), allowed };
    }
}

async fn look(conn: &mut PgConnection) -> Result<Look, sqlx::Error> {
    // Rows in a bucket below zero were set aside: the broker was there, and refused them. They may stay for days.
    let row = sqlx::query(
        "SELECT since_us, until_us,
             EXISTS (SELECT FROM outbox
                     WHERE bucket >= 0 AND created_at < now() - make_interval(secs => $1)) AS is_cut_off
         FROM deadline_hold",
    )
    .bind(LONGEST_GAP.as_secs_f64())
    .fetch_one(conn)
    .await?;
    Ok(Look { hold: hold_of(&row)?, is_cut_off: row.try_get("is_cut_off")? })
}

async fn lock(conn: &mut PgConnection) -> Result<Hold, sqlx::Error> {
    let row = sqlx::query("SELECT since_us, until_us FROM deadline_hold FOR UPDATE").fetch_one(conn).await?;
    hold_of(&row)
}

async fn save(conn: &mut PgConnection, hold: Hold) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE deadline_hold SET since_us = $1, until_us = $2")
        .bind(hold.since.as_microsecond())
        .bind(hold.until.as_microsecond())
        .execute(conn)
        .await?;
    Ok(())
}

fn hold_of(row: &PgRow) -> Result<Hold, sqlx::Error> {
    let time = |column| Timestamp::from_microsecond(row.try_get(column)?).map_err(decode);
    Ok(Hold { since: time("since_us")?, until: time("until_us")? })
}
