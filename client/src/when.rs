//! Times as people read and write them.

use std::time::{Duration, UNIX_EPOCH};

/// Unix seconds as a date and time in UTC, `2026-01-31T08:30:00Z`.
#[must_use]
pub fn time(seconds: u64) -> String {
    // Beyond the year 9999 there is no such form; nothing that we read goes that far.
    let last = Duration::from_secs(seconds.min(253_402_300_799));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + last).to_string()
}

/// A time as a person writes it, 2026-01-31T08:30:00Z, as Unix seconds. Its zone is not guessed.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    let when = humantime::parse_rfc3339(text).ok()?;
    Some(when.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}
