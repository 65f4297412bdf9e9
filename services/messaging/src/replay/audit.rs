//! The audit record: who, why and what before it is done, what became of it afterwards.

use std::collections::HashMap;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{DeadLetter, ReplayError, Request};

/// Class of the lock that lets one replay of a topic run at a time; the object is the topic's hash.
const LOCK: &str = "SELECT pg_try_advisory_lock(1380273241, hashtext($1))";

/// The audit record of one run.
pub(super) struct Audit {
    /// Holds the lock as long as it lives: its own, so that it is not a pool's to hand out.
    _alone: PgConnection,
    pool: PgPool,
    topic: String,
    pub(super) run_id: Uuid,
}

/// A dead letter about to be sent.
pub(super) struct Intent<'a> {
    pub(super) letter: &'a DeadLetter,
    pub(super) target: &'a str,
}

impl Audit {
    /// Begins a run over `topic` (its full name), unless another is under way.
    pub(super) async fn begin(pool: &PgPool, topic: &str, request: &Request) -> Result<Self, ReplayError> {
        let mut alone = pool.acquire().await.map_err(ReplayError::Audit)?.detach();
        let locked: bool =
            sqlx::query_scalar(LOCK).bind(topic).fetch_one(&mut alone).await.map_err(ReplayError::Audit)?;
        if !locked {
            return Err(ReplayError::Busy { topic: topic.to_owned() });
        }
        let run_id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO replay_runs (run_id, topic, operator, reason, selection) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(run_id)
        .bind(topic)
        .bind(&request.operator)
        .bind(&request.reason)
        .bind(format!("{:?}, again: {}", request.filter, request.again))
        .execute(pool)
        .await
        .map_err(ReplayError::Audit)?;
        Ok(Self { _alone: alone, pool: pool.clone(), topic: topic.to_owned(), run_id })
    }

    /// Writes down what is about to be sent. Once this has returned, no crash can hide it.
    pub(super) async fn intend(&self, intents: &[Intent<'_>]) -> Result<(), ReplayError> {
        let letters = || intents.iter().map(|intent| intent.letter);
        let replays = |letter: &DeadLetter| i32::try_from(letter.replays.saturating_add(1));
        sqlx::query(
            "INSERT INTO replayed_events (run_id, topic, partition, record_offset, timestamp_ms, event_id, target,
                 replays)
             SELECT $1, $2, partition, record_offset, timestamp_ms, event_id, target, replays
             FROM unnest($3::int[], $4::bigint[], $5::bigint[], $6::uuid[], $7::text[], $8::int[])
                 AS new (partition, record_offset, timestamp_ms, event_id, target, replays)",
        )
        .bind(self.run_id)
        .bind(&self.topic)
        .bind(letters().map(|letter| letter.partition).collect::<Vec<_>>())
        .bind(letters().map(|letter| letter.offset).collect::<Vec<_>>())
        .bind(letters().map(timestamp_ms).collect::<Vec<_>>())
        .bind(letters().map(|letter| letter.event_id).collect::<Vec<_>>())
        .bind(intents.iter().map(|intent| intent.target).collect::<Vec<_>>())
        .bind(letters().map(|letter| replays(letter).unwrap_or(i32::MAX)).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map_err(ReplayError::Audit)?;
        Ok(())
    }

    /// Writes down what became of what was intended; `errors` has the broker's refusals, by place in it.
    pub(super) async fn settle(
        &self,
        intents: &[Intent<'_>],
        errors: &HashMap<usize, String>,
    ) -> Result<(), ReplayError> {
        let error_at = |index| errors.get(&index).map(String::as_str);
        sqlx::query(
            "UPDATE replayed_events AS event SET error = settled.error, settled_at = now(),
                 outcome = CASE WHEN settled.error IS NULL THEN 'SENT' ELSE 'FAILED' END
             FROM unnest($3::int[], $4::bigint[], $5::text[]) AS settled (partition, record_offset, error)
             WHERE event.run_id = $1 AND event.topic = $2 AND event.partition = settled.partition
               AND event.record_offset = settled.record_offset",
        )
        .bind(self.run_id)
        .bind(&self.topic)
        .bind(intents.iter().map(|intent| intent.letter.partition).collect::<Vec<_>>())
        .bind(intents.iter().map(|intent| intent.letter.offset).collect::<Vec<_>>())
        .bind((0..intents.len()).map(error_at).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map_err(ReplayError::Audit)?;
        Ok(())
    }

    /// Ends the run, and with it its lock.
    pub(super) async fn end(self) -> Result<(), ReplayError> {
        sqlx::query("UPDATE replay_runs SET ended_at = now() WHERE run_id = $1")
            .bind(self.run_id)
            .execute(&self.pool)
            .await
            .map_err(ReplayError::Audit)?;
        Ok(())
    }
}

/// Which of `letters`, by partition and offset, are known to have been sent, and by which run.
pub(super) async fn sent(
    pool: &PgPool,
    topic: &str,
    letters: &[DeadLetter],
) -> Result<HashMap<(i32, i64), Uuid>, ReplayError> {
    let rows: Vec<(i32, i64, Uuid)> = sqlx::query_as(
        "SELECT partition, record_offset, run_id
         FROM replayed_events
         JOIN unnest($2::int[], $3::bigint[], $4::bigint[]) AS wanted (partition, record_offset, timestamp_ms)
             USING (partition, record_offset)
         WHERE topic = $1 AND outcome = 'SENT'
           AND replayed_events.timestamp_ms IS NOT DISTINCT FROM wanted.timestamp_ms
         ORDER BY run_id",
    )
    .bind(topic)
    .bind(letters.iter().map(|letter| letter.partition).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>())
    .bind(letters.iter().map(timestamp_ms).collect::<Vec<_>>())
    .fetch_all(pool)
    .await
    .map_err(ReplayError::Audit)?;
    Ok(rows.into_iter().map(|(partition, offset, run_id)| ((partition, offset), run_id)).collect())
}

fn timestamp_ms(letter: &DeadLetter) -> Option<i64> {
    letter.timestamp.map(jiff::Timestamp::as_millisecond)
}
