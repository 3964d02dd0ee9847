//! Each part of the store in memory, as its trait describes it and no more. What is "on
//! disk" lives in the shared state, so that a clone is a reopening.

use countersign_server::store::{
    Blobs, DigestHit, Head, Hot, HotBatch, Index, IndexBatch, ProjectHit, SavedState, StoreError,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tlog::Hash;

type HotState = (Option<Head>, BTreeMap<u64, Vec<u8>>);

#[derive(Clone, Default)]
pub struct MemHot(Arc<Mutex<HotState>>);

impl Hot for MemHot {
    fn head(&self) -> Result<Option<Head>, StoreError> {
        Ok(self.0.lock().unwrap().0.clone())
    }
    fn entries(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        Ok(self.0.lock().unwrap().1.clone().into_iter().collect())
    }
    fn commit(&self, expected: Option<&Head>, batch: &HotBatch) -> Result<(), StoreError> {
        let mut state = self.0.lock().unwrap();
        if state.0.as_ref() != expected {
            return Err(StoreError::Conflict {
                expected: expected.map_or(0, |h| h.size),
                found: state.0.as_ref().map_or(0, |h| h.size),
            });
        }
        state.0 = Some(batch.head.clone());
        state.1 = state.1.split_off(&batch.drop_below);
        state.1.extend(batch.entries.iter().cloned());
        Ok(())
    }
}

#[derive(Clone, Default)]
pub struct MemBlobs(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

fn plain(path: &str) -> Result<(), StoreError> {
    let bad = |s: &str| s.is_empty() || s.starts_with('.') || s.contains(['\\', '\0']);
    if path.split('/').any(bad) {
        return Err(StoreError::Damaged(format!("blob name {path:?}")));
    }
    Ok(())
}

impl Blobs for MemBlobs {
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        plain(path)?;
        Ok(self.0.lock().unwrap().get(path).cloned())
    }
    fn put(&self, blobs: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        for (path, bytes) in blobs {
            plain(path)?;
            let mut stands = self.0.lock().unwrap();
            if stands.entry(path.clone()).or_insert_with(|| bytes.clone()) != bytes {
                return Err(StoreError::Damaged(format!("{path} holds other bytes")));
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Rows {
    size: u64,
    paes: BTreeMap<Hash, u64>,
    digests: Vec<(Hash, DigestHit)>,
    projects: Vec<(Hash, ProjectHit)>,
    purls: BTreeMap<Hash, Vec<u64>>,
    statements: BTreeMap<(Hash, u64), Vec<u8>>,
    standings: BTreeMap<Hash, Vec<u8>>,
    last_time: u64,
}

#[derive(Clone, Default)]
pub struct MemIndex(Arc<Mutex<Rows>>);

impl Index for MemIndex {
    fn size(&self) -> Result<u64, StoreError> {
        Ok(self.0.lock().unwrap().size)
    }
    fn apply(&self, batch: &IndexBatch) -> Result<(), StoreError> {
        let mut rows = self.0.lock().unwrap();
        rows.size = batch.size;
        rows.paes.extend(batch.paes.iter().copied());
        for (purl, index) in batch.purls.iter().chain(&batch.restated) {
            rows.purls.entry(*purl).or_default().push(*index);
        }
        rows.digests.extend(batch.digests.iter().cloned());
        rows.projects.extend(batch.projects.iter().cloned());
        let statements = batch.statements.iter().cloned();
        rows.statements
            .extend(statements.map(|(id, at, leaf)| ((id, at), leaf)));
        rows.standings.extend(batch.standings.iter().cloned());
        rows.last_time = batch.last_time;
        // Stable, so that the artifacts of one release keep their order.
        rows.digests.sort_by_key(|(_, hit)| hit.index);
        rows.projects.sort_by_key(|(_, hit)| hit.index);
        Ok(())
    }
    fn state(&self) -> Result<SavedState, StoreError> {
        let rows = self.0.lock().unwrap();
        let statements = rows.statements.iter();
        let standings = rows.standings.iter();
        Ok(SavedState {
            size: rows.size,
            last_time: rows.last_time,
            statements: statements
                .map(|((id, at), leaf)| (*id, *at, leaf.clone()))
                .collect(),
            standings: standings.map(|(id, s)| (*id, s.clone())).collect(),
        })
    }
    fn by_pae(&self, pae: &Hash) -> Result<Option<u64>, StoreError> {
        Ok(self.0.lock().unwrap().paes.get(pae).copied())
    }
    fn by_purl(&self, purl: &Hash, below: u64) -> Result<Option<u64>, StoreError> {
        let rows = self.0.lock().unwrap();
        let all = rows.purls.get(purl).into_iter().flatten();
        Ok(all.copied().filter(|index| *index < below).max())
    }
    fn by_digest(&self, digest: &Hash, limit: usize) -> Result<Vec<DigestHit>, StoreError> {
        let rows = self.0.lock().unwrap();
        let hits = rows.digests.iter().filter(|(d, _)| d == digest);
        Ok(hits.map(|(_, hit)| hit.clone()).take(limit).collect())
    }
    fn by_project(
        &self,
        project: &Hash,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ProjectHit>, StoreError> {
        let rows = self.0.lock().unwrap();
        let from = |hit: &ProjectHit| hit.index >= from;
        let hits = rows
            .projects
            .iter()
            .filter(|(p, hit)| p == project && from(hit));
        Ok(hits.map(|(_, hit)| hit.clone()).take(limit).collect())
    }
}
