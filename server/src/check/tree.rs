//! A tlog-tiles directory (c2sp.org/tlog-tiles): a checkpoint, tiles and bundles, partial
//! ones among them, as `export`, a mirror or `wget` makes it.

use super::Signers;
use super::report::Heard;
use ledger::walk::{Source, Unreadable};
use std::fs;
use std::path::{Path, PathBuf};
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::tile::{EntryTile, Tile};

/// Reads tiles and bundles, full and partial, below a directory.
#[derive(Debug, Clone)]
pub struct TileDir(PathBuf);

impl TileDir {
    /// Reads below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, Unreadable> {
        let path = self.0.join(path);
        fs::read(&path).map_err(|e| match e.kind() {
            // A file in a directory's place, or the other way round, is as good as none.
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::NotADirectory
            | std::io::ErrorKind::IsADirectory => Unreadable::Missing,
            _ => Unreadable::Failed(format!("{}: {e}", path.display())),
        })
    }
}

impl Source for TileDir {
    fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable> {
        self.read(&tile.path())
    }
    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, Unreadable> {
        self.read(&tile.path())
    }
}

/// Checks that `note` is a checkpoint of `origin`, signed by every key of one set of `signers`,
/// by none wrongly, and written as it is written and not otherwise. `None` where it says nothing to go on with.
pub(super) fn checkpoint(
    heard: &mut Heard,
    path: &str,
    note: &[u8],
    origin: &str,
    signers: &Signers,
) -> Option<Checkpoint> {
    let parsed = match Note::parse(note) {
        Ok(parsed) => parsed,
        Err(e) => {
            heard.find(e.kind(), path, e);
            return None;
        }
    };
    match parsed.verify(&signers.keys) {
        Err(e) => heard.find(e.kind(), path, e),
        Ok(signed) => {
            for key in signers.missing(&|at| signed.iter().any(|s| s.key == at)) {
                let id = hex::encode(key.key_id());
                let what = format!("the key {}+{id} has not signed it", key.name());
                heard.find("checkpoint-unsigned", path, what);
            }
        }
    }
    // Bits that a reader of notes ignores.
    if parsed.to_bytes() != note {
        heard.find("checkpoint-encoding", path, "it is not as a log writes it");
    }
    match Checkpoint::parse(&parsed.text) {
        Err(e) => {
            heard.find(e.kind(), path, e);
            None
        }
        Ok(checkpoint) => {
            if checkpoint.origin != origin {
                let what = format!("it is of {:?}, not {origin:?}", checkpoint.origin);
                heard.find("checkpoint-other-origin", path, what);
            }
            Some(checkpoint)
        }
    }
}
