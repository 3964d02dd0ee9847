//! The index in fjall 3, an LSM store: its cost stays flat where a B-tree's grows.
//!
//! Keyspaces: `meta` (format, size, last time), `pae` (hash → index), `purl` (SHA-256 → index),
//! `restated` (SHA-256 ‖ index, of releases that state a voided one again), `digest` (digest ‖
//! index ‖ position → hit), `project` (id ‖ index → hit), `statement` (id ‖ index → leaf),
//! `standing` (id → standing). Nothing is synced: what a crash loses is caught up from the log,
//! since each batch writes its size with its rows. It writes it into every keyspace: one that
//! is lost is made anew by fjall without a word, and one from a backup is older than the rest.

pub(crate) mod rows;

use super::hits::{digest_hit, digest_value, project_hit, project_value};
use super::{DigestHit, Index, IndexBatch, ProjectHit, SavedState, StoreError};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use std::path::Path;
use tlog::Hash;

const SIZE: &str = "size";
const LAST_TIME: &str = "last-time";
const FORMAT: &str = "format";
/// Bytes of rows of one keyspace in memory before they become a table. What is in no table yet
/// is read from the journal at each start, so this decides how long that takes.
const MEMTABLE: u64 = 4 << 20;
/// The same of keyspaces with a row or two a batch: while one of them has rows in no table, no
/// journal since then goes.
const SMALL_MEMTABLE: u64 = 64 << 10;
/// Bytes of journals, about; the least that fjall takes.
const JOURNALS: u64 = 64 << 20;
/// Raised with each keyspace, since rows that an older version did not write are missing.
const THIS_FORMAT: [u8; 1] = [5];

/// The derived index in one fjall directory.
pub struct FjallIndex {
    db: Database,
    meta: Keyspace,
    pae: Keyspace,
    digest: Keyspace,
    project: Keyspace,
    purl: Keyspace,
    restated: Keyspace,
    statement: Keyspace,
    standing: Keyspace,
}

fn failed(e: impl std::fmt::Display) -> StoreError {
    StoreError::Index(e.to_string())
}

fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    let bytes = <[u8; 8]>::try_from(bytes)
        .map_err(|_| StoreError::Damaged("index: a number has another length".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The number under a key.
fn found(keyspace: &Keyspace, key: &[u8]) -> Result<Option<u64>, StoreError> {
    let bytes = keyspace.get(key).map_err(failed)?;
    bytes.map(|b| number(&b)).transpose()
}

/// The rows under a prefix, each read from its log index and its value.
fn hits<T>(
    keyspace: &Keyspace,
    prefix: &Hash,
    (from, limit): (u64, usize),
    read: impl Fn(u64, &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let first = [prefix.as_slice(), &from.to_be_bytes()].concat();
    // A longer key of the greatest index, such as a digest's, is within it.
    let last = [prefix.as_slice(), &[0xff; 13]].concat();
    keyspace
        .range(first..=last)
        .take(limit)
        .map(|row| {
            let (key, value) = row.into_inner().map_err(failed)?;
            let (_, rest) = id(&key)?;
            read(number(rest.get(..8).unwrap_or_default())?, &value)
        })
        .collect()
}

impl FjallIndex {
    /// Opens, or makes, the index at `path`.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Database::builder(path)
            .cache_size(32 << 20)
            .max_journaling_size(JOURNALS)
            .open()
            .map_err(failed)?;
        let open = |name: &str| {
            let few = ["meta", "restated", "statement", "standing"].contains(&name);
            let size = if few { SMALL_MEMTABLE } else { MEMTABLE };
            let options = || KeyspaceCreateOptions::default().max_memtable_size(size);
            db.keyspace(name, options).map_err(failed)
        };
        let meta = open("meta")?;
        let format = meta.get(FORMAT).map_err(failed)?;
        let size = found(&meta, SIZE.as_bytes())?;
        if let Some(size) = size
            && format.as_deref() != Some(THIS_FORMAT.as_slice())
        {
            return Err(StoreError::OtherIndex(size));
        }
        let index = Self {
            pae: open("pae")?,
            digest: open("digest")?,
            project: open("project")?,
            purl: open("purl")?,
            restated: open("restated")?,
            statement: open("statement")?,
            standing: open("standing")?,
            meta,
            db,
        };
        for (name, keyspace) in index.tables() {
            let own = found(keyspace, SIZE.as_bytes())?;
            if own != size {
                let most = own.max(size).unwrap_or_default();
                return Err(StoreError::TornIndex(most, name));
            }
        }
        Ok(index)
    }

    /// All keyspaces but `meta`.
    fn tables(&self) -> [(&'static str, &Keyspace); 7] {
        [
            ("pae", &self.pae),
            ("digest", &self.digest),
            ("project", &self.project),
            ("purl", &self.purl),
            ("restated", &self.restated),
            ("statement", &self.statement),
            ("standing", &self.standing),
        ]
    }

    /// A number under `meta`; 0 before the first batch.
    fn meta(&self, name: &str) -> Result<u64, StoreError> {
        Ok(found(&self.meta, name.as_bytes())?.unwrap_or_default())
    }
}

/// The id in front of a key, and what follows it.
fn id(key: &[u8]) -> Result<(Hash, &[u8]), StoreError> {
    let (id, rest) = key
        .split_first_chunk::<32>()
        .ok_or_else(|| StoreError::Damaged("index: a key is too short".into()))?;
    Ok((*id, rest))
}

impl Index for FjallIndex {
    fn size(&self) -> Result<u64, StoreError> {
        self.meta(SIZE)
    }

    fn state(&self) -> Result<SavedState, StoreError> {
        let mut state = SavedState {
            size: self.meta(SIZE)?,
            last_time: self.meta(LAST_TIME)?,
            ..SavedState::default()
        };
        for row in self.statement.iter() {
            let (key, leaf) = row.into_inner().map_err(failed)?;
            if *key == *SIZE.as_bytes() {
                continue;
            }
            let (id, index) = id(&key)?;
            state.statements.push((id, number(index)?, leaf.to_vec()));
        }
        for row in self.standing.iter() {
            let (key, standing) = row.into_inner().map_err(failed)?;
            if *key == *SIZE.as_bytes() {
                continue;
            }
            let (id, _) = id(&key)?;
            state.standings.push((id, standing.to_vec()));
        }
        Ok(state)
    }

    fn apply(&self, batch: &IndexBatch) -> Result<(), StoreError> {
        let mut writes = self.db.batch();
        for (pae, index) in &batch.paes {
            writes.insert(&self.pae, pae.as_slice(), index.to_be_bytes().as_slice());
        }
        for (position, (digest, hit)) in batch.digests.iter().enumerate() {
            // The position keeps apart two names of one digest in one release.
            let position = u32::try_from(position).map_err(failed)?.to_be_bytes();
            let index = hit.index.to_be_bytes();
            let key = [digest.as_slice(), &index, &position].concat();
            writes.insert(&self.digest, key, digest_value(hit)?);
        }
        for (project, hit) in &batch.projects {
            let key = [project.as_slice(), &hit.index.to_be_bytes()].concat();
            writes.insert(&self.project, key, project_value(hit)?);
        }
        for (purl, index) in &batch.purls {
            writes.insert(&self.purl, purl.as_slice(), index.to_be_bytes().as_slice());
        }
        for (purl, index) in &batch.restated {
            let key = [purl.as_slice(), &index.to_be_bytes()].concat();
            writes.insert(&self.restated, key, [].as_slice());
        }
        for (project, index, leaf) in &batch.statements {
            let key = [project.as_slice(), &index.to_be_bytes()].concat();
            writes.insert(&self.statement, key, leaf.as_slice());
        }
        for (project, standing) in &batch.standings {
            writes.insert(&self.standing, project.as_slice(), standing.as_slice());
        }
        let last_time = batch.last_time.to_be_bytes();
        writes.insert(&self.meta, LAST_TIME, last_time.as_slice());
        writes.insert(&self.meta, FORMAT, THIS_FORMAT.as_slice());
        let size = batch.size.to_be_bytes();
        for (_, keyspace) in self.tables() {
            writes.insert(keyspace, SIZE, size.as_slice());
        }
        writes.insert(&self.meta, SIZE, size.as_slice());
        writes.commit().map_err(failed)
    }

    fn by_pae(&self, pae: &Hash) -> Result<Option<u64>, StoreError> {
        found(&self.pae, pae)
    }

    fn by_purl(&self, purl: &Hash, below: u64) -> Result<Option<u64>, StoreError> {
        let first = found(&self.purl, purl)?.filter(|index| *index < below);
        if first.is_none() {
            return Ok(None);
        }
        let key = |index: u64| [purl.as_slice(), &index.to_be_bytes()].concat();
        let again = self.restated.range(key(0)..key(below)).next_back();
        let Some(row) = again else { return Ok(first) };
        let (key, _) = row.into_inner().map_err(failed)?;
        let (_, rest) = id(&key)?;
        number(rest).map(Some)
    }

    fn by_digest(&self, digest: &Hash, limit: usize) -> Result<Vec<DigestHit>, StoreError> {
        hits(&self.digest, digest, (0, limit), digest_hit)
    }

    fn by_project(
        &self,
        project: &Hash,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ProjectHit>, StoreError> {
        hits(&self.project, project, (from, limit), project_hit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_come_back_in_order_and_the_size_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let hit = |index: u64, name: &str| DigestHit {
            index,
            project: "70".repeat(32),
            purl: "u".into(),
            name: name.into(),
        };
        let entry = |index: u64| ProjectHit {
            index,
            what: "release".into(),
            purl: None,
            statement: None,
        };
        {
            let index = FjallIndex::open(dir.path()).unwrap();
            assert_eq!(index.size().unwrap(), 0);
            let batch = IndexBatch {
                size: 300,
                paes: vec![([1; 32], 7)],
                purls: vec![([1; 32], 8)],
                restated: vec![([1; 32], 90), ([1; 32], 11)],
                digests: vec![
                    ([2; 32], hit(256, "c")),
                    ([2; 32], hit(1, "a")),
                    ([2; 32], hit(1, "b")),
                ],
                projects: vec![
                    ([3; 32], entry(2)),
                    ([3; 32], entry(1)),
                    ([4; 32], entry(3)),
                ],
                statements: vec![([4; 32], 9, vec![4]), ([3; 32], 256, vec![3])],
                standings: vec![([4; 32], vec![1]), ([3; 32], vec![])],
                last_time: 77,
            };
            index.apply(&batch).unwrap();
        }
        let index = FjallIndex::open(dir.path()).unwrap();
        assert_eq!(index.size().unwrap(), 300);
        assert_eq!(index.by_pae(&[1; 32]).unwrap(), Some(7));
        assert_eq!(index.by_pae(&[9; 32]).unwrap(), None);
        for (below, last) in [
            (8, None),
            (9, Some(8)),
            (11, Some(8)),
            (12, Some(11)),
            (91, Some(90)),
            (u64::MAX, Some(90)),
        ] {
            assert_eq!(index.by_purl(&[1; 32], below).unwrap(), last, "{below}");
        }
        let names: Vec<_> = index
            .by_digest(&[2; 32], 10)
            .unwrap()
            .into_iter()
            .map(|h| h.name)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(index.by_project(&[3; 32], 0, 1).unwrap(), vec![entry(1)]);
        assert_eq!(index.by_project(&[3; 32], 2, 9).unwrap(), vec![entry(2)]);
        assert_eq!(index.by_project(&[3; 32], 3, 9).unwrap(), vec![]);
        let later = IndexBatch {
            size: 301,
            standings: vec![([4; 32], vec![2])],
            last_time: 78,
            ..IndexBatch::default()
        };
        index.apply(&later).unwrap();
        let state = SavedState {
            size: 301,
            last_time: 78,
            statements: vec![([3; 32], 256, vec![3]), ([4; 32], 9, vec![4])],
            standings: vec![([3; 32], vec![]), ([4; 32], vec![2])],
        };
        assert_eq!(index.state().unwrap(), state);
    }

    #[test]
    fn a_keyspace_that_was_lost_or_is_older_is_noticed() {
        for name in [
            "pae",
            "purl",
            "restated",
            "digest",
            "project",
            "statement",
            "standing",
        ] {
            for older in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let index = FjallIndex::open(dir.path()).unwrap();
                let batch = IndexBatch {
                    size: 300,
                    ..IndexBatch::default()
                };
                index.apply(&batch).unwrap();
                let (_, keyspace) = index
                    .tables()
                    .into_iter()
                    .find(|(n, _)| *n == name)
                    .unwrap();
                if older {
                    keyspace.insert(SIZE, 299_u64.to_be_bytes()).unwrap();
                } else {
                    keyspace.remove(SIZE).unwrap();
                }
                drop(index);
                let torn = FjallIndex::open(dir.path()).err().unwrap();
                assert_eq!(torn, StoreError::TornIndex(300, name));
            }
        }
    }

    #[test]
    fn an_index_of_another_version_says_how_far_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let index = FjallIndex::open(dir.path()).unwrap();
        let size = 300;
        index
            .apply(&IndexBatch {
                size,
                ..IndexBatch::default()
            })
            .unwrap();
        index.meta.insert(FORMAT, [1]).unwrap();
        drop(index);
        let other = FjallIndex::open(dir.path()).err().unwrap();
        assert_eq!(other, StoreError::OtherIndex(size));
    }
}
