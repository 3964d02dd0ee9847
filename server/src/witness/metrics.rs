//! What a witness counts. Everything is bounded: no label holds what a stranger sent.

use crate::metrics::{Histogram, SIZES, TIMES, Traffic};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counters for `/metrics`.
#[derive(Debug)]
pub struct Metrics {
    answers: Mutex<BTreeMap<(u16, &'static str), u64>>,
    /// When the last cosignature was made, by its own time; 0 for never since the start.
    pub last_cosigned: AtomicU64,
    /// Whether the clock was not believed when it was last asked.
    pub clock_wrong: AtomicBool,
    /// Batches committed.
    pub batches: AtomicU64,
    /// Checkpoints cosigned in each.
    pub batch_size: Histogram,
    /// Microseconds from a batch's beginning until it is durable.
    pub commit_time: Histogram,
    /// Connections, and what was turned away before it was read.
    pub traffic: Traffic,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            answers: Mutex::default(),
            last_cosigned: AtomicU64::new(0),
            clock_wrong: AtomicBool::new(false),
            batches: AtomicU64::new(0),
            batch_size: Histogram::new(&SIZES),
            commit_time: Histogram::new(&TIMES),
            traffic: Traffic::default(),
        }
    }
}

impl Metrics {
    /// Notes an answer to `add-checkpoint`.
    pub fn answered(&self, status: u16, kind: &'static str) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((status, kind)).or_default() += 1;
    }

    /// How many answers there were of each status and kind.
    #[must_use]
    pub fn answers(&self) -> BTreeMap<(u16, &'static str), u64> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.clone()
    }

    /// Notes a batch that was committed.
    pub fn committed(&self, checkpoints: usize, newest: u64, took: Duration) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.last_cosigned.store(newest, Ordering::Relaxed);
        self.batch_size
            .note(u64::try_from(checkpoints).unwrap_or(u64::MAX));
        self.commit_time
            .note(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}
