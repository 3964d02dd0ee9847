//! The data directory: what is served lies in `public/`, keys and state in `private/`
//! (mode 0700), so that neither a backup nor a mirror of `public/` ever holds a key.
//!
//! `log.json` says which log and which format this is. It is written last, so that a
//! directory without it is one whose making did not finish.

use crate::error::Error;
use crate::logkeys::{LogKeys, PAIR};
use crate::rotation::Rotation;
use crate::store::{Disk, write_durably};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u64 = 1;
const MARKER: &str = "log.json";
/// Pairs of keys that a log ever has at most: more than anybody rotates.
pub(crate) const MOST_PAIRS: u64 = 1000;

/// What `log.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    api_version: String,
    format: u64,
    /// The log's origin.
    pub origin: String,
    /// The log's vkeys, so that what it signed can be checked where its keys are not at
    /// hand. A directory made by an older version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vkeys: Option<Vec<String>>,
    /// Which keys sign, where they were ever rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

impl Marker {
    pub(crate) fn new(origin: &str, vkeys: Vec<String>) -> Self {
        Self {
            api_version: ledger::API_VERSION.into(),
            format: FORMAT,
            origin: origin.into(),
            vkeys: Some(vkeys),
            rotation: None,
        }
    }

    /// The numbers of the pairs of keys that sign, the current one first.
    pub(crate) fn pairs(&self) -> Vec<u64> {
        match &self.rotation {
            None => vec![1],
            Some(r) if r.until.is_some() => vec![r.pair, r.pair - 1],
            Some(r) => vec![r.pair],
        }
    }

    /// The vkeys of every pair that signs or ever signed, pair by pair.
    #[must_use]
    pub fn all_vkeys(&self) -> Vec<String> {
        let mut all = self.vkeys.clone().unwrap_or_default();
        all.extend(self.rotation.iter().flat_map(|r| r.retired.clone()));
        all
    }

    /// The bytes of its file, which are the only ones that say this.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|e| Error::Io {
            path: MARKER.into(),
            why: e.to_string(),
        })
    }

    /// Reads it; `dir` is only named in errors.
    ///
    /// # Errors
    /// [`Error::HalfWritten`], [`Error::NewerFormat`].
    pub fn parse(bytes: &[u8], dir: &str) -> Result<Self, Error> {
        let half = |what: &str| Error::HalfWritten {
            dir: dir.to_owned(),
            what: what.to_owned(),
        };
        // The format number first: a newer log.json may have other fields.
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|_| half("log.json is not JSON"))?;
        let found = value.get("format").and_then(serde_json::Value::as_u64);
        let found = found.ok_or_else(|| half("log.json names no format"))?;
        if found > FORMAT {
            return Err(Error::NewerFormat {
                dir: dir.to_owned(),
                found,
                known: FORMAT,
            });
        }
        let marker: Self =
            serde_json::from_value(value).map_err(|_| half("log.json lacks a field"))?;
        if marker.api_version != ledger::API_VERSION {
            return Err(half("log.json names another apiVersion"));
        }
        if marker.rotation.as_ref().is_some_and(|r| !r.is_sound()) {
            return Err(half(
                "what log.json says of the rotation of the keys is not as it was written: put it back from a backup",
            ));
        }
        Ok(marker)
    }
}

/// Where things lie below the directory given with `--data`.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }
    /// What is served.
    #[must_use]
    pub fn public(&self) -> PathBuf {
        self.root.join("public")
    }
    /// What nobody else reads.
    #[must_use]
    pub fn private(&self) -> PathBuf {
        self.root.join("private")
    }
    /// The operator's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.private().join("operator.sock")
    }
    /// `log.json`.
    #[must_use]
    pub fn marker(&self) -> PathBuf {
        self.root.join(MARKER)
    }
    fn shown(&self) -> String {
        self.root.display().to_string()
    }

    /// Reads the marker: the log's origin.
    ///
    /// # Errors
    /// [`Error::NoLog`], [`Error::HalfWritten`], [`Error::NewerFormat`].
    pub fn origin(&self) -> Result<String, Error> {
        let bytes = self.marker_bytes()?;
        let marker = Marker::parse(&bytes, &self.shown())?;
        for (path, what) in [
            (self.public(), "public/ is missing"),
            (self.private(), "private/ is missing"),
        ] {
            if !path.is_dir() {
                return Err(Error::HalfWritten {
                    dir: self.shown(),
                    what: what.to_owned(),
                });
            }
        }
        Ok(marker.origin)
    }

    /// The marker's bytes.
    ///
    /// # Errors
    /// [`Error::NoLog`], [`Error::HalfWritten`], [`Error::Io`].
    pub fn marker_bytes(&self) -> Result<Vec<u8>, Error> {
        match fs::read(self.marker()) {
            Ok(bytes) => Ok(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(if self.private().exists() || self.public().exists() {
                    Error::HalfWritten {
                        dir: self.shown(),
                        what: "log.json is missing, so its init did not finish; if it never served, remove it and init again".to_owned(),
                    }
                } else {
                    Error::NoLog(self.shown())
                })
            }
            Err(e) => Err(Error::io(&self.marker(), &e)),
        }
    }

    /// What `log.json` says. One that was written before markers listed the vkeys is completed
    /// by the key files.
    ///
    /// # Errors
    /// [`Error`] where neither can be read.
    pub fn read_marker(&self) -> Result<Marker, Error> {
        let mut marker = Marker::parse(&self.marker_bytes()?, &self.shown())?;
        if marker.vkeys.is_none() {
            marker.vkeys = Some(LogKeys::load(&self.private(), &marker)?.vkeys());
        }
        Ok(marker)
    }

    /// The log's keys.
    ///
    /// # Errors
    /// [`Error`] where the marker or a key file cannot be read, or they do not agree.
    pub fn keys(&self) -> Result<LogKeys, Error> {
        self.origin()?;
        let marker = Marker::parse(&self.marker_bytes()?, &self.shown())?;
        LogKeys::load(&self.private(), &marker)
    }

    /// The vkeys of the keys with which the log signs, as `log.json` says, or by its key files
    /// where that is older; pair by pair, the current one first.
    ///
    /// # Errors
    /// [`Error`] where neither can be read.
    pub fn vkeys(&self) -> Result<Vec<String>, Error> {
        Ok(self.read_marker()?.vkeys.unwrap_or_default())
    }
}

