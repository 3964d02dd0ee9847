//! The log as an auditor sees it: everything is fetched over HTTP and computed again here,
//! with no code of the server.

use super::seen::Seen;
use crate::wire::Connection;
use ledger::leaf::Leaf;
use std::cell::RefCell;
use std::collections::HashMap;
use tlog::Hash;
use tlog::hash::{EMPTY_ROOT, leaf_hash};
use tlog::proof::verify_consistency;
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, parse_bundle, width_at};
use tlog::tree::{Compact, HashReader, prove_consistency};

/// What was found so far; it only grows.
#[derive(Debug, Default)]
pub struct Audit {
    /// The hash of each leaf.
    leaves: Vec<Hash>,
    /// The tree over them.
    tree: Compact,
    /// Its root after each leaf.
    roots: Vec<Hash>,
    /// Statements by their PAE hash, and where they stand.
    statements: HashMap<Hash, u64>,
    /// Checkpoints whose root is that of the leaves.
    pub compared: u64,
}

impl Audit {
    /// Leaves that are known.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Reads what is new, up to the checkpoint that the log shows now. Every checkpoint ever
    /// seen up to there must have the root of the one list of leaves, no statement may stand
    /// twice, and the log may not end before `least`.
    ///
    /// # Errors
    /// A sentence; it begins with `lost` or `inconsistent` where that is what it says.
    pub fn catch_up(
        &mut self,
        log: &mut Connection,
        seen: &Seen,
        least: u64,
    ) -> Result<(), String> {
        let (size, root) = seen.take(&log.body("/checkpoint")?)?;
        let least = least.max(self.size());
        if size < least {
            return Err(format!(
                "lost: the log has {size} leaves, and had shown {least}"
            ));
        }
        for index in self.size() / u64::from(TILE_WIDTH)..size.div_ceil(u64::from(TILE_WIDTH)) {
            let (hashes, entries) = tile(log, size, index)?;
            let first = index * u64::from(TILE_WIDTH);
            for (at, (hash, entry)) in (first..).zip(hashes.into_iter().zip(entries)) {
                match usize::try_from(at).ok().and_then(|i| self.leaves.get(i)) {
                    Some(known) if *known == hash => {}
                    Some(_) => return Err(format!("inconsistent: leaf {at} is another one now")),
                    None => self.add(at, hash, &entry)?,
                }
            }
        }
        if self.tree.root() != root {
            return Err(format!(
                "inconsistent: the leaves do not give the root at {size}"
            ));
        }
        for (size, root) in seen.fresh(self.size()) {
            if self.root(size) != Some(root) {
                return Err(format!("inconsistent: another root was shown at {size}"));
            }
            self.compared += 1;
        }
        Ok(())
    }

    fn add(&mut self, at: u64, hash: Hash, entry: &[u8]) -> Result<(), String> {
        self.leaves.push(hash);
        self.tree.push(hash);
        self.roots.push(self.tree.root());
        let leaf = Leaf::parse(entry).map_err(|e| format!("leaf {at}: {e}"))?;
        if let Leaf::Statement(statement) = leaf {
            let pae = statement.envelope.pae_hash();
            if let Some(before) = self.statements.insert(pae, at) {
                return Err(format!(
                    "inconsistent: one statement stands at {before} and {at}"
                ));
            }
        }
        Ok(())
    }

    /// The root of the first `size` leaves.
    fn root(&self, size: u64) -> Option<Hash> {
        match size.checked_sub(1) {
            None => Some(EMPTY_ROOT),
            Some(last) => self.roots.get(usize::try_from(last).ok()?).copied(),
        }
    }

    /// What was acknowledged stands: that leaf at that index, and the statement nowhere else.
    ///
    /// # Errors
    /// A sentence that begins with `lost`.
    pub fn stands(&self, index: u64, leaf: &Hash, pae: &Hash) -> Result<(), String> {
        let at = usize::try_from(index).ok().and_then(|i| self.leaves.get(i));
        if at == Some(leaf) && self.statements.get(pae) == Some(&index) {
            Ok(())
        } else {
            Err(format!(
                "lost: entry {index} is not the one that was acknowledged"
            ))
        }
    }

    /// The tree of `old` leaves is a beginning of the one that is known, proved with tiles
    /// read from the log.
    ///
    /// # Errors
    /// A sentence.
    pub fn proves(&self, log: &mut Connection, old: u64, root: &Hash) -> Result<(), String> {
        let tiles = Tiles(RefCell::new(log));
        let proof = prove_consistency(old, self.size(), &tiles).map_err(|e| match e {
            tlog::tree::TreeError::Read(why) => why,
            e => e.to_string(),
        })?;
        verify_consistency(old, root, self.size(), &self.tree.root(), &proof)
            .map_err(|e| format!("inconsistent: from {old} to {}: {e}", self.size()))
    }

    /// Reads everything again.
    ///
    /// # Errors
    /// A sentence: a leaf is another one than it was.
    pub fn again(&self, log: &mut Connection) -> Result<(), String> {
        for (index, known) in (0..).zip(self.leaves.chunks(TILE_WIDTH.into())) {
            let (hashes, _) = tile(log, self.size(), index)?;
            if hashes != known {
                return Err(format!(
                    "inconsistent: leaves of tile {index} are others now"
                ));
            }
        }
        Ok(())
    }
}

/// The entries of a bundle and their hashes, which must be those of the tile of hashes.
fn tile(log: &mut Connection, size: u64, index: u64) -> Result<(Vec<Hash>, Vec<Vec<u8>>), String> {
    let width = width_at(size, 0, index);
    let path = EntryTile { index, width }.path();
    let bytes = log.body(&format!("/{path}"))?;
    let entries = parse_bundle(&bytes, width).map_err(|e| format!("{path}: {e}"))?;
    let hashes: Vec<Hash> = entries.iter().map(|e| leaf_hash(e)).collect();
    let level = 0;
    let path = Tile {
        level,
        index,
        width,
    }
    .path();
    if log.body(&format!("/{path}"))? != hashes.concat() {
        return Err(format!(
            "inconsistent: {path} is not the hashes of the entries"
        ));
    }
    Ok((hashes, entries))
}

/// Tiles over HTTP.
struct Tiles<'a>(RefCell<&'a mut Connection>);

impl HashReader for Tiles<'_> {
    type Error = String;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, String> {
        let path = Tile {
            level,
            index,
            width,
        }
        .path();
        self.0.borrow_mut().body(&format!("/{path}"))
    }
}
