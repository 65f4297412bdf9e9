//! Outages of the toy world: nothing is heard, and afterwards everybody is given a whole time limit.

use std::time::Duration;

use domain::hold::{Hold, HoldTerms};
use jiff::Timestamp;

use crate::model::{STEP_TIMEOUT, World};

pub(crate) const NEVER_HELD: Hold = Hold { since: Timestamp::MIN, until: Timestamp::MIN };

/// No limit: who hears nothing for ever is another story.
fn terms(patience: Duration) -> HoldTerms {
    HoldTerms { patience, limit: Duration::MAX }
}

impl World {
    pub(crate) fn hear_nothing_for(&mut self, outage: Duration) {
        self.now += outage;
        self.order_hold = terms(STEP_TIMEOUT).extended(self.order_hold, self.now);
        self.reservation_hold = terms(self.reservation_life).extended(self.reservation_hold, self.now);
    }

    pub(crate) fn may_cancel(&self) -> bool {
        terms(STEP_TIMEOUT).allow(self.order_hold, self.now)
    }

    pub(crate) fn may_free_units(&self) -> bool {
        terms(self.reservation_life).allow(self.reservation_hold, self.now)
    }
}
