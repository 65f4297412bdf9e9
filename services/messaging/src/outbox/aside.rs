//! What the broker refused, and what waits behind it. Pure.
//!
//! A row with records that were refused is set aside: with what is left of it, it moves to a bucket beside its own
//! ([`aside_of`]), so that the rows behind it are read. There it is tried again, with all that is aside, in passes from
//! the first row to the last, further and further apart for as long as none publishes anything.
//!
//! # What order is kept
//! Kafka keeps the order of a partition, and a key has one partition on each topic: so order is promised per key *on a
//! topic*, and nothing more is held back. A record follows those of its key and topic aside; it leads past every other.
//! What was handed over in one go with a record that is refused cannot be held any more: in a pass too, one that is too
//! large may be overtaken by those behind it.
//!
//! What is aside is known from having read it: whoever takes a bucket makes a pass before reading its rows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::{aside_of, is_aside, own_of};
use crate::backoff::Backoff;
use crate::record::Outgoing;

/// The first and the longest wait between two passes. The client itself looks for topics that it missed every ten
/// seconds.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How many keys of a topic and bucket are remembered: what is refused without end must not take memory without end.
/// With so many it is not the records that are at fault but the topic, and all of it waits.
const KEYS_MAX: usize = 1_000;
/// Before every row's id.
pub(super) const FIRST: i64 = 0;

/// What is aside in a relay's buckets. A row's bucket may be given as either: its own, or the one aside.
#[derive(Debug)]
pub(super) struct Aside {
    buckets: BTreeMap<i16, Siding>,
    /// When the relay's round began.
    now: Instant,
}

impl Aside {
    /// What is aside of no bucket.
    pub(super) fn new(now: Instant) -> Self {
        Self { buckets: BTreeMap::new(), now }
    }

    /// Begins a round. Buckets that are not `owned` any more are forgotten, new ones are due for their first pass.
    pub(super) fn begin(&mut self, owned: &BTreeSet<i16>, now: Instant) {
        self.now = now;
        self.buckets.retain(|bucket, _| owned.contains(bucket));
        for bucket in owned {
            self.buckets.entry(*bucket).or_insert_with(|| Siding::new(now));
        }
    }

    /// The buckets of which it is known what is aside: their own rows may be read.
    pub(super) fn known(&self) -> impl Iterator<Item = i16> {
        self.buckets.iter().filter(|(_, siding)| siding.known).map(|(bucket, _)| *bucket)
    }

    /// The buckets aside that are due, and after which row their pass goes on.
    pub(super) fn due(&self) -> Vec<(i16, i64)> {
        let due = |siding: &Siding| siding.due.is_some_and(|due| due <= self.now);
        let due = self.buckets.iter().filter(|(_, siding)| due(siding));
        due.map(|(bucket, siding)| (aside_of(*bucket), siding.after)).collect()
    }

    /// Whether `record`, of a row of `bucket`, has to wait for others of its key and topic.
    pub(super) fn holds(&self, bucket: i16, record: &Outgoing) -> bool {
        self.buckets.get(&own_of(bucket)).is_some_and(|siding| match is_aside(bucket) {
            false => siding.held.has(record),
            // In a pass, everything is tried once, except behind what was refused or came aside in this same pass.
            true => siding.again.has(record),
        })
    }

    /// Notes that `record`, of a row of `bucket`, stays aside or was set aside.
    pub(super) fn hold(&mut self, bucket: i16, record: &Outgoing) {
        if let Some(siding) = self.buckets.get_mut(&own_of(bucket)) {
            siding.held.add(record);
            siding.again.add(record);
            siding.linger(self.now);
        }
    }

    /// Notes that a row of `bucket` which cannot be opened stays aside or was set aside.
    pub(super) fn hold_unopened(&mut self, bucket: i16) {
        if let Some(siding) = self.buckets.get_mut(&own_of(bucket)) {
            siding.linger(self.now);
        }
    }

    /// Notes that something of a row of `bucket`, one aside, was published.
    pub(super) fn published(&mut self, bucket: i16) {
        if let Some(siding) = self.buckets.get_mut(&own_of(bucket)) {
            siding.wait.reset();
        }
    }

    /// Notes how far the pass over `bucket`, one aside, has come: to the row `last`, or to its end.
    pub(super) fn passed(&mut self, bucket: i16, last: Option<i64>) {
        let Some(siding) = self.buckets.get_mut(&own_of(bucket)) else { return };
        match last {
            Some(last) => siding.after = last,
            None => siding.end_pass(self.now),
        }
    }
}

/// What is aside of one bucket.
#[derive(Debug)]
struct Siding {
    /// Whether a pass was made, so that `held` is complete.
    known: bool,
    /// What may be aside.
    held: Keys,
    /// The part of it that the pass under way, or what came meanwhile, has shown to be.
    again: Keys,
    /// Whether any row is; some have no keys that could be read.
    lingers: bool,
    /// The last row that the pass under way has seen.
    after: i64,
    /// When the pass goes on, or the next begins; none while nothing is aside.
    due: Option<Instant>,
    wait: Backoff,
}

impl Siding {
    fn new(now: Instant) -> Self {
        Self {
            known: false,
            held: Keys::default(),
            again: Keys::default(),
            lingers: false,
            after: FIRST,
            due: Some(now),
            wait: Backoff::new(WAITS.0, WAITS.1),
        }
    }

    fn linger(&mut self, now: Instant) {
        self.lingers = true;
        if self.due.is_none() {
            self.due = Some(now + self.wait.next());
        }
    }

