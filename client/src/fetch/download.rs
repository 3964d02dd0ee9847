//! A body as it comes from the network.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// For any single read of a download: one that stalls ends, one that is slow goes on.
pub(super) const STALL: Duration = Duration::from_secs(60);
/// A download ends of which fewer bytes come while [`STALL`] is waited for them: 1 KiB a second.
const PACE: u64 = 60 * 1024;

/// A body as it comes. Ends in an error where fewer bytes come than were announced.
pub struct Download {
    inner: ureq::BodyReader<'static>,
    left: Option<u64>,
    received: Arc<AtomicU64>,
    /// Of what has no limit in time.
    pace: Option<Pace>,
}

/// How much came while it was waited for; what is done with it meanwhile takes no time here.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Counts `n` bytes for which `took` was waited.
    ///
    /// # Errors
    /// Where a server drips: each byte comes in time, and the whole never would.
    fn count(&mut self, n: usize, took: Duration) -> std::io::Result<()> {
        self.waited = self.waited.saturating_add(took);
        self.bytes = self.bytes.saturating_add(n as u64);
        if self.waited < STALL {
            return Ok(());
        }
        let Self { waited, bytes } = std::mem::take(self);
        if bytes >= PACE {
            return Ok(());
        }
        Err(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("only {bytes} bytes came in {} s", waited.as_secs()),
        ))
    }
}

impl Download {
    pub(super) fn new(
        inner: ureq::BodyReader<'static>,
        length: Option<u64>,
        received: Arc<AtomicU64>,
    ) -> Self {
        Self {
            inner,
            left: length,
            received,
            pace: None,
        }
    }

    /// Ends too where it drips: for what has no limit in time.
    pub(super) fn keeps_pace(&mut self) {
        self.pace = Some(Pace::default());
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let asked = Instant::now();
        let n = self.inner.read(buffer)?;
        if n == 0 && !buffer.is_empty() {
            return match self.left {
                Some(left) if left > 0 => Err(std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    format!("the connection ended {left} bytes short of the announced length"),
                )),
                _ => Ok(0),
            };
        }
        self.received.fetch_add(n as u64, Relaxed);
        if let Some(pace) = &mut self.pace {
            pace.count(n, asked.elapsed())?;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(n as u64);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_download_that_drips_ends_and_one_that_is_slow_goes_on() {
        let second = Duration::from_secs(1);
        let counts = |each: usize, seconds: u32| {
            let mut pace = Pace::default();
            (0..seconds).find_map(|_| pace.count(each, second).err())
        };
        assert!(counts(1, 59).is_none());
        let error = counts(1, 60).unwrap();
        assert_eq!(error.to_string(), "only 60 bytes came in 60 s");
        assert!(counts(1024, 1000).is_none());
        assert!(counts(1023, 1000).is_some());
        // What was fast before does not make up for it, and no time passes unless it is waited.
        let mut pace = Pace::default();
        assert!(pace.count(1 << 30, STALL).is_ok());
        assert!(pace.count(0, STALL).is_err());
        let mut pace = Pace::default();
        assert!((0..1000).all(|_| pace.count(1, Duration::ZERO).is_ok()));
    }
}
