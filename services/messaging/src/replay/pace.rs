//! How fast a replay goes.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// Holds a number of records per second.
pub(super) struct Pace {
    per_second: NonZeroU32,
    next: Instant,
}

impl Pace {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self { per_second, next: Instant::now() }
    }

    /// How many records to send at once: a tenth of a second's, so that round trips are shared and the rate is
    /// still even.
    pub(super) fn portion(&self) -> usize {
        const MOST: u32 = 500;
        usize::try_from((self.per_second.get() / 10).clamp(1, MOST)).unwrap_or(1)
    }

    /// Waits until `records` more may be sent.
    pub(super) async fn wait_for(&mut self, records: usize) {
        tokio::time::sleep_until(self.next).await;
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        let takes = Duration::from_secs(1).saturating_mul(records) / self.per_second.get();
        // From now: time that was lost is not caught up by a burst.
        self.next = Instant::now() + takes;
    }
}
