//! What `/metrics` counts. Everything here is bounded: kinds are words of this program, and
//! no label ever holds what a stranger sent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Leaves in a batch.
pub(crate) const SIZES: [u64; 9] = [2, 4, 8, 16, 32, 64, 256, 1024, 4096];
/// Microseconds of a commit.
pub(crate) const TIMES: [u64; 11] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
];

/// How often a value was at most each bound.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    // One more than the bounds, for what is above all.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            bounds,
            counts,
            sum: AtomicU64::new(0),
        }
    }

    /// Notes one value.
    pub fn note(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            Metrics::count(count);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The bounds, each with how many values were at most that, and last how many there were.
    #[must_use]
    pub fn rows(&self) -> (Vec<(u64, u64)>, u64) {
        let mut all = 0;
        let mut counts = self.counts.iter().map(|c| {
            all += c.load(Ordering::Relaxed);
            all
        });
        let rows = self.bounds.iter().copied().zip(&mut counts).collect();
        let last = counts.last();
        (rows, last.unwrap_or_default())
    }

    /// The sum of all values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// How far the check after the start is.
#[derive(Debug, Default)]
pub struct Recheck {
    size: AtomicU64,
    reached: AtomicU64,
    ended: AtomicBool,
    over: AtomicBool,
}

impl Recheck {
    pub(crate) fn begin(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    pub(crate) fn reached(&self, leaves: u64) {
        self.reached.store(leaves, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn over(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether it works no more, whatever it came to.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Whether it has ended, and what it found is known.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Leaves that it has still to read.
    #[must_use]
    pub fn left(&self) -> u64 {
        let reached = self.reached.load(Ordering::Relaxed);
        let left = self.size.load(Ordering::Relaxed).saturating_sub(reached);
        if self.ended() { 0 } else { left }
    }
}

/// What a program that listens counts of those who come, whatever it is that it serves.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections closed because their address had as many as it may.
    pub connections_limited: AtomicU64,
    /// Requests turned away by the rate of their address.
    pub address_limited: AtomicU64,
}

/// Counters for `/metrics`.
#[derive(Debug)]
pub struct Metrics {
    /// Submissions that were read.
    pub submitted: AtomicU64,
    /// Submissions turned away because the queue, or the project's share of it, was full.
    pub turned_away: AtomicU64,
    /// Submissions turned away by their project's quota.
    pub project_limited: AtomicU64,
    /// Connections, and what was turned away before it was read.
    pub traffic: Traffic,
    /// Batches committed.
    pub batches: AtomicU64,
    /// Leaves in each batch.
    pub batch_size: Histogram,
    /// Microseconds from a batch's first effect until it is public.
    pub commit_time: Histogram,
    /// The check after the start.
    pub recheck: Recheck,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            submitted: zero(),
            turned_away: zero(),
            project_limited: zero(),
            traffic: Traffic::default(),
            batches: zero(),
            batch_size: Histogram::new(&SIZES),
            commit_time: Histogram::new(&TIMES),
            recheck: Recheck::default(),
            refused: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Adds one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a batch that was committed.
    pub fn committed(&self, leaves: usize, took: Duration) {
        Self::count(&self.batches);
        self.batch_size
            .note(u64::try_from(leaves).unwrap_or(u64::MAX));
        self.commit_time
            .note(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes a submission that was refused, and why.
    pub fn refuse(&self, kind: &'static str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(kind).or_default() += 1;
    }

    /// How many submissions were refused, by kind.
    #[must_use]
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|(kind, n)| (*kind, *n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_at_most_each_bound() {
        let h = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11] {
            h.note(value);
        }
        assert_eq!(h.rows(), (vec![(1, 2), (10, 4)], 5));
        assert_eq!(h.sum(), 24);
    }
}
