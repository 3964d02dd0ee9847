//! Where an audit reads a log: below a directory, or from an address. A network that fails is
//! asked again, for a while; what it answers is judged by the walk.

use crate::fail::Fail;
use crate::fetch::Fetcher;
use ledger::walk::{ByPath, Files, Source, Unreadable};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tlog::tile::{EntryTile, Tile};
use tlog::tree::HashReader;

/// The first pause before a failed request is made again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Where the log is.
pub(crate) enum Place {
    Directory(PathBuf),
    Address(Address),
}

/// A log that is asked over HTTP.
pub(crate) struct Address {
    pub(crate) fetcher: Fetcher,
    /// Without a slash at its end.
    pub(crate) url: String,
    /// For how long a request that fails is made again.
    pub(crate) patience: Duration,
    /// Told when it waits.
    pub(crate) waits: Box<dyn Fn(&str) + Sync>,
}

impl Address {
    fn get(&self, path: &str, most: usize) -> Result<Vec<u8>, Fail> {
        let url = format!("{}/{path}", self.url);
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let fail = match self.fetcher.get_bytes(&url, most) {
                Err(fail) if passes(&fail) => fail,
                other => return other,
            };
            if began.elapsed() + pause > self.patience {
                return Err(fail);
            }
            (self.waits)(&format!("{path}: {}; asked again", fail.message));
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether a failure may pass: no answer, half an answer, a server that is busy or broken.
fn passes(fail: &Fail) -> bool {
    let status = fail.details.iter().find(|(name, _)| name == "status");
    match (fail.kind.as_str(), status) {
        ("unreachable" | "download-broken", _) => true,
        ("http-status", Some((_, status))) => status == "429" || status.starts_with('5'),
        _ => false,
    }
}

impl Place {
    /// What people call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Directory(dir) => dir.display().to_string(),
            Self::Address(address) => address.url.clone(),
        }
    }

    /// A whole file of at most `most` bytes.
    pub(crate) fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, Unreadable> {
        match self {
            Self::Directory(dir) => below(dir, path, most),
            Self::Address(address) => {
                address
                    .get(path, most)
                    .map_err(|fail| match fail.kind.as_str() {
                        "not-found" => Unreadable::Missing,
                        "answer-too-large" => Unreadable::TooLong,
                        _ => Unreadable::Failed(fail.message),
                    })
            }
        }
    }
}

fn below(dir: &Path, path: &str, most: usize) -> Result<Vec<u8>, Unreadable> {
    let path = dir.join(path);
    let failed = |e: std::io::Error| match e.kind() {
        // A file in a directory's place, or the other way round, is as good as none.
        std::io::ErrorKind::NotFound
        | std::io::ErrorKind::NotADirectory
        | std::io::ErrorKind::IsADirectory => Unreadable::Missing,
        _ => Unreadable::Failed(format!("{}: {e}", path.display())),
    };
    let file = std::fs::File::open(&path).map_err(failed)?;
    let mut bytes = Vec::new();
    let read = file.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(failed)?;
    if bytes.len() > most {
        return Err(Unreadable::TooLong);
    }
    Ok(bytes)
}

impl Files for &Place {
    fn file(&self, path: &str, most: usize) -> Result<Vec<u8>, Unreadable> {
        self.read(path, most)
    }
}

/// The log of an audit, until it is to stop.
pub(crate) struct Log<'a> {
    pub(crate) files: ByPath<&'a Place>,
    /// Set where going on is of no use: the next read ends the walk.
    pub(crate) stop: AtomicBool,
}

impl<'a> Log<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        Self {
            files: ByPath(place),
            stop: AtomicBool::new(false),
        }
    }

    fn unless_stopped<T>(
        &self,
        read: impl FnOnce() -> Result<T, Unreadable>,
    ) -> Result<T, Unreadable> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Unreadable::Failed("the audit stops".into()));
        }
        read()
    }
}

impl Source for Log<'_> {
    fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable> {
        self.unless_stopped(|| self.files.bundle(tile))
    }
    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, Unreadable> {
        self.unless_stopped(|| self.files.tile(tile))
    }
    fn is_steady(&self) -> bool {
        self.files.is_steady()
    }
}

/// The tiles of the log's tree of `size` leaves, as they are served, for proofs that are then
/// verified.
pub(crate) struct Served<'a> {
    pub(crate) log: &'a Log<'a>,
    pub(crate) size: u64,
}

impl HashReader for Served<'_> {
    type Error = Unreadable;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, Unreadable> {
        let has = tlog::tile::width_at(self.size, level, index);
        let mut bytes = self.log.tile(&Tile {
            level,
            index,
            width: has,
        })?;
        bytes.truncate(32 * usize::from(width));
        Ok(bytes)
    }
}
