//! What an audit keeps of a log between bundles, and between runs: in fjall, an LSM store whose
//! cost stays flat, since the released purls of a large log are too many for memory.
//!
//! Keyspaces: `meta` (the record), `purl` (SHA-256 → index of the last release), `pae` (hash →
//! index), `statement` (id ‖ index → leaf), `standing` (id → standing). A batch is one save: the
//! rows up to the end of a bundle, and the record that says so. It writes its size into every
//! keyspace: one that is lost is made anew by fjall without a word.

use super::record::Record;
use crate::fail::Fail;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use ledger::Hash;
use ledger::fold::{Fold, SavedProject};
use ledger::leaf::Leaf;
use ledger::released::Released;
use ledger::statement::Body;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

const RECORD: &str = "record";
const SIZE: &str = "size";
/// Bytes of rows of one keyspace in memory before they become a table.
const MEMTABLE: u64 = 4 << 20;
const CACHE: u64 = 16 << 20;
/// The least that fjall takes.
const JOURNALS: u64 = 64 << 20;

/// Rows that are in no table yet.
#[derive(Default)]
struct Rows {
    purls: HashMap<Hash, u64>,
    paes: HashMap<Hash, u64>,
    statements: Vec<(Hash, u64, Vec<u8>)>,
    touched: BTreeSet<Hash>,
}

/// Tables on disk, and what is to be added to them.
pub(crate) struct Table {
    db: Database,
    meta: Keyspace,
    purl: Keyspace,
    pae: Keyspace,
    statement: Keyspace,
    standing: Keyspace,
    rows: RwLock<Rows>,
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// What was kept cannot be used.
pub(crate) fn damaged(dir: &Path, why: impl std::fmt::Display) -> Fail {
    Fail::usage(
        "state-damaged",
        format!("the audit's state in {}: {why}", dir.display()),
    )
    .hint("move the directory away: the audit then begins again from the first leaf")
}

impl Table {
    /// Opens, or makes, the tables in `dir`. fjall, killed while it makes a database, leaves one
    /// that it does not open; so they have another name until they are whole.
    pub(crate) fn open(dir: &Path) -> Result<Arc<Self>, Fail> {
        if !dir.exists() {
            let new = dir.with_extension("new");
            let failed = |e: std::io::Error| damaged(dir, e);
            remove(&new).map_err(failed)?;
            drop(Self::at(&new)?);
            std::fs::rename(&new, dir).map_err(failed)?;
        }
        Self::at(dir).map(Arc::new)
    }

    fn at(dir: &Path) -> Result<Self, Fail> {
        let failed = |e: fjall::Error| damaged(dir, e);
        let db = Database::builder(dir)
            .cache_size(CACHE)
            .max_journaling_size(JOURNALS)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let open = |name: &str| {
            let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
            db.keyspace(name, options).map_err(failed)
        };
        Ok(Self {
            meta: open("meta")?,
            purl: open("purl")?,
            pae: open("pae")?,
            statement: open("statement")?,
            standing: open("standing")?,
            rows: RwLock::default(),
            db,
        })
    }

    fn tables(&self) -> [&Keyspace; 4] {
        [&self.purl, &self.pae, &self.statement, &self.standing]
    }

    /// How far an earlier run came; `None` where there was none.
    pub(crate) fn record(&self, dir: &Path) -> Result<Option<Record>, Fail> {
        let failed = |e: fjall::Error| damaged(dir, e);
        let record = self.meta.get(RECORD).map_err(failed)?;
        let record = record.map(|bytes| serde_json::from_slice::<Record>(&bytes));
        let record = record.transpose();
        let record = record.map_err(|e| damaged(dir, format!("no record of this version: {e}")))?;
        for table in self.tables() {
            let size = table.get(SIZE).map_err(failed)?;
            let size = size.map(|bytes| number(&bytes).ok_or_else(|| damaged(dir, "a bad size")));
            if size.transpose()? != record.as_ref().map(|r| r.size) {
                return Err(damaged(dir, "a table is lost, or of another time"));
            }
        }
        Ok(record)
    }

