//! The file operations that durability rests on, behind one seam: each place that makes
//! something durable calls them one by one, so that a test can count them, fail any of
//! them, tear a write, and say what a power loss would have left. Reading is not among
//! them: it makes nothing durable.

use super::StoreError;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// What changes files and directories. The product uses [`Disk`].
pub trait Files: Send + Sync + 'static {
    /// An open file.
    type File: Send + Sync;

    /// Makes a directory whose parent exists.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::AlreadyExists`] included.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a file, or empties the one that is there.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file that is there, to sync what another handle wrote to it.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Writes all of `bytes`. Not durable yet.
    ///
    /// # Errors
    /// What the system says; some of the bytes may have been written.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's bytes and length durable, but not its name.
    ///
    /// # Errors
    /// What the system says; it is then unknown what is durable.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Gives a file another name in the same directory. Not durable yet.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says; it is then unknown what is durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    type File = File;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        File::create(path)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        File::options().read(true).write(true).open(path)
    }
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        // What is needed to read the bytes again, the length included; no times.
        file.sync_data()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Puts `bytes` at `path` whole or not at all: temporary file beside it, fsync, rename. The
/// name is durable only once the directory is synced, which is left to the caller.
pub(crate) fn place<F: Files>(files: &F, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let placed = files
        .create(&temporary)
        .and_then(|mut file| {
            files.write(&mut file, bytes)?;
            files.sync(&file)
        })
        .and_then(|()| files.rename(&temporary, path));
    placed.map_err(|e| {
        // On a full disk the half that was written only takes room. If it stays, it counts
        // for nothing.
        let _ = files.remove(&temporary);
        StoreError::io(path, &e)
    })
}

/// Writes a file by temporary file, fsync, rename and fsync of the directory.
pub(crate) fn write_durably<F: Files>(
    files: &F,
    path: &Path,
    bytes: &[u8],
) -> Result<(), StoreError> {
    place(files, path, bytes)?;
    path.parent().map_or(Ok(()), |dir| {
        files.sync_dir(dir).map_err(|e| StoreError::io(dir, &e))
    })
}

/// Makes a directory below one that exists, where it is missing, with its name durable. One
/// that stands may stand since a crash, so its name is synced too.
pub(crate) fn make_dir<F: Files>(files: &F, dir: &Path) -> Result<(), StoreError> {
    match files.create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(StoreError::io(dir, &e)),
        _ => {}
    }
    dir.parent().map_or(Ok(()), |parent| {
        files
            .sync_dir(parent)
            .map_err(|e| StoreError::io(parent, &e))
    })
}

/// Makes a directory's listing durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    Disk.sync_dir(dir).map_err(|e| StoreError::io(dir, &e))
}
