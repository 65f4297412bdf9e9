//! Notifications in the database. SQL only; decides nothing.

use contract::{Channel, ChannelOutcome, ChannelResult, Envelope, NotificationKind, OrderId, codec};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::rows::{Sorted, decode};

/// A notification to be recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft<'a> {
    /// The order.
    pub order_id: OrderId,
    /// What about.
    pub kind: NotificationKind,
    /// The event that is told about.
    pub cause: &'a Envelope,
}

/// Records `drafts`, to be sent from `now` on. What is on record already is left as it is.
pub(super) async fn record(
    conn: &mut PgConnection,
    drafts: &[Draft<'_>],
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let recorded = sqlx::query(
        // By order first, so that two transactions with the same orders never wait in a circle; within an
        // order by arrival, because that is the order in which its messages are sent.
        "INSERT INTO notifications (order_id, kind, cause, due_at_us, created_at_us)
         SELECT order_id, kind, cause, $4, $4
         FROM unnest($1::uuid[], $2::text[], $3::bytea[])
             WITH ORDINALITY AS new (order_id, kind, cause, position)
         ORDER BY order_id, position
         ON CONFLICT (order_id, kind) DO NOTHING",
    )
    .bind(drafts.iter().map(|draft| draft.order_id.as_uuid()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.kind.to_string()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| codec::encode_json(draft.cause)).collect::<Vec<_>>())
    .bind(now.as_microsecond())
    .execute(conn)
    .await?;
    Ok(recorded.rows_affected())
}

/// A notification that is being worked on.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// The order.
    pub order_id: OrderId,
    /// What about.
    pub kind: NotificationKind,
    /// The event to tell about.
    pub cause: Envelope,
    /// Which attempt this is, from 1. Also tells two workers apart, should one take too long.
    pub attempt: i16,
    /// The channels that were settled by earlier attempts.
    pub settled: Vec<ChannelResult>,
}

/// Takes at most `limit` notifications that are due, for this worker alone until `until`. Of each order only
/// the oldest open one is taken, so that a customer hears things in the order in which they happened. Those that
/// cannot be read are set aside.
pub(super) async fn take(
    conn: &mut PgConnection,
    now: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Task>, sqlx::Error> {
    let rows = sqlx::query(
        "UPDATE notifications SET attempts = attempts + 1, due_at_us = $2
         FROM (
             SELECT order_id, kind FROM notifications AS due
             WHERE finished_at_us IS NULL AND due_at_us <= $1 AND NOT EXISTS (
                 SELECT FROM notifications AS older
                 WHERE older.order_id = due.order_id AND older.id < due.id AND older.finished_at_us IS NULL)
             ORDER BY due_at_us, id LIMIT $3
             -- Other workers take other orders; the condition above keeps those of one order together.
             FOR NO KEY UPDATE SKIP LOCKED) AS due
         WHERE notifications.order_id = due.order_id AND notifications.kind = due.kind
         RETURNING notifications.order_id, notifications.kind, cause, attempts,
             email_outcome, email_detail, sms_outcome, sms_detail",
    )
    .bind(now.as_microsecond())
    .bind(until.as_microsecond())
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    Sorted::of(&rows, task_of)?.setting_aside(conn, SET_ASIDE, now).await
}

/// Looks at an order's open notifications later.
const SET_ASIDE: &str =
    "UPDATE notifications SET due_at_us = $2 WHERE order_id = ANY($1) AND finished_at_us IS NULL";

/// What became of a task.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// The task.
    pub task: Task,
    /// The channels that are settled now.
    pub settled: Vec<ChannelResult>,
    /// When the others are tried again; none when all are settled.
    pub retry_at: Option<Timestamp>,
}

impl Report {
    fn channel(&self, channel: Channel) -> (Option<String>, Option<&str>) {
        let result = self.settled.iter().find(|result| result.channel == channel);
        (result.map(|result| result.outcome.to_string()), result.and_then(|result| result.detail.as_deref()))
    }
}

/// Saves `reports` and forgets the event, and with it the customer's address, of those that are finished.
/// Returns the finished ones that were still this worker's; the others were taken over by another.
pub(super) async fn save<'r>(
    conn: &mut PgConnection,
    reports: &'r [Report],
    now: Timestamp,
) -> Result<Vec<&'r Report>, sqlx::Error> {
    let (email_outcomes, email_details): (Vec<_>, Vec<_>) =
        reports.iter().map(|report| report.channel(Channel::Email)).unzip();
    let (sms_outcomes, sms_details): (Vec<_>, Vec<_>) =
        reports.iter().map(|report| report.channel(Channel::Sms)).unzip();
    let saved = sqlx::query(
        "UPDATE notifications SET
             email_outcome = new.email_outcome, email_detail = new.email_detail,
             sms_outcome = new.sms_outcome, sms_detail = new.sms_detail,
             due_at_us = coalesce(new.retry_at_us, $9),
             cause = CASE WHEN new.retry_at_us IS NULL THEN NULL ELSE cause END,
             finished_at_us = CASE WHEN new.retry_at_us IS NULL THEN $9 END
         FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::bigint[])
             AS new (order_id, kind, attempt, email_outcome, email_detail, sms_outcome, sms_detail, retry_at_us)
         WHERE notifications.order_id = new.order_id AND notifications.kind = new.kind
             AND notifications.attempts = new.attempt AND finished_at_us IS NULL
         RETURNING notifications.order_id, notifications.kind",
    )
    .bind(reports.iter().map(|report| report.task.order_id.as_uuid()).collect::<Vec<_>>())
    .bind(reports.iter().map(|report| report.task.kind.to_string()).collect::<Vec<_>>())
    .bind(reports.iter().map(|report| report.task.attempt).collect::<Vec<_>>())
    .bind(email_outcomes)
    .bind(email_details)
    .bind(sms_outcomes)
    .bind(sms_details)
    .bind(reports.iter().map(|report| report.retry_at.map(Timestamp::as_microsecond)).collect::<Vec<_>>())
    .bind(now.as_microsecond())
    .fetch_all(conn)
    .await?;
    let saved = saved.iter().map(identity_of).collect::<Result<Vec<_>, _>>()?;
    let ours = |report: &&Report| saved.contains(&(report.task.order_id, report.task.kind));
    Ok(reports.iter().filter(|report| report.retry_at.is_none()).filter(ours).collect())
}

fn identity_of(row: &PgRow) -> Result<(OrderId, NotificationKind), sqlx::Error> {
    let kind = row.try_get::<&str, _>("kind")?.parse().map_err(decode)?;
    Ok((OrderId::new(row.try_get("order_id")?), kind))
}

fn task_of(row: &PgRow) -> Result<Task, sqlx::Error> {
    let (order_id, kind) = identity_of(row)?;
    let email = settled_of(row, Channel::Email, "email_outcome", "email_detail")?;
    let sms = settled_of(row, Channel::Sms, "sms_outcome", "sms_detail")?;
    Ok(Task {
        order_id,
        kind,
        cause: codec::decode_json(row.try_get("cause")?).map_err(decode)?,
        attempt: row.try_get("attempts")?,
        settled: email.into_iter().chain(sms).collect(),
    })
}

fn settled_of(
    row: &PgRow,
    channel: Channel,
    outcome: &str,
    detail: &str,
) -> Result<Option<ChannelResult>, sqlx::Error> {
    let Some(outcome) = row.try_get::<Option<&str>, _>(outcome)? else { return Ok(None) };
    let outcome: ChannelOutcome = outcome.parse().map_err(decode)?;
    Ok(Some(ChannelResult { channel, outcome, detail: row.try_get(detail)? }))
}
