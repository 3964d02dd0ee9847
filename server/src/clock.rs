//! Whether a clock can be right, and runs evenly: what a log or a witness has dated in the future
//! can never be taken back.

use rustix::time::{ClockId, clock_gettime};
use std::sync::{Mutex, PoisonError};

/// 2025-01-01: before this program was. A clock that says less was never set.
pub const EARLIEST: u64 = 1_735_689_600;
/// Seconds by which a clock may run ahead of the machine's own count of time.
pub const JUMP: u64 = 300;

/// Why a clock is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// It is behind what was dated last, or was never set.
    #[error("is {by} s behind what it dated last, or behind this program's making")]
    Behind {
        /// Seconds.
        by: u64,
    },
    /// It went ahead while the program ran.
    #[error("went ahead by {by} s at once")]
    Jumped {
        /// Seconds.
        by: u64,
    },
}

/// Seconds since the machine was started, sleep included.
#[must_use]
pub fn uptime() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or_default()
}

/// It is not behind `last`, in Unix seconds, by more than `lag`, nor was it never set.
///
/// # Errors
/// [`ClockError::Behind`].
pub fn not_behind(now: u64, last: u64, lag: u64) -> Result<(), ClockError> {
    let earliest = last.saturating_sub(lag).max(EARLIEST);
    if now < earliest {
        let by = last.max(EARLIEST) - now;
        return Err(ClockError::Behind { by });
    }
    Ok(())
}

/// Where a clock stood against the machine's count of time since it was started, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    wall: u64,
    uptime: u64,
}

/// How a clock ran so far.
#[derive(Debug, Default)]
pub struct Course(Mutex<Option<Anchor>>);

impl Course {
    /// It says `wall`, in Unix seconds, when the machine has counted `uptime` seconds.
    ///
    /// # Errors
    /// [`ClockError::Jumped`], until it is right again.
    pub fn follow(&self, wall: u64, uptime: u64) -> Result<(), ClockError> {
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Anchor { wall, uptime };
        let was = anchor.unwrap_or(now);
        let expected = was.wall.saturating_add(uptime.saturating_sub(was.uptime));
        if let Some(by) = wall.checked_sub(expected).filter(|by| *by > JUMP) {
            return Err(ClockError::Jumped { by });
        }
        // Followed while it runs evenly. One that went back is not: it may come forward again.
        if expected - wall.min(expected) <= JUMP {
            *anchor = Some(now);
        }
        Ok(())
    }
}
