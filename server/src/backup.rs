//! `backup`: an export as one tar file, for one file is easier to carry away, to keep and to
//! date. It holds no private key unless asked by name.

use crate::check::Options;
use crate::error::Error;
use crate::frozen::{Frozen, Item};
use crate::log::unix_now;
use crate::logkeys::LogKeys;
use crate::store::sync_dir;
use ledger::Hash;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write as _};
use std::path::Path;
use tempfile::NamedTempFile;

/// What was backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackedUp {
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Files in it.
    pub files: u64,
    /// Whether a server ran on the data directory.
    pub live: bool,
}

/// Writes the log in `dir` to the tar file `out`, which must not exist: no backup overwrites
/// another. Only its owner can read it, as it holds projects that wait.
///
/// # Errors
/// [`Error::Export`] where the log is damaged, [`Error::Io`]. Nothing stands at `out` then.
pub fn backup(
    dir: &Path,
    out: &Path,
    with_private_keys: bool,
    options: &Options,
) -> Result<BackedUp, Error> {
    let failed = |e: io::Error| Error::io(out, &e);
    // A bare name has an empty parent.
    let place = std::path::absolute(out).map_err(failed)?;
    let parent = place.parent().unwrap_or(Path::new("/"));
    if place.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let frozen = Frozen::open(dir, options)?;
    let file = NamedTempFile::new_in(parent).map_err(failed)?;
    let mut writing = Writing {
        tar: tar::Builder::new(BufWriter::with_capacity(1 << 20, file)),
        time: unix_now(),
        files: 0,
    };
    frozen.each(|path, item| writing.take(path, item).map_err(failed))?;
    if with_private_keys {
        for name in LogKeys::files(&frozen.marker) {
            let key = frozen.layout.private().join(&name);
            let item = Item::Bytes(fs::read(&key).map_err(|e| Error::io(&key, &e))?);
            writing
                .take(&format!("private/{name}"), item)
                .map_err(failed)?;
        }
    }
    let files = writing.files;
    let mut buffered = writing.tar.into_inner().map_err(failed)?;
    buffered.flush().map_err(failed)?;
    let file = buffered.into_inner().map_err(|e| failed(e.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(&place)
        .map_err(|e| failed(e.error))?;
    sync_dir(parent)?;
    Ok(BackedUp {
        size: frozen.checkpoint.size,
        root: frozen.checkpoint.root,
        files,
        live: frozen.live(),
    })
}

struct Writing {
    tar: tar::Builder<BufWriter<NamedTempFile>>,
    time: u64,
    files: u64,
}

impl Writing {
    fn take(&mut self, path: &str, item: Item) -> io::Result<()> {
        let private = path.starts_with("state/") || path.starts_with("private/");
        self.files += 1;
        match item {
            Item::Bytes(bytes) => self.add(path, private, bytes.len() as u64, bytes.as_slice()),
            Item::File(from) => {
                // It never changes once it stands, so its length holds.
                let file = File::open(from)?;
                let length = file.metadata()?.len();
                self.add(path, private, length, file.take(length))
            }
        }
    }

    fn add(&mut self, path: &str, private: bool, size: u64, data: impl Read) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(if private { 0o600 } else { 0o644 });
        header.set_mtime(self.time);
        header.set_entry_type(tar::EntryType::Regular);
        self.tar.append_data(&mut header, path, data)
    }
}