/// Makes a new log's directory and keys. Returns its vkeys.
///
/// # Errors
/// [`Error`] where a log, or half of one, is there, and where the origin is not a name.
pub fn init(dir: &Path, origin: &str) -> Result<Vec<String>, Error> {
    if !tlog::note::check_name(origin) || origin.chars().any(char::is_control) || origin.len() > 200
    {
        return Err(Error::BadOrigin(origin.chars().take(250).collect()));
    }
    let layout = Layout::new(dir);
    match layout.origin() {
        Ok(found) if found == origin => {
            return Err(Error::AlreadyThere {
                dir: layout.shown(),
                origin: found,
            });
        }
        Ok(found) => {
            return Err(Error::OtherOrigin {
                dir: layout.shown(),
                want: origin.to_owned(),
                found,
            });
        }
        Err(Error::NoLog(_)) => {}
        Err(e) => return Err(e),
    }
    fs::create_dir_all(dir).map_err(|e| Error::io(dir, &e))?;
    if let Some(parent) = dir.canonicalize().ok().as_deref().and_then(Path::parent) {
        sync(parent)?;
    }
    let private = layout.private();
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&private)
        .map_err(|e| Error::io(&private, &e))?;
    let public = layout.public();
    fs::create_dir(&public).map_err(|e| Error::io(&public, &e))?;
    let keys = LogKeys::generate(&private, origin)?;
    crate::recover::first_head(&layout, origin, &keys)?;
    sync(&private)?;
    let bytes = Marker::new(origin, keys.vkeys()).to_bytes()?;
    write_durably(&Disk, &layout.marker(), &bytes)?;
    Ok(keys.vkeys())
}

fn sync(dir: &Path) -> Result<(), Error> {
    Ok(crate::store::sync_dir(dir)?)
}

/// The vkeys of the log in `dir` that projects should list: those of the current pair.
///
/// # Errors
/// [`Error`] where there is no whole log.
pub fn vkeys(dir: &Path) -> Result<Vec<String>, Error> {
    let mut vkeys = Layout::new(dir).keys()?.vkeys();
    vkeys.truncate(PAIR);
    Ok(vkeys)
}

/// A data directory held by this process: nobody else opens it until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    /// Where things lie.
    pub layout: Layout,
    /// The log's origin.
    pub origin: String,
    // The system releases the lock with the file, also when the process is killed.
    _lock: File,
}

/// How often, and how long between, a lock is asked for that another process holds.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

impl DataDir {
    /// Opens and locks `dir`.
    ///
    /// # Errors
    /// [`Error`]; [`Error::ReadOnlyFileSystem`]; [`Error::InUse`] where another server runs on it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let layout = Layout::new(dir);
        let origin = layout.origin()?;
        let path = layout.private().join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let lock = lock.map_err(|e| match e.kind() {
            std::io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnlyFileSystem(layout.shown()),
            _ => Error::io(&path, &e),
        })?;
        locked(&lock).map_err(|_| Error::InUse(layout.shown()))?;
        Ok(Self {
            layout,
            origin,
            _lock: lock,
        })
    }
}

/// Takes a lock for this process alone. One that was just killed frees its lock a moment
/// later, when the system is done with it: so that is waited for.
pub(crate) fn locked(file: &File) -> Result<(), rustix::io::Errno> {
    use rustix::fs::{FlockOperation, flock};
    for _ in 0..LOCK_TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// How a data directory is read without being changed.
#[derive(Debug)]
pub enum Reading {
    /// No server runs on it, nor can start until this is dropped.
    Rest(Option<File>),
    /// A server runs on it.
    Live,
}

impl Reading {
    /// Takes the lock that a server would take, to be shared with other readers. Where none
    /// ever ran there is no lock to take, and none is made.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(layout: &Layout) -> Result<Self, Error> {
        let path = layout.private().join("lock");
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::Rest(None)),
            Err(e) => return Err(Error::io(&path, &e)),
        };
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Self::Rest(Some(lock))),
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => Ok(Self::Live),
            Err(e) => Err(Error::io(&path, &e.into())),
        }
    }
}
