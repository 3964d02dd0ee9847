//! What a client remembers between runs (docs/formats.md, "Memory"): per log the newest
//! checkpoint, per project the newest head, per artifact name the newest release.
//!
//! The struct is pure; [`Memory::load`] and [`Memory::save`] are the only I/O. A memory that
//! cannot be read is an error, never an empty memory: forgetting is what an attacker wants.

use crate::refused::{Refused, differ};
use ledger::state::StateDocument;
use ledger::{Hash, hex32};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another process may hold the memory: it does for some milliseconds.
const LOCKED: Duration = Duration::from_secs(60);

/// The newest checkpoint seen of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeenCheckpoint {
    /// The signed note.
    pub checkpoint: String,
    /// Its tree size.
    pub size: u64,
    /// Its root, in hexadecimal.
    pub root: String,
    /// The newest view time proven by witnesses, Unix seconds; 0 where none.
    pub view_time: u64,
}

/// The newest head seen of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenHead {
    /// Tree size of the checkpoint that it was proven in.
    pub size: u64,
    /// The project's state there.
    pub state: StateDocument,
}

/// The newest release seen under an artifact name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenRelease {
    /// Log index; releases are ordered by it.
    pub index: u64,
    /// Its purl's version, for people.
    pub version: String,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Memory {
    /// Always `countersign/v1`; empty only in a memory never saved.
    #[serde(default)]
    pub api_version: String,
    /// By origin.
    pub logs: BTreeMap<String, SeenCheckpoint>,
    /// By project id in hexadecimal.
    pub projects: BTreeMap<String, SeenHead>,
    /// By project id and artifact name, joined by a space.
    pub releases: BTreeMap<String, SeenRelease>,
}

/// Why a memory cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The file cannot be written, or its lock not be taken.
    #[error("state file: {path} cannot be written: {source}")]
    Unwritable {
        /// The file, or the lock.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be read.
    #[error("state file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a memory of this version.
    #[error("state file {path}: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// The key of [`Memory::releases`].
#[must_use]
pub fn release_key(project: &Hash, artifact: &str) -> String {
    format!("{} {artifact}", hex32(project))
}

impl Memory {
    /// Reads the memory at `path`; a file that is not there is an empty memory.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn load(path: &Path) -> Result<Self, MemoryError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(MemoryError::Io {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let malformed = |why: String| MemoryError::Malformed {
            path: path.to_owned(),
            why,
        };
        let value = ledger::json::parse_own(&bytes).map_err(|e| malformed(e.to_string()))?;
        let memory: Self = ledger::json::typed(value).map_err(|e| malformed(e.to_string()))?;
        if memory.api_version != ledger::API_VERSION {
            return Err(malformed(format!("apiVersion is {:?}", memory.api_version)));
        }
        Ok(memory)
    }

    /// Writes the memory to `path` by temporary file and rename, durable before it returns.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn save(&self, path: &Path) -> Result<(), MemoryError> {
        use std::io::Write as _;
        let io = |source| MemoryError::Unwritable {
            path: path.to_owned(),
            source,
        };
        let mut document = self.clone();
        document.api_version = ledger::API_VERSION.to_owned();
        let bytes = ledger::json::canonical_of(&document).map_err(|e| MemoryError::Malformed {
            path: path.to_owned(),
            why: e.to_string(),
        })?;
        let directory = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(directory).map_err(io)?;
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
        file.write_all(&bytes)
            .and_then(|()| file.as_file().sync_all())
            .map_err(io)?;
        file.persist(path).map_err(|e| io(e.error))?;
        // The name is durable with the directory; not every system can sync one.
        if cfg!(unix)
            && let Ok(directory) = std::fs::File::open(directory)
        {
            let _ = directory.sync_all();
        }
        Ok(())
    }

    /// Takes up what a verdict proved, and saves it, unless other processes have remembered since,
    /// of the same log, project or artifact, what it was not judged by: then `false`, nothing is
    /// saved, this memory has it now too, and whoever judged must judge again.
    ///
    /// # Errors
    /// [`MemoryError`]; what is on disk is then as it was.
    pub fn learn_judged(
        &mut self,
        path: &Path,
        origin: &str,
        proven: &crate::verify::Proven,
    ) -> Result<bool, MemoryError> {
        let about = |m: &Self| m.about(origin, proven);
        self.take_up(path, about, |m| m.learn(origin, proven))
    }

    /// What is known of what a verdict is about.
    pub(crate) fn about(
        &self,
        origin: &str,
        proven: &crate::verify::Proven,
    ) -> impl PartialEq + use<> {
        let release = release_key(&proven.project, &proven.artifact);
        (
            self.logs.get(origin).cloned(),
            self.projects.get(&hex32(&proven.project)).cloned(),
            self.releases.get(&release).cloned(),
        )
    }

    /// Takes up, by `learn`, what was proven, and saves it where that is new. What other processes
    /// remembered since this memory was loaded is kept: the file is read again under a lock
    /// (`<path>.lock`), so that no process sets it back. Where they have changed what `about` finds,
    /// nothing is learnt or saved, and it is `false`: this memory knows it then.
    ///
    /// # Errors
    /// [`MemoryError`]; what is on disk is then as it was.
    pub(crate) fn take_up<T: PartialEq>(
        &mut self,
        path: &Path,
        about: impl Fn(&Self) -> T,
        learn: impl Fn(&mut Self),
    ) -> Result<bool, MemoryError> {
        // Who has nothing to write needs no lock.
        let newest = Self::load(path)?;
        if self.join(&newest, &about) {
            return Ok(false);
        }
        let mut known = self.clone();
        learn(&mut known);
        if known == newest {
            *self = known;
            return Ok(true);
        }
        let _lock = lock(path)?;
        let newest = Self::load(path)?;
        if self.join(&newest, &about) {
            return Ok(false);
        }
        learn(self);
        if *self != newest {
            self.save(path)?;
        }
        Ok(true)
    }

    /// Takes up what `other` knows; whether that changes what `about` finds.
    pub(crate) fn join<T: PartialEq>(&mut self, other: &Self, about: impl Fn(&Self) -> T) -> bool {
        let before = about(self);
        self.api_version.clone_from(&other.api_version);
        for (origin, theirs) in &other.logs {
            // Of one size theirs: whoever has proven another root is then refused by it.
            self.keep_checkpoint(origin, theirs, |theirs, ours| theirs.size >= ours.size);
        }
        for (project, theirs) in &other.projects {
            keep(&mut self.projects, project, theirs, |new, old| {
                new.size > old.size
            });
        }
        for (name, theirs) in &other.releases {
            keep(&mut self.releases, name, theirs, |new, old| {
                new.index > old.index
            });
        }
        about(self) != before
    }

    /// Takes up what a verdict proved; never goes back.
    pub fn learn(&mut self, origin: &str, proven: &crate::verify::Proven) {
        self.learn_head(origin, &proven.project, &proven.checkpoint, &proven.head);
        let key = release_key(&proven.project, &proven.artifact);
        keep(&mut self.releases, &key, &proven.release, |new, old| {
            new.index > old.index
        });
    }

    /// Takes up a head that was proven, whatever becomes of a release under it; never goes back.
    pub fn learn_head(
        &mut self,
        origin: &str,
        project: &Hash,
        seen: &SeenCheckpoint,
        proven: &SeenHead,
    ) {
        self.learn_checkpoint(origin, seen);
        keep(&mut self.projects, &hex32(project), proven, |new, old| {
            new.size > old.size
        });
    }

    /// Takes up a checkpoint that was proven to be of the one history; never goes back.
    pub(crate) fn learn_checkpoint(&mut self, origin: &str, seen: &SeenCheckpoint) {
        self.keep_checkpoint(origin, seen, |new, old| new.size > old.size);
    }

    fn keep_checkpoint(
        &mut self,
        origin: &str,
        seen: &SeenCheckpoint,
        later: impl Fn(&SeenCheckpoint, &SeenCheckpoint) -> bool,
    ) {
        let view_time = self.logs.get(origin).map_or(0, |log| log.view_time);
        let log = keep(&mut self.logs, origin, seen, later);
        log.view_time = view_time.max(seen.view_time);
    }
}

