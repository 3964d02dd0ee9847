//! One history: the checkpoint that a download is verified under, and the newest one that is
//! remembered of its log, must be of one tree (docs/formats.md, "Memory"). The proof is made
//! from the log's own tiles, or a mirror's: who serves them does not matter, since it must lead
//! from the one signed root to the other.

use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::SeenCheckpoint;
use crate::policy::LogPolicy;
use ledger::{Hash, from_hex32};
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::proof::verify_consistency;
use tlog::tile::{TILE_WIDTH, Tile};
use tlog::tree::{HashReader, TreeError, prove_consistency};

/// The tiles under an address.
pub(crate) struct Tiles<'a> {
    pub(crate) fetcher: &'a Fetcher,
    pub(crate) url: &'a str,
}

impl Tiles<'_> {
    /// A tile of `width`, or the full one that may have taken its place; and which it is.
    pub(crate) fn partial_or_full(
        &self,
        path: &dyn Fn(u16) -> String,
        width: u16,
        max: usize,
    ) -> Result<(Vec<u8>, u16), Fail> {
        let url = |width| format!("{}/{}", self.url, path(width));
        if width != TILE_WIDTH
            && let Some(bytes) = self.fetcher.get_optional(&url(width), max)?
        {
            return Ok((bytes, width));
        }
        Ok((self.fetcher.get_bytes(&url(TILE_WIDTH), max)?, TILE_WIDTH))
    }
}

impl HashReader for Tiles<'_> {
    type Error = Fail;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, Fail> {
        let path = |width| {
            Tile {
                level,
                index,
                width,
            }
            .path()
        };
        let (mut bytes, got) = self.partial_or_full(&path, width, 32 * usize::from(TILE_WIDTH))?;
        if bytes.len() != 32 * usize::from(got) {
            return Err(Fail::unchecked(
                "tile-length",
                format!("{} has another length than its path says", path(got)),
            )
            .detail("expected", (32 * usize::from(got)).to_string())
            .detail("got", bytes.len().to_string()));
        }
        bytes.truncate(32 * usize::from(width));
        Ok(bytes)
    }
}

/// Checks that `view`, which was verified and goes on from `first`, is of the tree that `seen`
/// is of. Where the policy says nowhere that the log could be asked, there is nothing to fetch,
/// and nothing is checked.
///
/// # Errors
/// Exit code 1 where log and mirrors answer, and none connects the two; 3 where none answers.
pub(crate) fn check(
    fetcher: &Fetcher,
    log: &LogPolicy,
    seen: Option<&SeenCheckpoint>,
    first: &str,
    view: &SeenCheckpoint,
) -> Result<(), Fail> {
    let Some(seen) = seen else { return Ok(()) };
    // The bundle itself may connect them: its first checkpoint and its view are consistent, and
    // neither differs from a remembered one of its size.
    let first = Note::parse(first.as_bytes())
        .ok()
        .and_then(|n| Checkpoint::parse(&n.text).ok());
    if seen.size == view.size || first.is_some_and(|f| f.size == seen.size) {
        return Ok(());
    }
    let (old, new) = if seen.size < view.size {
        (seen, view)
    } else {
        (view, seen)
    };
    let bad_memory = || Fail::usage("state-unreadable", "a remembered root is malformed");
    let point = |of: &SeenCheckpoint| Some((of.size, from_hex32(&of.root)?));
    let old = point(old).ok_or_else(bad_memory)?;
    let new = point(new).ok_or_else(bad_memory)?;
    if log.url.is_none() && log.mirrors.is_empty() {
        return Ok(());
    }
    connect(fetcher, log, old, new)
        .map(drop)
        .map_err(|mut fail| {
            if fail.code != crate::fail::UNTRUSTED {
                fail.message = format!(
                    "cannot check that the log still shows the history that is remembered: {}",
                    fail.message
                );
            }
            fail.detail("log", log.origin.as_str())
                .detail("remembered", seen.checkpoint.trim_end())
                .detail("now", view.checkpoint.trim_end())
        })
}

/// The proof that the tree of size and root `new` goes on from that of `old`, from the tiles of
/// the log or else of a mirror.
///
/// # Errors
/// Exit code 1 where log and mirrors answer, and none connects the two; 3 where none answers.
pub(crate) fn connect(
    fetcher: &Fetcher,
    log: &LogPolicy,
    old: (u64, Hash),
    new: (u64, Hash),
) -> Result<Vec<Hash>, Fail> {
    let mut worst: Option<Fail> = None;
    for url in log.url.iter().chain(&log.mirrors) {
        let url = url.trim_end_matches('/');
        let fail = match prove_consistency(old.0, new.0, &Tiles { fetcher, url }) {
            Ok(proof) => match verify_consistency(old.0, &old.1, new.0, &new.1, &proof) {
                Ok(()) => return Ok(proof),
                Err(e) => Fail::untrusted(
                    "not-consistent",
                    format!("the log does not connect the two checkpoints: {e}"),
                )
                .detail("url", url)
                .hint("either these tiles are damaged, or the log has shown two histories: keep both checkpoints as evidence, and tell the project's contact"),
            },
            Err(TreeError::Read(fail)) => fail,
            Err(e) => Fail::unchecked(e.kind(), e.to_string()).detail("url", url),
        };
        let graver = fail.code == crate::fail::UNTRUSTED;
        if graver || worst.is_none() {
            worst = Some(fail);
        }
    }
    let mut fail = worst.unwrap_or_else(no_url);
    if fail.code != crate::fail::UNTRUSTED {
        fail.code = crate::fail::UNCHECKED;
    }
    Err(fail)
}

/// The policy says nowhere whom to ask.
pub(crate) fn no_url() -> Fail {
    Fail::usage("no-log-url", "the policy names no log URL")
        .hint("add `url` under [log] to the policy")
}
