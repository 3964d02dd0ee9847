//! Whether the index holds exactly the rows that the log gives: neither fewer nor others nor
//! more. Both sides add up a hash of each row, in whatever order they meet them, so that
//! nothing is kept in memory and the index is read once from end to end. Which row it is that
//! differs is not said, since the remedy is the same for all: the index is made anew.

use crate::log::{governs, index_rows};
use crate::store::{IndexBatch, StoreError, Table, digest_value, project_value};
use ledger::fold::Fold;
use ledger::leaf::Leaf;
use ledger::{Hash, sha256};
use serde::{Deserialize, Serialize};

/// The rows of one table: how many, and the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    rows: u64,
    sum: [u64; 4],
}

impl Sum {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut row = Vec::with_capacity(8 + key.len() + value.len());
        row.extend_from_slice(&(key.len() as u64).to_be_bytes());
        row.extend_from_slice(key);
        row.extend_from_slice(value);
        let hash = sha256(&row);
        let (words, _) = hash.as_chunks::<8>();
        for (lane, word) in self.sum.iter_mut().zip(words) {
            *lane = lane.wrapping_add(u64::from_be_bytes(*word));
        }
        self.rows += 1;
    }
}

/// The rows of an index of some size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    pae: Sum,
    purl: Sum,
    #[serde(default)]
    restated: Sum,
    digest: Sum,
    project: Sum,
    statement: Sum,
    /// What changes with each entry, and so only compares where the index is up to date.
    standing: Sum,
    last_time: u64,
}

impl Rows {
    /// Adds a row as the index stores it.
    pub(crate) fn stored(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        let (sum, length) = match table {
            Table::Pae => (&mut self.pae, 32),
            Table::Purl => (&mut self.purl, 32),
            Table::Restated => (&mut self.restated, 40),
            // What follows keeps apart two names of one digest, and says nothing.
            Table::Digest => (&mut self.digest, 40),
            Table::Project => (&mut self.project, 40),
            Table::Statement => (&mut self.statement, 40),
            Table::Standing => (&mut self.standing, 32),
        };
        let key = key.get(..length).ok_or_else(|| {
            StoreError::Damaged(format!("index: a key in {table:?} is {} bytes", key.len()))
        })?;
        sum.add(key, value);
        Ok(())
    }

    /// Adds the rows that follow from an accepted leaf.
    pub fn follow(&mut self, index: u64, leaf: &Leaf, projects: &[Hash]) {
        let mut batch = IndexBatch::default();
        // The bytes of a leaf are the only ones that say the same.
        let bytes = match leaf {
            Leaf::Statement(s) if governs(&s.statement.body) => leaf.to_bytes(),
            _ => Ok(Vec::new()),
        };
        index_rows(
            &mut batch,
            index,
            leaf,
            projects,
            &bytes.unwrap_or_default(),
        );
        let with = |key: &Hash, index: u64| [key.as_slice(), &index.to_be_bytes()].concat();
        for (pae, index) in &batch.paes {
            self.pae.add(pae, &index.to_be_bytes());
        }
        for (purl, index) in &batch.purls {
            self.purl.add(purl, &index.to_be_bytes());
        }
        for (purl, index) in &batch.restated {
            self.restated.add(&with(purl, *index), &[]);
        }
        // What does not encode was never stored, so its sum differs.
        for (digest, hit) in &batch.digests {
            self.digest.add(
                &with(digest, hit.index),
                &digest_value(hit).unwrap_or_default(),
            );
        }
        for (project, hit) in &batch.projects {
            self.project.add(
                &with(project, hit.index),
                &project_value(hit).unwrap_or_default(),
            );
        }
        for (project, index, leaf) in &batch.statements {
            self.statement.add(&with(project, *index), leaf);
        }
    }

    /// Notes the time of the last leaf, as the index stores it.
    pub fn at(&mut self, last_time: u64) {
        self.last_time = last_time;
    }

    /// Adds what the index keeps of the ledger's state at its end.
    pub fn end(&mut self, fold: &Fold) {
        for project in fold.projects() {
            if let Some(standing) = fold.standing(&project.id) {
                self.standing.add(&project.id, &standing.to_bytes());
            }
        }
        self.at(fold.last_time());
    }

    /// Leaves aside what only compares where the index is up to date.
    pub fn behind(&mut self) {
        (self.standing, self.last_time) = (Sum::default(), 0);
    }

    /// In which tables these rows and `others` differ, with the number of each side.
    #[must_use]
    pub fn differ(&self, others: &Self) -> Vec<(&'static str, u64, u64)> {
        let tables = [
            ("statements", self.pae, others.pae),
            ("purls", self.purl, others.purl),
            ("purls restated", self.restated, others.restated),
            ("digests", self.digest, others.digest),
            ("projects", self.project, others.project),
            ("project statements", self.statement, others.statement),
            ("standings", self.standing, others.standing),
        ];
        let differing = tables.into_iter().filter(|(_, a, b)| a != b);
        let mut tables: Vec<_> = differing
            .map(|(name, a, b)| (name, a.rows, b.rows))
            .collect();
        if self.last_time != others.last_time {
            tables.push(("time of the last leaf", 1, 1));
        }
        tables
    }
}
