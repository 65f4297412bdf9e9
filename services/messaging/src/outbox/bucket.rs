//! Which bucket a key belongs to, and how many buckets a relay should own. Pure.

/// How many buckets there are: no more relays than this can share the work, and a transaction's events are packed
/// into at most so many rows. Few, because rows are what an outbox costs; as many as a service has replicas at most
/// where one of them publishes tens of thousands of events a second. Rows carry their bucket, so changing this needs
/// an empty outbox: otherwise a key could be in two buckets at once, and its order would be lost.
pub(crate) const BUCKETS: i16 = 8;

/// The bucket of `key`. The same in every build, for ever: FNV-1a, because std's hasher promises no such thing.
pub(crate) fn bucket_of(key: &str) -> i16 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = key.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // FNV's low bits alone are weak for keys that differ in their last byte only; fold the high ones in.
    let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
    i16::try_from(folded % BUCKETS.unsigned_abs() as u64).expect("the remainder is less than an i16")
}

/// The bucket for what the broker refused of `bucket`; it belongs to whoever owns that.
pub(crate) const fn aside_of(bucket: i16) -> i16 {
    -1 - bucket
}

/// The bucket that `bucket` is, or is aside of.
pub(crate) const fn own_of(bucket: i16) -> i16 {
    if is_aside(bucket) { aside_of(bucket) } else { bucket }
}

/// Whether `bucket` is one aside.
pub(crate) const fn is_aside(bucket: i16) -> bool {
    bucket < 0
}

/// How many buckets each of `members` relays may own, so that together they can own all.
pub(crate) fn fair_share(members: usize) -> usize {
    usize::from(BUCKETS.unsigned_abs()).div_ceil(members.max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_key_always_has_the_same_bucket() {
        assert_eq!(bucket_of("burger"), bucket_of("burger"));
        assert_eq!(
            ["", "burger", "0195b3d2-7c00-7000-8000-000000000001"].map(bucket_of),
            GOLDEN,
            "rows written by older builds would change their bucket"
        );
    }

    const GOLDEN: [i16; 3] = [1, 1, 0];

    #[test]
    fn keys_spread_over_all_buckets() {
        let mut keys_of: BTreeMap<i16, u32> = BTreeMap::new();
        for number in 0..6400 {
            *keys_of.entry(bucket_of(&format!("order-{number}"))).or_default() += 1;
        }

        assert_eq!(keys_of.len(), usize::from(BUCKETS.unsigned_abs()));
        // 800 expected; a fair hash stays within five standard deviations of it.
        assert!(keys_of.values().all(|keys| (650..=950).contains(keys)), "{keys_of:?}");
    }

    #[test]
    fn every_bucket_has_another_aside() {
        for bucket in 0..BUCKETS {
            assert!(is_aside(aside_of(bucket)) && !is_aside(bucket));
            assert_eq!([bucket, aside_of(bucket)].map(own_of), [bucket; 2]);
        }
    }

    #[test]
    fn shares_cover_all_buckets() {
        for members in 1..=100 {
            assert!(fair_share(members) * members >= usize::from(BUCKETS.unsigned_abs()));
        }
        assert_eq!(fair_share(0), fair_share(1), "a relay that does not see itself yet takes part alone");
    }
}