/// Takes `new` in where there is none of its name yet, or where it is later; gives what is there then.
fn keep<'a, T: Clone>(
    all: &'a mut BTreeMap<String, T>,
    name: &str,
    new: &T,
    later: impl Fn(&T, &T) -> bool,
) -> &'a mut T {
    let there = all.entry(name.to_owned()).or_insert_with(|| new.clone());
    if later(new, there) {
        *there = new.clone();
    }
    there
}

/// Takes the lock of the memory at `path`, for as long as the file is open.
///
/// # Errors
/// [`MemoryError::Unwritable`].
pub(crate) fn lock(path: &Path) -> Result<std::fs::File, MemoryError> {
    lock_within(path, LOCKED)
}

fn lock_within(path: &Path, time: Duration) -> Result<std::fs::File, MemoryError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let io = |source| MemoryError::Unwritable {
        path: name.clone(),
        source,
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(io)?;
    }
    let mut options = std::fs::File::options();
    options.create(true).truncate(false).write(true);
    // Who could open it could hold it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let lock = options.open(&name).map_err(io)?;
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if begun.elapsed() < time => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(io(e.into())),
        }
    }
}

/// A newer head is remembered only where it withdraws the same.
pub(crate) fn not_stale(
    remembered: &SeenHead,
    size: u64,
    state: &StateDocument,
) -> Result<(), Refused> {
    if remembered.state.withdrawn == state.withdrawn {
        return Ok(());
    }
    Err(Refused::NeedsRefresh {
        remembered: remembered.size,
        got: size,
    })
}

/// The release is not older than the newest that is remembered or floored.
pub(crate) fn not_older(index: u64, newest: Option<u64>) -> Result<(), Refused> {
    match newest {
        Some(n) if index < n => Err(Refused::Rollback(differ(
            format!("log index {n} or later"),
            format!("log index {index}"),
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
