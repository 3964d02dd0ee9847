//! What a walk's workers do with one bundle, in any order and without the ledger's state.

use super::{Finding, Source, Unreadable};
use crate::envelope::Envelope;
use crate::fold::{Fold, ProjectState};
use crate::leaf::Leaf;
use crate::statement::Body;
use crate::{Hash, KeyId};
use keys::PublicKey;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use tlog::hash::leaf_hash;
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, parse_bundle};

/// Every key that some project statement listed, by its hash. That a key is here says
/// nothing about what it may sign.
#[derive(Default)]
pub(super) struct Keys(RwLock<HashMap<KeyId, PublicKey>>);

/// Whether an entry's signatures verify.
pub(super) enum Signed {
    /// All of them; or there are none, or they were verified before.
    Fine,
    /// A key is not known so far.
    UnknownKey,
    /// One does not, for this reason.
    Bad(String),
}

impl Keys {
    /// Those that the projects of a restored fold list.
    pub(super) fn of(fold: &Fold) -> Self {
        let versions = fold.projects().flat_map(ProjectState::versions);
        let keys = versions.flat_map(|v| v.project.roots.iter().chain(&v.project.release_keys));
        Self(RwLock::new(keys.map(|k| (k.id(), k.clone())).collect()))
    }

    fn learn(&self, leaf: &Leaf) {
        let Leaf::Statement(s) = leaf else { return };
        let Body::Project(p) = &s.statement.body else {
            return;
        };
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for key in p.roots.iter().chain(&p.release_keys) {
            known.entry(key.id()).or_insert_with(|| key.clone());
        }
    }

    /// Verifies every signature of an envelope.
    pub(super) fn verify(&self, envelope: &Envelope) -> Signed {
        let message = envelope.pae();
        for s in &envelope.signatures {
            // A certificate brings its key; whether it counts is the fold's question.
            let key = match &envelope.chain {
                Some(chain) => Some(chain.end().key.clone()),
                None => {
                    let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
                    known.get(&s.keyid).cloned()
                }
            };
            let Some(key) = key else {
                return Signed::UnknownKey;
            };
            if let Err(e) = key.verify(&message, &s.sig) {
                return Signed::Bad(format!("the signature by key {} is refused: {e}", s.keyid));
            }
        }
        Signed::Fine
    }
}

/// One entry; `leaf` is `None` where it cannot be read.
pub(super) struct Item {
    pub leaf: Option<Leaf>,
    pub signed: Signed,
}

/// One bundle.
pub(super) struct Checked {
    pub tile: EntryTile,
    /// Its bytes, where it could be read.
    pub bytes: Option<Vec<u8>>,
    /// Its entries; none where it is not a bundle of this width.
    pub items: Vec<Item>,
    /// The leaf hashes: of the entries, or what the tile says where there are none.
    pub hashes: Vec<Hash>,
    /// Tiles that were compared.
    pub tiles: u64,
    pub findings: Vec<Finding>,
    /// Where and why the source failed.
    pub failed: Option<(String, String)>,
}

/// What of a bundle is checked beside its hashes.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// Signatures.
    pub verify: bool,
    /// Nothing: the entries are not ours to read.
    pub plain: bool,
}

