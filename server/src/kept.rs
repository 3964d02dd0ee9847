//! What many bundles need again, in memory: the inner rows of full tiles, and the entries of
//! project statements. Both follow from blobs that never change, so nothing here grows stale.
//! And what the bundles of one project share at the newest checkpoint, until there is a newer one.

use crate::view::Entry;
use ledger::bundle::Shared;
use std::collections::HashMap;
use std::hash::Hash as Key;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tlog::Hash;
use tlog::prover::InnerRows;

/// Full tiles at most, at 16 KiB each with their inner rows: 8 MiB.
const TILES: usize = 512;
/// Entries at most, at up to 64 KiB each: 16 MiB.
const ENTRIES: usize = 256;

/// Projects whose bundles' common part is kept at most, at up to about 100 KiB each: 6 MiB.
const PROJECTS: usize = 64;

/// A bounded map. One that is full is emptied: that costs a little work and no bookkeeping.
struct Bounded<K, V> {
    most: usize,
    map: Mutex<HashMap<K, V>>,
}

impl<K: Key + Eq, V: Clone> Bounded<K, V> {
    fn new(most: usize) -> Self {
        let map = Mutex::default();
        Self { most, map }
    }

    fn get_or<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        if let Some(found) = self.lock().get(&key) {
            return Ok(found.clone());
        }
        let value = make()?;
        let mut map = self.lock();
        if map.len() >= self.most {
            map.clear();
        }
        map.insert(key, value.clone());
        Ok(value)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        lock(&self.map)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The common parts of bundles at one checkpoint, by its stamp.
#[derive(Default)]
struct AtStamp {
    stamp: u64,
    by_project: HashMap<Hash, Arc<Shared>>,
}

/// Kept tiles and entries.
pub struct Kept {
    tiles: Bounded<(u8, u64), Arc<InnerRows>>,
    entries: Bounded<u64, Entry>,
    shared: Mutex<AtStamp>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            tiles: Bounded::new(TILES),
            entries: Bounded::new(ENTRIES),
            shared: Mutex::default(),
        }
    }
}

impl Kept {
    /// The inner rows of a full tile; `make` where they are not kept.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn tile<E>(
        &self,
        level: u8,
        index: u64,
        make: impl FnOnce() -> Result<Arc<InnerRows>, E>,
    ) -> Result<Arc<InnerRows>, E> {
        self.tiles.get_or((level, index), make)
    }

    /// An entry that many bundles hold; `make` where it is not kept.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn entry<E>(
        &self,
        index: u64,
        make: impl FnOnce() -> Result<Entry, E>,
    ) -> Result<Entry, E> {
        self.entries.get_or(index, make)
    }

    /// What the bundles of a project share at the checkpoint with this stamp, if it is kept.
    pub fn shared(&self, stamp: u64, project: &Hash) -> Option<Arc<Shared>> {
        let kept = lock(&self.shared);
        let found = kept.by_project.get(project);
        found.filter(|_| kept.stamp == stamp).cloned()
    }

    /// Keeps it, in place of what is of an earlier checkpoint.
    pub fn share(&self, stamp: u64, project: Hash, shared: &Arc<Shared>) {
        let mut kept = lock(&self.shared);
        if stamp > kept.stamp || kept.by_project.len() >= PROJECTS {
            kept.by_project.clear();
        }
        // Whoever read an older checkpoint must not put it in a newer one's place.
        if stamp >= kept.stamp {
            kept.stamp = stamp;
            kept.by_project.insert(project, Arc::clone(shared));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ledger::state::{Current, Leaves, StateDocument};

    #[test]
    fn what_bundles_share_is_that_of_the_newest_size_and_bounded() {
        let head = ledger::bundle::Head {
            leaf: Vec::new(),
            map: Default::default(),
            proof: Vec::new(),
            state: StateDocument {
                end_of_life: Vec::new(),
                frozen: false,
                leaves: Leaves {
                    root: [0; 32],
                    size: 0,
                },
                project: Current {
                    statement: [0; 32],
                    version: 1,
                },
                revoked: Vec::new(),
                withdrawn: [0; 32],
            },
            withdrawn: Default::default(),
        };
        let of = |note: &str| Arc::new(Shared::new(note, head.clone(), &[]).unwrap());
        let kept = Kept::default();
        let (old, new) = (of("old"), of("new"));
        kept.share(7, [1; 32], &old);
        assert_eq!(kept.shared(7, &[1; 32]), Some(Arc::clone(&old)));
        assert_eq!(
            (kept.shared(8, &[1; 32]), kept.shared(7, &[2; 32])),
            (None, None)
        );
        kept.share(8, [2; 32], &new);
        kept.share(7, [1; 32], &old);
        assert_eq!(
            (kept.shared(7, &[1; 32]), kept.shared(8, &[1; 32])),
            (None, None)
        );
        for n in 0..=u8::MAX {
            kept.share(8, [n; 32], &new);
            assert!(lock(&kept.shared).by_project.len() <= PROJECTS);
        }
    }

    #[test]
    fn it_is_bounded_and_keeps_no_failures() {
        let map = Bounded::new(3);
        for key in 0..10u8 {
            assert_eq!(map.get_or(key, || Err("no")), Err("no"));
            assert_eq!(map.get_or(key, || Ok::<_, &str>(key)), Ok(key));
            assert_eq!(map.get_or(key, || Err("kept")), Ok(key));
            assert!(map.lock().len() <= 3);
        }
    }
}