    fn end_pass(&mut self, now: Instant) {
        self.known = true;
        self.held = std::mem::take(&mut self.again);
        self.after = FIRST;
        if std::mem::take(&mut self.lingers) {
            self.due = Some(now + self.wait.next());
        } else {
            self.due = None;
            self.wait.reset();
        }
    }
}

/// Keys by topic.
#[derive(Debug, Default)]
struct Keys(HashMap<String, HashSet<Vec<u8>>>);

impl Keys {
    fn has(&self, record: &Outgoing) -> bool {
        let key = record.key.as_deref().unwrap_or_default();
        self.0.get(&record.topic).is_some_and(|keys| keys.len() >= KEYS_MAX || keys.contains(key))
    }

    fn add(&mut self, record: &Outgoing) {
        if self.has(record) {
            return;
        }
        let keys = self.0.entry(record.topic.clone()).or_default();
        keys.insert(record.key.clone().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: i16 = 3;
    const BESIDE: i16 = aside_of(OWN);

    fn record(topic: &str, key: &str) -> Outgoing {
        let key = Some(key.as_bytes().to_vec());
        Outgoing { topic: topic.to_owned(), key, value: None, headers: Vec::new(), timestamp: None }
    }

    /// What a relay knows of a bucket of which nothing is aside.
    fn nothing_aside() -> Aside {
        let now = Instant::now();
        let mut aside = Aside::new(now);
        aside.begin(&BTreeSet::from([OWN]), now);
        aside.passed(BESIDE, None);
        aside
    }

    #[test]
    fn the_rows_of_a_bucket_are_read_once_it_is_known_what_is_aside() {
        let now = Instant::now();
        let mut aside = Aside::new(now);
        aside.begin(&BTreeSet::from([OWN]), now);
        assert_eq!(aside.due(), [(BESIDE, FIRST)]);
        assert_eq!(aside.known().count(), 0);

        aside.passed(BESIDE, Some(40));
        assert_eq!(aside.due(), [(BESIDE, 40)], "it goes on where it stopped");
        assert_eq!(aside.known().count(), 0);
        aside.passed(BESIDE, None);

        assert_eq!(aside.known().collect::<Vec<_>>(), [OWN]);
        assert_eq!(aside.due(), [], "nothing is aside");
        aside.begin(&BTreeSet::new(), now);
        aside.begin(&BTreeSet::from([OWN]), now);
        assert_eq!(aside.known().count(), 0, "another may have set something aside meanwhile");
    }

    #[test]
    fn only_records_of_the_same_key_and_topic_wait_for_one_that_was_refused() {
        let mut aside = nothing_aside();

        aside.hold(OWN, &record("stock", "burger"));

        assert!(aside.holds(OWN, &record("stock", "burger")));
        assert!(!aside.holds(OWN, &record("stock", "fries")));
        assert!(!aside.holds(OWN, &record("orders", "burger")));
        assert!(!aside.holds(OWN + 1, &record("stock", "burger")));
    }

    #[test]
    fn a_key_waits_until_a_pass_has_shown_that_nothing_of_it_is_aside() {
        let mut aside = nothing_aside();
        let (burger, fries) = (record("stock", "burger"), record("stock", "fries"));
        aside.hold(OWN, &burger);
        aside.passed(BESIDE, None);
        assert!(!aside.holds(BESIDE, &burger), "it is tried again");
        assert!(aside.holds(OWN, &burger), "others of its key wait meanwhile");

        // One more comes aside while the pass is under way, and another is refused by it.
        aside.passed(BESIDE, Some(7));
        aside.hold(OWN, &burger);
        aside.hold(BESIDE, &fries);
        assert!(aside.holds(BESIDE, &burger), "what comes later must not be met before it");
        aside.passed(BESIDE, None);
        assert!(aside.holds(OWN, &burger) && aside.holds(OWN, &fries));
        aside.passed(BESIDE, None);

        assert!(!aside.holds(OWN, &burger) && !aside.holds(OWN, &fries));
    }

    #[test]
    fn passes_are_made_while_something_is_aside_further_and_further_apart() {
        let mut aside = nothing_aside();
        let wait_for_pass = |aside: &mut Aside| {
            let begun = aside.now;
            while aside.due().is_empty() && aside.now < begun + 2 * WAITS.1 {
                aside.begin(&BTreeSet::from([OWN]), aside.now + Duration::from_millis(10));
            }
            aside.now - begun
        };
        aside.hold_unopened(OWN);
        assert_eq!(aside.due(), [], "not at once");

        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(wait_for_pass(&mut aside));
            aside.hold_unopened(BESIDE);
            aside.passed(BESIDE, None);
        }
        aside.published(BESIDE);
        aside.hold_unopened(BESIDE);
        aside.passed(BESIDE, None);
        let quick = wait_for_pass(&mut aside);
        aside.passed(BESIDE, None);

        assert!(waits[0] <= 2 * WAITS.0 && waits[11] >= WAITS.1 / 2, "{waits:?}");
        assert!(quick <= 2 * WAITS.0, "what goes on is not waited for long: {quick:?}");
        assert!(wait_for_pass(&mut aside) > WAITS.1, "nothing is aside");
    }

    #[test]
    fn a_topic_of_which_everything_is_refused_takes_no_memory_without_end() {
        let mut aside = nothing_aside();

        for number in 0..2 * KEYS_MAX {
            aside.hold(OWN, &record("stock", &number.to_string()));
        }

        let keys = aside.buckets.values().flat_map(|siding| siding.held.0.values()).map(HashSet::len);
        assert_eq!(keys.sum::<usize>(), KEYS_MAX);
        assert!(aside.holds(OWN, &record("stock", "burger")), "all of it waits");
        assert!(!aside.holds(OWN, &record("orders", "burger")));
    }
}
