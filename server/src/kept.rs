//! What many bundles need again, in memory: the inner rows of full tiles, and the entries of
//! project statements. Both follow from blobs that never change, so nothing here grows stale.

use crate::view::Entry;
use std::collections::HashMap;
use std::hash::Hash as Key;
use std::sync::{Arc, Mutex, PoisonError};
use tlog::prover::InnerRows;

/// Full tiles at most, at 16 KiB each with their inner rows: 8 MiB.
const TILES: usize = 512;
/// Entries at most, at up to 64 KiB each: 16 MiB.
const ENTRIES: usize = 256;

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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, V>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kept tiles and entries.
pub struct Kept {
    tiles: Bounded<(u8, u64), Arc<InnerRows>>,
    entries: Bounded<u64, Entry>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            tiles: Bounded::new(TILES),
            entries: Bounded::new(ENTRIES),
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
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
