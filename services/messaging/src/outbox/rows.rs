//! The outbox's rows, as a relay reads, deletes and sets them aside.

use std::time::Duration;

use sqlx::{FromRow, PgConnection, PgPool};

/// Most rows of one bucket per round: enough that the three round trips (read, send, delete) are shared by
/// many events, few enough that a round of full parcels stays in the tens of milliseconds and in 16 MiB.
pub(super) const BUCKET_MAX: i64 = 16;

/// A row of the outbox.
#[derive(FromRow)]
pub(super) struct Row {
    pub(super) bucket: i16,
    pub(super) place: String,
    pub(super) id: i64,
    pub(super) events: i32,
    pub(super) records: Vec<u8>,
}

/// The first rows of each bucket after an id, in id order within each.
pub(super) async fn read(conn: &mut PgConnection, from: &[(i16, i64)]) -> Result<Vec<Row>, sqlx::Error> {
    let (buckets, after): (Vec<i16>, Vec<i64>) = from.iter().copied().unzip();
    // A lateral subquery per bucket is a range scan each that stops at its limit, however long the backlog.
    sqlx::query_as(
        "SELECT head.* FROM unnest($1::smallint[], $2::bigint[]) AS wanted (bucket, after)
         CROSS JOIN LATERAL (
             SELECT bucket, ctid::text AS place, id, events, records
             FROM outbox WHERE outbox.bucket = wanted.bucket AND id > wanted.after ORDER BY id LIMIT $3
         ) AS head",
    )
    .bind(buckets)
    .bind(after)
    .bind(BUCKET_MAX)
    .fetch_all(conn)
    .await
}

/// Deletes rows by their place, the quickest way to them. The id is compared as well: a rewrite of the table
/// in between (`VACUUM FULL`) moves rows, and then the row is left for the next round instead of another's
/// being lost.
pub(super) async fn delete(conn: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let (places, ids): (Vec<&str>, Vec<i64>) = rows.iter().map(|row| (row.place.as_str(), row.id)).unzip();
    sqlx::query("DELETE FROM outbox WHERE ctid = ANY ($1::text[]::tid[]) AND id = ANY ($2)")
        .bind(places)
        .bind(ids)
        .execute(conn)
        .await?;
    Ok(())
}

/// A row with what is left of it, and the bucket that it moves to.
pub(super) struct Kept {
    pub(super) row: Row,
    pub(super) bucket: i16,
    pub(super) events: i32,
    pub(super) records: Vec<u8>,
}

/// Moves rows to another bucket, or leaves them in theirs, with what is left of them.
pub(super) async fn keep(conn: &mut PgConnection, kept: &[Kept]) -> Result<(), sqlx::Error> {
    if kept.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE outbox SET bucket = kept.bucket, events = kept.events, records = kept.records
         FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::integer[], $5::bytea[])
              AS kept (former, id, bucket, events, records)
         WHERE outbox.bucket = kept.former AND outbox.id = kept.id",
    )
    .bind(kept.iter().map(|kept| kept.row.bucket).collect::<Vec<_>>())
    .bind(kept.iter().map(|kept| kept.row.id).collect::<Vec<_>>())
    .bind(kept.iter().map(|kept| kept.bucket).collect::<Vec<_>>())
    .bind(kept.iter().map(|kept| kept.events).collect::<Vec<_>>())
    .bind(kept.iter().map(|kept| kept.records.as_slice()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// How many events wait, and for how long the oldest has.
pub(super) async fn sample(pool: &PgPool) -> Result<(i64, Duration), sqlx::Error> {
    let (pending, age): (i64, f64) = sqlx::query_as(
        "SELECT coalesce(sum(events), 0), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM outbox",
    )
    .fetch_one(pool)
    .await?;
    Ok((pending, Duration::try_from_secs_f64(age).unwrap_or_default()))
}
