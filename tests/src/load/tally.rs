//! What came back, and when.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::time::{Duration, Instant};

/// What a load brought. Rates and latencies are those of the measured time; the counts are
/// of the whole run.
#[derive(Debug)]
pub struct Tally {
    started: Instant,
    from: Instant,
    to: Instant,
    /// Sends that were due.
    pub offered: u64,
    /// Sends that were due when every connection waited for an answer: never sent.
    pub not_sent: u64,
    /// Releases with a bundle.
    pub accepted: u64,
    /// Repeated releases that were answered with the entry that stands.
    pub duplicates: u64,
    /// Sends for which the log had no room (503 or 429); they are among the errors too.
    pub turned_away: u64,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// When the measured releases were accepted and, in microseconds from their intended
    /// send, how long they took.
    times: Vec<(Instant, u32)>,
    bundles: Option<BufWriter<File>>,
    why: Option<String>,
}

impl Tally {
    /// An empty one; what is sent before `from` is warm-up.
    ///
    /// # Errors
    /// A sentence, where bundles are to be kept and there is no room for a temporary file.
    pub fn new(started: Instant, from: Instant, keep: bool) -> Result<Self, String> {
        let bundles = match keep {
            true => Some(BufWriter::new(
                tempfile::tempfile().map_err(|e| e.to_string())?,
            )),
            false => None,
        };
        Ok(Self {
            started,
            from,
            to: from,
            offered: 0,
            not_sent: 0,
            accepted: 0,
            duplicates: 0,
            turned_away: 0,
            errors: BTreeMap::new(),
            times: Vec::new(),
            bundles,
            why: None,
        })
    }

    /// Counts a release that was to be sent at `intended` and has its bundle `now`.
    pub fn accepted(&mut self, intended: Instant, now: Instant, bundle: &[u8]) {
        self.accepted += 1;
        self.to = self.to.max(now);
        if now >= self.from {
            let took = now.saturating_duration_since(intended).as_micros();
            self.times
                .push((now, u32::try_from(took).unwrap_or(u32::MAX)));
        }
        if let Some(file) = &mut self.bundles {
            let length = u32::try_from(bundle.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes();
            let written = file
                .write_all(&length)
                .and_then(|()| file.write_all(bundle));
            if let Err(e) = written {
                self.why = Some(format!("a bundle could not be kept: {e}"));
                self.bundles = None;
            }
        }
    }

    /// Counts an error.
    pub fn error(&mut self, kind: String, now: Instant) {
        self.to = self.to.max(now);
        *self.errors.entry(kind).or_default() += 1;
    }

    /// Ends the measured time: at `end`, or with the last answer.
    ///
    /// # Errors
    /// A sentence, where a bundle could not be kept.
    pub fn finish(&mut self, end: Option<Instant>) -> Result<(), String> {
        self.to = end.map_or(self.to, |end| self.to.min(end)).max(self.from);
        self.why.take().map_or(Ok(()), Err)
    }

    /// Seconds since the start.
    #[must_use]
    pub fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The measured time.
    #[must_use]
    pub fn window(&self) -> (Instant, Instant) {
        (self.from, self.to)
    }

    /// Releases accepted in the measured time.
    #[must_use]
    pub fn measured(&self) -> usize {
        self.times.iter().filter(|(at, _)| *at <= self.to).count()
    }

    /// Releases accepted a second, over the measured time.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let seconds = (self.to - self.from).as_secs_f64();
        self.measured() as f64 / seconds.max(1e-6)
    }

    /// Latencies, sorted.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        Latencies::new(self.times.iter().map(|(_, took)| *took).collect())
    }

    /// The bundles that were kept, one after the other.
    ///
    /// # Errors
    /// A sentence: they cannot be read back, or `each` says so.
    pub fn bundles(
        &mut self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<u64, String> {
        let Some(writer) = self.bundles.take() else {
            return Ok(0);
        };
        let mut file = writer.into_inner().map_err(|e| e.to_string())?;
        file.rewind().map_err(|e| e.to_string())?;
        let mut file = BufReader::new(file);
        let mut bytes = Vec::new();
        for _ in 0..self.accepted {
            let mut length = [0; 4];
            file.read_exact(&mut length).map_err(|e| e.to_string())?;
            bytes.resize(u32::from_be_bytes(length) as usize, 0);
            file.read_exact(&mut bytes).map_err(|e| e.to_string())?;
            each(&bytes)?;
        }
        Ok(self.accepted)
    }
}

/// Latencies in microseconds, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Sorts them.
    #[must_use]
    pub fn new(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    /// The smallest that so many of a thousand do not exceed; zero where there is none.
    #[must_use]
    pub fn at(&self, of_a_thousand: usize) -> Duration {
        let rank = (self.0.len() * of_a_thousand).div_ceil(1000);
        let found = self.0.get(rank.saturating_sub(1)).copied();
        Duration::from_micros(found.unwrap_or(0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ranks_of_what_was_measured() {
        let latencies = Latencies::new((1..=1000).rev().collect());
        for (of_a_thousand, want) in [(500, 500), (990, 990), (999, 999), (1000, 1000)] {
            assert_eq!(latencies.at(of_a_thousand), Duration::from_micros(want));
        }
        assert_eq!(Latencies::new(vec![7]).at(990), Duration::from_micros(7));
        assert_eq!(Latencies::new(Vec::new()).at(500), Duration::ZERO);
    }

    #[test]
    fn the_warm_up_counts_and_is_not_measured() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut tally = Tally::new(start, at(1000), true).unwrap_or_else(|e| panic!("{e}"));
        for ms in [500, 1100, 1900, 2500] {
            tally.accepted(at(ms - 100), at(ms), b"bundle");
        }
        assert_eq!(tally.finish(Some(at(2000))), Ok(()));
        assert_eq!((tally.accepted, tally.measured()), (4, 2));
        // Measured from 1.0 s to 2.0 s.
        assert!((tally.rate() - 2.0).abs() < 1e-9, "{}", tally.rate());
        assert_eq!(tally.latencies().at(500), Duration::from_millis(100));
        let mut seen = Vec::new();
        let count = tally.bundles(&mut |b| {
            seen.push(b.to_vec());
            Ok(())
        });
        assert_eq!((count, seen), (Ok(4), vec![b"bundle".to_vec(); 4]));
    }
}