    /// The ledger's state at the record, which must be the one that was put away.
    pub(crate) fn fold(&self, record: &Record, dir: &Path) -> Result<Fold, Fail> {
        if !record.folded || record.plain {
            return Ok(Fold::new(&record.origin));
        }
        let mut projects: BTreeMap<Hash, SavedProject> = BTreeMap::new();
        let saved = |id| SavedProject {
            id,
            statements: Vec::new(),
            standing: Vec::new(),
        };
        let bad_row = || damaged(dir, "a row is malformed");
        for row in self.statement.iter().chain(self.standing.iter()) {
            let (key, value) = row.into_inner().map_err(|e| damaged(dir, e))?;
            if *key == *SIZE.as_bytes() {
                continue;
            }
            let (id, rest) = key.split_first_chunk::<32>().ok_or_else(bad_row)?;
            let project = projects.entry(*id).or_insert_with(|| saved(*id));
            if rest.is_empty() {
                project.standing = value.to_vec();
            } else {
                let index = number(rest).ok_or_else(bad_row)?;
                project.statements.push((index, value.to_vec()));
            }
        }
        let projects: Vec<SavedProject> = projects.into_values().collect();
        let (size, time) = (record.size, record.last_time);
        let fold = Fold::restored(&record.origin, size, time, &projects);
        let fold = fold.map_err(|e| damaged(dir, e))?;
        if ledger::hex32(&fold.digest()) != record.fold {
            return Err(damaged(
                dir,
                "the ledger's state is not the one that was put away",
            ));
        }
        Ok(fold)
    }

    /// Takes an accepted leaf in.
    pub(crate) fn take(&self, index: u64, leaf: &Leaf, projects: &[Hash]) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        rows.touched.extend(projects);
        let Leaf::Statement(s) = leaf else { return };
        if let Body::Release(r) = &s.statement.body {
            rows.purls.insert(ledger::sha256(r.purl.as_bytes()), index);
            rows.paes.insert(s.envelope.pae_hash(), index);
        } else if let (Some(project), Ok(leaf)) = (projects.first(), leaf.to_bytes()) {
            rows.statements.push((*project, index, leaf));
        }
    }

    /// Rows that are in no table yet, about.
    pub(crate) fn waiting(&self) -> usize {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.purls.len() + rows.statements.len()
    }

    /// Puts all rows and the record into the tables, at once and durably.
    pub(crate) fn save(&self, record: &Record, fold: &Fold) -> Result<(), String> {
        let said = |e: fjall::Error| e.to_string();
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        for (table, of) in [(&self.purl, &rows.purls), (&self.pae, &rows.paes)] {
            for (key, index) in of {
                batch.insert(table, key.as_slice(), index.to_be_bytes().as_slice());
            }
        }
        for (project, index, leaf) in &rows.statements {
            let key = [project.as_slice(), &index.to_be_bytes()].concat();
            batch.insert(&self.statement, key, leaf.as_slice());
        }
        for id in &rows.touched {
            // An operation may be about a project that never came in.
            if let Some(standing) = fold.standing(id) {
                batch.insert(&self.standing, id.as_slice(), standing.to_bytes());
            }
        }
        for table in self.tables() {
            batch.insert(table, SIZE, record.size.to_be_bytes().as_slice());
        }
        let bytes = serde_json::to_vec(record).map_err(|e| e.to_string())?;
        batch.insert(&self.meta, RECORD, bytes);
        batch.commit().map_err(said)?;
        *rows = Rows::default();
        Ok(())
    }

    fn look_up(
        &self,
        table: &Keyspace,
        waiting: impl Fn(&Rows) -> Option<u64>,
        key: &Hash,
    ) -> Result<Option<u64>, String> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = waiting(&rows) {
            return Ok(Some(index));
        }
        let row = table.get(key.as_slice()).map_err(|e| e.to_string())?;
        let index = row.map(|bytes| number(&bytes).ok_or("a row is malformed".to_owned()));
        index.transpose()
    }
}