/// Reads and checks one bundle and the tile above it.
pub(super) fn check<S: Source>(source: &S, keys: &Keys, tile: EntryTile, how: How) -> Checked {
    let mut done = Checked {
        tile,
        bytes: None,
        items: Vec::new(),
        hashes: Vec::new(),
        tiles: 0,
        findings: Vec::new(),
        failed: None,
    };
    let path = tile.path();
    match source.bundle(&tile) {
        Ok(bytes) => {
            match parse_bundle(&bytes, tile.width) {
                Ok(entries) => {
                    done.hashes = entries.iter().map(|e| leaf_hash(e)).collect();
                    let first = tile.index * u64::from(TILE_WIDTH);
                    for (index, entry) in (first..).zip(&entries).filter(|_| !how.plain) {
                        let findings = &mut done.findings;
                        let item = read(keys, index, entry, how.verify, &path, findings);
                        done.items.push(item);
                    }
                }
                Err(e) => done
                    .findings
                    .push(Finding::new(e.kind(), &path, e.to_string())),
            }
            done.bytes = Some(bytes);
        }
        Err(Unreadable::Missing) => {
            let what = format!("entries {}… are not there", tile.index * 256);
            done.findings
                .push(Finding::new("bundle-missing", &path, what));
        }
        Err(Unreadable::TooLong) => {
            let what = "it has more bytes than a bundle can have";
            done.findings
                .push(Finding::new("bundle-too-long", &path, what));
        }
        Err(Unreadable::Failed(why)) => {
            done.failed = Some((path, why));
            return done;
        }
    }
    let above = Tile {
        level: 0,
        index: tile.index,
        width: tile.width,
    };
    if tile.width == TILE_WIDTH || source.has_partial_tiles() {
        compare_rows(source, &above, &mut done);
    }
    done
}

fn read(
    keys: &Keys,
    index: u64,
    entry: &[u8],
    verify: bool,
    path: &str,
    findings: &mut Vec<Finding>,
) -> Item {
    match Leaf::parse(entry) {
        Ok(leaf) => {
            keys.learn(&leaf);
            let signed = match &leaf {
                Leaf::Statement(s) if verify => keys.verify(&s.envelope),
                _ => Signed::Fine,
            };
            Item {
                leaf: Some(leaf),
                signed,
            }
        }
        Err(e) => {
            findings.push(Finding::new(e.kind(), path, format!("entry {index}: {e}")));
            Item {
                leaf: None,
                signed: Signed::Fine,
            }
        }
    }
}

/// Compares the tile with the entries' hashes. Without entries its rows stand in for them, so
/// that the tree above can still be compared.
fn compare_rows<S: Source>(source: &S, tile: &Tile, done: &mut Checked) {
    let got = source.tile(tile);
    if done.hashes.is_empty() {
        if let Ok(bytes) = &got {
            let (rows, rest) = bytes.as_chunks::<32>();
            if rest.is_empty() && rows.len() == usize::from(tile.width) {
                done.hashes = rows.to_vec();
            }
        }
        if let Err(Unreadable::Failed(why)) = got {
            done.failed = Some((tile.path(), why));
        }
        return;
    }
    match compare(tile, got, &done.hashes.concat()) {
        Ok(found) => {
            done.tiles += 1;
            done.findings.extend(found);
        }
        Err(why) => done.failed = Some((tile.path(), why)),
    }
}

/// Compares a tile's bytes with those that follow from what lies below it.
///
/// # Errors
/// The source's reason, where it failed.
pub(super) fn compare(
    tile: &Tile,
    got: Result<Vec<u8>, Unreadable>,
    want: &[u8],
) -> Result<Option<Finding>, String> {
    let finding = |kind, what| Ok(Some(Finding::new(kind, tile.path(), what)));
    let got = match got {
        Ok(got) => got,
        Err(Unreadable::Missing) => return finding("tile-missing", "it is not there".to_owned()),
        Err(Unreadable::TooLong) => {
            let what = format!("more than {} bytes, want {}", 32 * TILE_WIDTH, want.len());
            return finding("tile-length", what);
        }
        Err(Unreadable::Failed(why)) => return Err(why),
    };
    if got == want {
        return Ok(None);
    }
    if got.len() != want.len() {
        let what = format!("{} bytes, want {}", got.len(), want.len());
        return finding("tile-length", what);
    }
    let row = got
        .chunks(32)
        .zip(want.chunks(32))
        .position(|(g, w)| g != w);
    let row = row.unwrap_or_default();
    let what = format!("row {row} is not the hash that follows from what lies below it");
    finding("tile-mismatch", what)
}
