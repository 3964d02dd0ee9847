//! Reading a log's leaves from where the last poll ended: what was read hashes to what was signed,
//! or nothing of it counts.

use super::shown::consistency;
use super::{Followed, POLL_SECONDS};
use crate::cmd::history::{Tiles, connect};
use crate::fail::{Fail, UNCHECKED, UNTRUSTED};
use crate::fetch::Fetcher;
use crate::memory::SeenCheckpoint;
use ledger::from_hex32;
use std::time::{Duration, Instant};
use tlog::hash::leaf_hash;
use tlog::proof::verify_consistency;
use tlog::tile::{EntryTile, MAX_ENTRY_BYTES, TILE_WIDTH, parse_bundle, width_at};
use tlog::tree::Compact;

/// Bundles that one poll reads at most, and bytes of them: so a backlog is judged and kept in steps.
const BUNDLES: u64 = 64;
const BYTES: usize = 32 << 20;

/// One server's leaves.
pub(super) struct Reading<'a> {
    pub(super) followed: &'a Followed,
    pub(super) fetcher: &'a Fetcher,
    pub(super) url: &'a str,
    pub(super) begun: Instant,
}

/// Leaves that were read and proven.
pub(super) struct Batch {
    /// With their log indexes.
    pub(super) leaves: Vec<(u64, Vec<u8>)>,
    /// The tree of all leaves so far.
    pub(super) tree: Compact,
}

impl Reading<'_> {
    /// Reads what follows on `read`, from this server or else another of the log's.
    ///
    /// # Errors
    /// Exit code 3: what was signed cannot be had.
    pub(super) fn read(&self, read: &Compact, to: &SeenCheckpoint) -> Result<Batch, Fail> {
        let others = self.followed.urls().filter(|url| *url != self.url);
        let mut first: Option<Fail> = None;
        for url in std::iter::once(self.url).chain(others) {
            match self.from(url, read, to) {
                Ok(batch) => return Ok(batch),
                Err(fail) => {
                    first.get_or_insert(Fail {
                        code: UNCHECKED,
                        ..fail
                    });
                }
            }
        }
        Err(first.unwrap_or_else(crate::cmd::history::no_url))
    }

    fn from(&self, url: &str, read: &Compact, to: &SeenCheckpoint) -> Result<Batch, Fail> {
        let tiles = Tiles {
            fetcher: self.fetcher,
            url,
        };
        let width = u64::from(TILE_WIDTH);
        let (mut tree, mut leaves, mut bytes) = (read.clone(), Vec::new(), 0);
        let first = read.size() / width;
        while tree.size() < to.size {
            let index = tree.size() / width;
            let enough = index >= first + BUNDLES || bytes >= BYTES;
            // One at least, or a slow log would never be read.
            let late = self.begun.elapsed() >= Duration::from_secs(POLL_SECONDS);
            if enough || (late && index > first) {
                break;
            }
            for entry in self
                .bundle(&tiles, index, to.size)?
                .into_iter()
                .skip(usize::try_from(tree.size() % width).unwrap_or(usize::MAX))
            {
                bytes += entry.len();
                let at = tree.size();
                tree.push(leaf_hash(&entry));
                leaves.push((at, entry));
            }
        }
        self.proven(url, &tree, to)?;
        Ok(Batch { leaves, tree })
    }

    /// The leaves of a bundle that are below `size`.
    fn bundle(&self, tiles: &Tiles<'_>, index: u64, size: u64) -> Result<Vec<Vec<u8>>, Fail> {
        let path = |width| EntryTile { index, width }.path();
        let max = usize::from(TILE_WIDTH) * (MAX_ENTRY_BYTES + 2);
        let width = width_at(size, 0, index);
        let (bytes, got) = tiles.partial_or_full(&path, width, max)?;
        let bad = |why: String| {
            Fail::unchecked("bad-bundle", format!("entry bundle {index} is none: {why}"))
                .detail("url", tiles.url)
                .hint("try again later; something else may be served there")
        };
        let mut entries = parse_bundle(&bytes, got).map_err(|e| bad(e.to_string()))?;
        entries.truncate(usize::from(width));
        if entries.is_empty() {
            return Err(bad("it is empty".into()));
        }
        Ok(entries)
    }

    /// What was read is what the checkpoint commits to.
    fn proven(&self, url: &str, tree: &Compact, to: &SeenCheckpoint) -> Result<(), Fail> {
        let root = from_hex32(&to.root).unwrap_or_default();
        let (size, own) = (tree.size(), tree.root());
        let other = || {
            Fail::unchecked(
                "bad-bundle",
                "the leaves that are served are not those that the checkpoint commits to",
            )
            .detail("url", url)
            .detail("tree size", size.to_string())
            .hint("a cache may be broken; if it stays so, the log does not show what it signed")
        };
        if size == to.size {
            return if own == root { Ok(()) } else { Err(other()) };
        }
        if size == 0 {
            return Ok(());
        }
        let proof = consistency(self.fetcher, url, size, to.size);
        if proof.is_some_and(|p| verify_consistency(size, &own, to.size, &root, &p).is_ok()) {
            return Ok(());
        }
        let proven = connect(
            self.fetcher,
            &self.followed.policy.log,
            (size, own),
            (to.size, root),
        );
        proven.map(drop).map_err(|fail| match fail.code {
            UNTRUSTED => other(),
            _ => fail,
        })
    }
}
