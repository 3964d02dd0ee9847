//! Reads of the check after the start that are tried again where they fail.

use crate::source::LogSource;
use crate::store::InIndex;
use ledger::Hash;
use ledger::released::Released;
use ledger::walk::{Source, Unreadable};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tlog::tile::{EntryTile, Tile};

/// How long it waits each time before it asks a disk again that did not answer.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
    Duration::from_secs(40),
];
/// How soon it notices, resting, that the server stops.
const STEP: Duration = Duration::from_millis(20);

/// Tries again what a disk did not answer: one that is busy, or a process out of descriptors,
/// is no reason to stop signing.
#[derive(Clone)]
pub(super) struct Patience(pub(super) Arc<AtomicBool>);

impl Patience {
    /// Whether the server stops.
    pub(super) fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Rests; less where the server stops.
    pub(super) fn rest(&self, mut rest: Duration) {
        while !rest.is_zero() && !self.stopped() {
            let step = rest.min(STEP);
            std::thread::sleep(step);
            rest -= step;
        }
    }

    /// Reads, and again where it fails so that `passes`; the last answer where it fails for good.
    pub(super) fn with<T, E>(
        &self,
        passes: impl Fn(&E) -> bool,
        mut read: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        for pause in PAUSES {
            match read() {
                Err(e) if passes(&e) && !self.stopped() => self.rest(pause),
                other => return other,
            }
        }
        read()
    }
}

/// The log's bytes as the walk asks for them.
pub(super) struct Patient<'a> {
    pub(super) inner: LogSource<'a>,
    pub(super) patience: Patience,
}

/// The index as the fold asks it.
pub(super) struct PatientIndex {
    pub(super) inner: InIndex,
    pub(super) patience: Patience,
}

impl Released for PatientIndex {
    fn released(&self, purl: &Hash, below: u64) -> Result<Option<u64>, String> {
        let read = || self.inner.released(purl, below);
        self.patience.with(|_| true, read)
    }
    fn stated(&self, pae: &Hash) -> Result<Option<u64>, String> {
        self.patience.with(|_| true, || self.inner.stated(pae))
    }
}

fn failed(e: &Unreadable) -> bool {
    matches!(e, Unreadable::Failed(_))
}

impl Source for Patient<'_> {
    fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable> {
        if self.patience.stopped() {
            return Err(Unreadable::Failed("the server stops".into()));
        }
        self.patience.with(failed, || self.inner.bundle(tile))
    }
    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, Unreadable> {
        self.patience.with(failed, || self.inner.tile(tile))
    }
    fn has_partial_tiles(&self) -> bool {
        self.inner.has_partial_tiles()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{DigestHit, Index, IndexBatch, ProjectHit, SavedState, StoreError};
    use std::sync::atomic::AtomicU32;

    /// An index whose look-ups fail so many times.
    struct Failing(AtomicU32);

    impl Failing {
        fn ask<T>(&self, then: T) -> Result<T, StoreError> {
            let left = |n: u32| n.checked_sub(1);
            match self
                .0
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            {
                Ok(_) => Err(StoreError::Index("busy".into())),
                Err(_) => Ok(then),
            }
        }
    }

    impl Index for Failing {
        fn size(&self) -> Result<u64, StoreError> {
            self.ask(0)
        }
        fn apply(&self, _: &IndexBatch) -> Result<(), StoreError> {
            self.ask(())
        }
        fn state(&self) -> Result<SavedState, StoreError> {
            self.ask(SavedState::default())
        }
        fn by_pae(&self, _: &Hash) -> Result<Option<u64>, StoreError> {
            self.ask(Some(1))
        }
        fn by_purl(&self, _: &Hash, _: u64) -> Result<Option<u64>, StoreError> {
            self.ask(Some(2))
        }
        fn by_digest(&self, _: &Hash, _: usize) -> Result<Vec<DigestHit>, StoreError> {
            self.ask(Vec::new())
        }
        fn by_project(&self, _: &Hash, _: u64, _: usize) -> Result<Vec<ProjectHit>, StoreError> {
            self.ask(Vec::new())
        }
    }

    fn asked(failures: u32, stopped: bool) -> PatientIndex {
        PatientIndex {
            inner: InIndex(Arc::new(Failing(failures.into()))),
            patience: Patience(Arc::new(stopped.into())),
        }
    }

    #[test]
    fn a_look_up_of_the_fold_that_fails_once_is_asked_again() {
        assert_eq!(asked(1, false).released(&[0; 32], 9), Ok(Some(2)));
        assert_eq!(asked(1, false).stated(&[0; 32]), Ok(Some(1)));
    }

    #[test]
    fn a_server_that_stops_does_not_wait_for_a_disk() {
        assert!(asked(u32::MAX, true).released(&[0; 32], 9).is_err());
    }
}
