//! Putting a verified file into its place.
//!
//! Bytes are written to a temporary file of our own beside the destination, hashed as they
//! come, and renamed only when the caller has verified them. Until then nothing has the
//! destination's name, and a file that was there stays; on any failure the temporary file goes.

use crate::fail::Fail;
use ledger::Hash;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

const BUFFER: usize = 32 * 1024;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// SHA-256 of the bytes that were written.
    pub sha256: Hash,
    /// Their number.
    pub size: u64,
    /// Whether the source went on after the limit; then the bytes are not the whole.
    pub over: bool,
}

/// Copies `reader` to `writer`, hashing, and stops at the first byte after `limit` bytes.
///
/// # Errors
/// Exit code 3 where reading fails, 2 where writing does.
pub fn copy(reader: &mut impl Read, writer: &mut impl Write, limit: u64) -> Result<Copied, Fail> {
    match copy_part(reader, writer, limit) {
        (copied, None) => Ok(copied),
        (_, Some(fail)) => Err(fail),
    }
}

/// The same for whom the part that came counts, too: it, and why the rest did not.
pub(crate) fn copy_part(
    reader: &mut impl Read,
    writer: &mut impl Write,
    limit: u64,
) -> (Copied, Option<Fail>) {
    let mut hasher = keys::Sha256Stream::new();
    let mut buffer = vec![0_u8; BUFFER];
    let mut size = 0_u64;
    let (over, fail) = loop {
        // One byte more than may come tells a source of the exact size from a longer one.
        let room = (limit - size).saturating_add(1);
        let wish = usize::try_from(room).unwrap_or(BUFFER).min(BUFFER);
        let n = match reader.read(buffer.get_mut(..wish).unwrap_or_default()) {
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => {
                let message = format!("the download broke off: {e}");
                let fail = Fail::unchecked("download-broken", message);
                break (false, Some(fail.hint("try again; nothing was kept")));
            }
        };
        if n == 0 {
            break (false, writer.flush().err().map(|e| unwritable(&e)));
        }
        let over = n as u64 >= room;
        let keep = if over { n - 1 } else { n };
        let bytes = buffer.get(..keep).unwrap_or_default();
        hasher.update(bytes);
        if let Err(e) = writer.write_all(bytes) {
            break (false, Some(unwritable(&e)));
        }
        size += keep as u64;
        if over {
            break (true, None);
        }
    };
    let sha256 = hasher.finish();
    (Copied { sha256, size, over }, fail)
}

fn unwritable(error: &std::io::Error) -> Fail {
    Fail::usage("unwritable", format!("cannot write: {error}"))
        .hint("make room, or choose another place with --output")
}

fn unwritable_at(path: &Path, error: &std::io::Error) -> Fail {
    Fail::usage("unwritable", format!("{}: {error}", path.display()))
        .hint("choose a place that can be written with --output")
}

/// Refuses what is there and no file, itself or at the end of a link. Bytes cannot be taken back
/// from a pipe or a device; and a file in its place takes it from whoever uses it: if the
/// superuser asks for /dev/null, from the whole system.
///
/// # Errors
/// Exit code 2.
pub(crate) fn refuse_special(destination: &Path) -> Result<(), Fail> {
    // What cannot be looked at is replaced, if at all, and never written through.
    if destination.metadata().map_or(true, |m| m.is_file()) {
        return Ok(());
    }
    Err(Fail::usage(
        "unwritable",
        format!(
            "{} is no file but a device, a pipe or a socket",
            destination.display()
        ),
    )
    .hint("give a file's name; `get` writes to standard output with `--output -`"))
}

/// Opens a file that is one: through no link, and without waiting for whoever writes into a pipe.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// A file on its way to its place. Dropped without [`Placed::commit`], it is deleted.
#[derive(Debug)]
pub struct Placed {
    file: NamedTempFile,
    destination: PathBuf,
}

impl Placed {
    /// Makes the temporary file, in the directory of `destination`. It is exclusive, and only
    /// its owner can write it.
    ///
    /// # Errors
    /// Exit code 2 where that cannot be done, or `destination` is a directory, a device, a pipe or
    /// a socket.
    pub fn new_in(destination: &Path) -> Result<Self, Fail> {
        if destination.is_dir() {
            return Err(Fail::usage(
                "unwritable",
                format!("{} is a directory", destination.display()),
            )
            .hint("give the file's name with --output"));
        }
        refuse_special(destination)?;
        Self::beside(destination)
    }