impl Released for Table {
    fn released(&self, purl: &Hash, below: u64) -> Result<Option<u64>, String> {
        match self.look_up(&self.purl, |rows| rows.purls.get(purl).copied(), purl)? {
            // What is kept is never ahead of the walk: else it is not known what was before.
            Some(index) if index >= below => Err(format!("a release at {index} is kept already")),
            found => Ok(found),
        }
    }

    fn stated(&self, pae: &Hash) -> Result<Option<u64>, String> {
        self.look_up(&self.pae, |rows| rows.paes.get(pae).copied(), pae)
    }
}

/// Takes the tables in `dir` away, so that the next begin anew.
pub(crate) fn discard(dir: &Path) -> std::io::Result<()> {
    let gone = old(dir);
    forget(dir)?;
    match std::fs::rename(dir, &gone) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    forget(dir)
}

/// Removes what [`discard`] was kept from removing.
pub(crate) fn forget(dir: &Path) -> std::io::Result<()> {
    remove(&old(dir))
}

fn remove(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Half-removed tables must never be opened, so they have another name before they are removed.
fn old(dir: &Path) -> PathBuf {
    dir.with_extension("old")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn saved(dir: &Path) -> (Arc<Table>, Record) {
        let table = Table::open(dir).unwrap();
        let fold = Fold::new("log.example");
        let mut record = Record::new("log.example", false, None);
        record.fold = ledger::hex32(&fold.digest());
        table.save(&record, &fold).unwrap();
        (table, record)
    }

    #[test]
    fn what_is_put_away_is_taken_up_again_and_half_of_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress");
        let (table, record) = saved(&path);
        drop(table);
        let table = Table::open(&path).unwrap();
        assert_eq!(table.record(&path).unwrap(), Some(record.clone()));
        assert!(table.fold(&record, &path).is_ok());
        // A state that is another than the record says.
        let mut other = record.clone();
        other.fold = ledger::hex32(&[7; 32]);
        assert_eq!(table.fold(&other, &path).unwrap_err().kind, "state-damaged");
        table.standing.insert([1; 32], [9]).unwrap();
        assert_eq!(
            table.fold(&record, &path).unwrap_err().kind,
            "state-damaged"
        );
        // A table that is lost, or of another time.
        for lost in table.tables() {
            for size in [None, Some(7_u64)] {
                match size {
                    None => lost.remove(SIZE).unwrap(),
                    Some(size) => lost.insert(SIZE, size.to_be_bytes()).unwrap(),
                }
                assert_eq!(table.record(&path).unwrap_err().kind, "state-damaged");
            }
            lost.insert(SIZE, 0_u64.to_be_bytes()).unwrap();
        }
        drop(table);
        discard(&path).unwrap();
        assert_eq!(Table::open(&path).unwrap().record(&path).unwrap(), None);
    }

    #[test]
    fn rows_are_found_before_and_after_they_are_saved_and_never_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let (table, record) = saved(dir.path());
        let fold = Fold::new("log.example");
        let insert = |purl, index| {
            let mut rows = table.rows.write().unwrap();
            rows.purls.insert([purl; 32], index);
            rows.paes.insert([purl; 32], index);
        };
        insert(1, 5);
        for _ in 0..2 {
            assert_eq!(table.released(&[1; 32], 6), Ok(Some(5)));
            assert_eq!(table.stated(&[1; 32]), Ok(Some(5)));
            assert_eq!(table.released(&[2; 32], 6), Ok(None));
            assert!(
                table.released(&[1; 32], 5).is_err(),
                "not known what was before"
            );
            table.save(&record, &fold).unwrap();
            assert_eq!(table.waiting(), 0);
        }
        insert(1, 9);
        assert_eq!(table.released(&[1; 32], 10), Ok(Some(9)), "the last");
    }
}
