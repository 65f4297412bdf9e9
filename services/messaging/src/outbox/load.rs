//! What of some rows is sent in one go, and what becomes of the rows after it. Pure.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::aside::Aside;
use super::bucket::{aside_of, is_aside, own_of};
use super::parcel::{self, Parcel};
use super::rows::{BUCKET_MAX, Kept, Row};
use crate::Producer;
use crate::record::Outgoing;

/// Some rows, and what of them is sent in one go.
pub(super) struct Load {
    rows: Vec<Opened>,
    /// Rows that this build cannot open.
    closed: Vec<Row>,
    /// What is sent.
    pub(super) records: Vec<Outgoing>,
}

/// An opened row.
struct Opened {
    row: Row,
    /// Those of the load's records that are its.
    sent: Range<usize>,
    /// What is not sent: it has to wait for others of its key and topic. Topics without prefix.
    held: Vec<Outgoing>,
}

impl Load {
    /// Opens rows, and takes from them what may be sent.
    pub(super) fn of(rows: Vec<Row>, aside: &Aside, producer: &Producer) -> Self {
        let mut load = Self { rows: Vec::with_capacity(rows.len()), closed: Vec::new(), records: Vec::new() };
        for row in rows {
            let records = match parcel::open(&row.records) {
                Ok(records) => records,
                // Set aside as it is: a newer build that is being rolled out will open it.
                Err(error) => {
                    tracing::error!(%error, outbox.id = row.id, "a row of the outbox cannot be published");
                    load.closed.push(row);
                    continue;
                }
            };
            let first = load.records.len();
            let (held, free): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|record| aside.holds(row.bucket, record));
            let addressed =
                |record: Outgoing| Outgoing { topic: producer.full_name(&record.topic), ..record };
            load.records.extend(free.into_iter().map(addressed));
            let sent = first..load.records.len();
            load.rows.push(Opened { row, sent, held });
        }
        load
    }

    /// What becomes of the rows, now that of what was sent the records at `refused` were refused: those to be deleted,
    /// and those to be kept aside. Rows that are aside already and did not change are neither.
    pub(super) fn settle(
        self,
        refused: &HashSet<usize>,
        aside: &mut Aside,
        producer: &Producer,
    ) -> (Vec<Row>, Vec<Kept>) {
        let (mut done, mut kept) = (Vec::new(), Vec::new());
        for Opened { row, sent, held: mut left } in self.rows {
            let all = left.len() + sent.len();
            let refused = sent.filter(|index| refused.contains(index));
            left.extend(refused.filter_map(|index| self.records.get(index)).map(|record| Outgoing {
                topic: producer.short_name(&record.topic).to_owned(),
                ..record.clone()
            }));
            left.iter().for_each(|record| aside.hold(row.bucket, record));
            if is_aside(row.bucket) {
                if left.len() == all {
                    continue;
                }
                aside.published(row.bucket);
            }
            if left.is_empty() {
                done.push(row);
            } else {
                let (events, records) = Parcel::of(&left).close();
                kept.push(Kept { bucket: aside_of(own_of(row.bucket)), events, records, row });
            }
        }
        for row in self.closed {
            aside.hold_unopened(row.bucket);
            if !is_aside(row.bucket) {
                let (events, records) = (row.events, row.records.clone());
                kept.push(Kept { bucket: aside_of(row.bucket), events, records, row });
            }
        }
        (done, kept)
    }
}

/// Of which buckets there are `rows`, and after which row there are probably more.
pub(super) fn ends_of(rows: &[Row]) -> HashMap<i16, Option<i64>> {
    let mut counts: HashMap<i16, (i64, i64)> = HashMap::new();
    for row in rows {
        let (count, last) = counts.entry(row.bucket).or_default();
        *count += 1;
        *last = row.id;
    }
    let end = |(count, last)| (count >= BUCKET_MAX).then_some(last);
    counts.into_iter().map(|(bucket, counted)| (bucket, end(counted))).collect()
}