    /// A temporary file that is to get no name: its bytes are held back until they are verified.
    /// Nothing that others put into the system's directory for such files stands in its way.
    ///
    /// # Errors
    /// Exit code 2 where it cannot be made.
    pub fn held_back() -> Result<Self, Fail> {
        Self::beside(&std::env::temp_dir().join("-"))
    }

    fn beside(destination: &Path) -> Result<Self, Fail> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".countersign-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // As a new file has it: less what the umask takes. Never writable for others.
            builder.permissions(std::fs::Permissions::from_mode(0o644));
        }
        let file = builder
            .tempfile_in(parent(destination))
            .map_err(|e| unwritable_at(destination, &e))?;
        Ok(Self {
            file,
            destination: destination.to_owned(),
        })
    }

    /// Writes what `reader` gives; see [`copy`].
    ///
    /// # Errors
    /// As [`copy`].
    pub fn fill(&mut self, reader: &mut impl Read, limit: u64) -> Result<Copied, Fail> {
        copy(reader, self.file.as_file_mut(), limit)
    }

    /// The temporary file, for whoever must read it before it has its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The temporary file again, from its beginning, for reading.
    ///
    /// # Errors
    /// Exit code 2 where it cannot be opened, or another file has taken its name.
    pub fn reopen(&self) -> Result<File, Fail> {
        self.file
            .reopen()
            .map_err(|e| unwritable_at(self.file.path(), &e))
    }

    /// Makes the file durable and gives it its name, in place of a file that was there.
    ///
    /// # Errors
    /// Exit code 2; nothing is left behind.
    pub fn commit(self) -> Result<(), Fail> {
        let Self { file, destination } = self;
        file.as_file()
            .sync_all()
            .map_err(|e| unwritable_at(&destination, &e))?;
        file.persist(&destination)
            .map_err(|e| unwritable_at(&destination, &e.error))?;
        // The name is durable with the directory; not every system can sync one.
        if cfg!(unix)
            && let Ok(directory) = File::open(parent(&destination))
        {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn copies_exactly_and_stops_at_the_limit() {
        for (limit, size, over) in [
            (0, 0, true),
            (4, 4, true),
            (5, 5, false),
            (6, 5, false),
            (u64::MAX, 5, false),
        ] {
            let mut out = Vec::new();
            let copied = copy(&mut &b"hello"[..], &mut out, limit).unwrap();
            assert_eq!((copied.size, copied.over), (size, over), "limit {limit}");
            assert_eq!(out, b"hello"[..usize::try_from(size).unwrap()]);
            assert_eq!(copied.sha256, ledger::sha256(&out));
        }
    }

    #[test]
    fn only_a_commit_leaves_something() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("file");
        std::fs::write(&to, b"old").unwrap();
        let mut placed = Placed::new_in(&to).unwrap();
        placed.fill(&mut &b"new"[..], 3).unwrap();
        drop(placed);
        assert_eq!(std::fs::read(&to).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let mut placed = Placed::new_in(&to).unwrap();
        placed.fill(&mut &b"new"[..], 3).unwrap();
        placed.commit().unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(Placed::new_in(dir.path()).unwrap_err().kind, "unwritable");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_neither_written_to_nor_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let [socket, link] = ["socket", "link"].map(|n| dir.path().join(n));
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for special in [&socket, &link] {
            let fail = Placed::new_in(special).unwrap_err();
            assert_eq!((fail.code, fail.kind.as_str()), (2, "unwritable"));
            // As are bundles, policies and statements, which replace what is there too.
            let fail = crate::cmd::common::write_atomic(special, b"bundle").unwrap_err();
            assert_eq!((fail.code, fail.kind.as_str()), (2, "unwritable"));
        }
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        // A link that leads nowhere is replaced, as one that leads to a file is.
        let nowhere = dir.path().join("nowhere");
        std::os::unix::fs::symlink(dir.path().join("gone"), &nowhere).unwrap();
        Placed::new_in(&nowhere).unwrap().commit().unwrap();
        assert!(std::fs::symlink_metadata(&nowhere).unwrap().is_file());
    }
}
