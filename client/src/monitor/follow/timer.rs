//! How long something has been so, by polls that saw it. An outage between does not count, and
//! ends nothing: else whoever can make one could begin again and again.

use serde::{Deserialize, Serialize};

/// The time so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timer {
    /// Seconds that it was seen to last.
    pub(super) seconds: u64,
    /// The last poll that saw it, if that was the last one at all; 0 for none.
    last: u64,
}

impl Timer {
    /// It is so at `now`. Between two polls at most `most` seconds count: the monitor itself may
    /// have stood still.
    pub(super) fn running(&mut self, now: u64, most: u64) -> u64 {
        if self.last > 0 {
            self.seconds += now.saturating_sub(self.last).min(most);
        }
        self.last = now;
        self.seconds
    }

    /// It cannot be told.
    pub(super) fn pause(&mut self) {
        self.last = 0;
    }

    /// It is not so.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_counts_and_an_outage_ends_nothing() {
        let mut timer = Timer::default();
        assert_eq!(timer.running(100, 120), 0);
        assert_eq!(timer.running(160, 120), 60);
        timer.pause();
        assert_eq!(timer.running(700_000, 120), 60);
        assert_eq!(timer.running(700_060, 120), 120);
        // The monitor was off for a week.
        assert_eq!(timer.running(1_400_000, 120), 240);
        // A clock that was set back.
        assert_eq!(timer.running(5, 120), 240);
        timer.clear();
        assert_eq!(timer.running(9, 120), 0);
    }
}
