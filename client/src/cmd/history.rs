//! One history: the checkpoint that a download is verified under, and the newest one that is
//! remembered of its log, must be of one tree (docs/formats.md, "Memory"). The proof is made
//! from the log's own tiles, or a mirror's: who serves them does not matter, since it must lead
//! from the one signed root to the other.

use super::common::write_atomic;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::SeenCheckpoint;
use crate::policy::{LogPolicy, Policy};
use crate::refused::Refused;
use ledger::evidence::{Between, Evidence};
use ledger::{Hash, from_hex32, hex32, sha256};
use std::path::{Path, PathBuf};
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::proof::verify_consistency;
use tlog::tile::{TILE_WIDTH, Tile};
use tlog::tree::{HashReader, TreeError, prove_consistency, root_from_tiles};
use tlog::vkey::VerifierKey;

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

/// Whose log it is, and beside which state file evidence against it is kept.
#[derive(Clone, Copy)]
pub(crate) struct Against<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) state: &'a Path,
}

/// Files of evidence at most: what a log did first counts, and it shall fill no disk.
const MOST_EVIDENCE: usize = 100;

impl Against<'_> {
    /// Makes of two signed checkpoints that are not of one history what proves it to anybody, and
    /// keeps it; or says that without the newer tree's tiles it is only a finding.
    pub(crate) fn against(&self, fetcher: &Fetcher, notes: (&str, &str), fail: Fail) -> Fail {
        let without =
            "degraded: the tiles that would prove it were not to be had; keep both checkpoints";
        self.kept(self.evidence(Some(fetcher), notes), fail, without)
    }

    /// The same of two that are of one size: they prove it by themselves, offline.
    pub(crate) fn of_one_size(&self, notes: (&str, &str), fail: Fail) -> Fail {
        let without = "none: no key of the policy's log signed both; keep both checkpoints";
        self.kept(self.evidence(None, notes), fail, without)
            .detail("remembered", notes.0.trim_end())
            .detail("now", notes.1.trim_end())
    }

    fn kept(&self, evidence: Option<Evidence>, fail: Fail, without: &str) -> Fail {
        match evidence.map(|e| self.save(&e)) {
            Some(Some(path)) => fail
                .detail("evidence", path.display().to_string())
                .hint(format!(
                    "`countersign evidence verify {}` says what it proves, to anybody: give it to the project's contact and to whoever relies on this log",
                    path.display()
                )),
            Some(None) => fail.detail("evidence", "it cannot be written beside the state file"),
            None => fail.detail("evidence", without),
        }
    }

    fn evidence(&self, fetcher: Option<&Fetcher>, notes: (&str, &str)) -> Option<Evidence> {
        let read = |note: &str| {
            let note = Note::parse(note.as_bytes()).ok()?;
            Checkpoint::parse(&note.text).ok()
        };
        let (one, two) = (read(notes.0)?, read(notes.1)?);
        let (old, new) = if one.size <= two.size {
            (one, two)
        } else {
            (two, one)
        };
        if old.size == new.size {
            return self.make(notes, None);
        }
        let log = &self.policy.log;
        let fetcher = fetcher?;
        // From the tiles of the newer tree: who serves them does not matter, the proof is valid.
        log.url.iter().chain(&log.mirrors).find_map(|url| {
            let url = url.trim_end_matches('/');
            let tiles = Tiles { fetcher, url };
            let root = root_from_tiles(old.size, &tiles).ok()?;
            let consistency = prove_consistency(old.size, new.size, &tiles).ok()?;
            self.make(notes, Some(Between { consistency, root }))
        })
    }

    /// Evidence that the policy's log signed both notes; `None` where they prove nothing.
    pub(crate) fn make(&self, notes: (&str, &str), between: Option<Between>) -> Option<Evidence> {
        let witnesses = self.policy.witnesses.witnesses().iter();
        let witnesses: Vec<VerifierKey> = witnesses.map(|w| w.key.clone()).collect();
        Evidence::make(notes, between, &self.policy.log.vkeys, &witnesses).ok()
    }

    /// Keeps it; `None` where it cannot be written.
    pub(crate) fn save(&self, evidence: &Evidence) -> Option<PathBuf> {
        let bytes = evidence.to_bytes().ok()?;
        let directory = self.state.parent()?.join("evidence");
        std::fs::create_dir_all(&directory).ok()?;
        let name = hex32(&sha256(&bytes)).chars().take(16).collect::<String>();
        let path = directory.join(format!("fork-{name}.json"));
        let many = std::fs::read_dir(&directory).ok()?.count() >= MOST_EVIDENCE;
        if many && !path.exists() {
            return None;
        }
        write_atomic(&path, &bytes).ok()?;
        Some(path)
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
    ours: Against<'_>,
    seen: Option<&SeenCheckpoint>,
    first: &str,
    view: &SeenCheckpoint,
) -> Result<(), Fail> {
    let Some(seen) = seen else { return Ok(()) };
    let log = &ours.policy.log;
    // The bundle itself may connect them: its first checkpoint and its view are consistent, and
    // neither differs from a remembered one of its size.
    let first = Note::parse(first.as_bytes())
        .ok()
        .and_then(|n| Checkpoint::parse(&n.text).ok());
    if seen.size == view.size {
        return one_tree(ours, seen, view);
    }
    if first.is_some_and(|f| f.size == seen.size) {
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
            if fail.code == crate::fail::UNTRUSTED {
                let notes = (seen.checkpoint.as_str(), view.checkpoint.as_str());
                fail = ours.against(fetcher, notes, fail);
            } else {
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

/// Two checkpoints of one size have one root.
///
/// # Errors
/// Exit code 1, with the evidence.
pub(crate) fn one_tree(
    ours: Against<'_>,
    seen: &SeenCheckpoint,
    view: &SeenCheckpoint,
) -> Result<(), Fail> {
    if seen.size != view.size || seen.root == view.root {
        return Ok(());
    }
    let notes = (seen.checkpoint.as_str(), view.checkpoint.as_str());
    let fork = Refused::Fork {
        size: seen.size,
        notes: Box::new((notes.0.to_owned(), notes.1.to_owned())),
    };
    let fail = Fail::untrusted(fork.kind(), fork.to_string())
        .detail("log", ours.policy.log.origin.as_str())
        .hint("keep both checkpoints and publish them: they prove that the log lied");
    Err(ours.of_one_size(notes, fail))
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

/// Asks the log, or else a mirror. What is signed and contradicts itself is no matter of another
/// server.
///
/// # Errors
/// The first failure, or one of exit code 1.
pub(crate) fn somewhere<'p, T>(
    policy: &'p Policy,
    mut ask: impl FnMut(&'p str) -> Result<T, Fail>,
) -> Result<T, Fail> {
    let mut first: Option<Fail> = None;
    for url in policy.log.url.iter().chain(&policy.log.mirrors) {
        match ask(url.trim_end_matches('/')) {
            Ok(found) => return Ok(found),
            Err(fail) if fail.code == crate::fail::UNTRUSTED => return Err(fail),
            Err(fail) => {
                first.get_or_insert(fail);
            }
        }
    }
    Err(first.unwrap_or_else(no_url))
}

/// The policy says nowhere whom to ask.
pub(crate) fn no_url() -> Fail {
    Fail::usage("no-log-url", "the policy names no log URL")
        .hint("add `url` under [log] to the policy")
}
