//! Appending receipts to a file, durable before what they speak of begins.

use super::Receipt;
use crate::fail::Fail;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// What was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Whether the file had a half-written line at its end. It was ended, and stays.
    pub mended: bool,
}

/// Appends `receipt` to the file at `path`, which is made if it is not there, for its owner alone.
/// Several processes may do so at once: a line is written under the file's lock, in one piece, and is
/// on the disk when this returns.
///
/// # Errors
/// Exit code 2: it could not be written, or what is there is no file. A file that was written to
/// in part ends in a line that says so to its reader.
pub fn keep(path: &Path, receipt: &Receipt<'_>) -> Result<Kept, Fail> {
    let line = receipt.to_line().map_err(|e| {
        Fail::usage(e.kind(), format!("the receipt: {e}"))
            .hint("it lists every environment variable and remote by name: hand over fewer by run.environment in the policy")
    })?;
    let bad = |e: std::io::Error| {
        Fail::usage("receipt-unwritable", format!("receipts {}: {e}", path.display()))
            .hint("nothing that is to have a receipt goes on without it: make room, or give another file with --receipts")
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(bad)?;
    }
    let new = !path.exists();
    let mut file = open(path).map_err(bad)?;
    file.lock().map_err(bad)?;
    let mended = !ends_in_newline(&mut file).map_err(bad)?;
    let mut bytes = Vec::with_capacity(line.len() + 1);
    if mended {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(&line);
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .map_err(bad)?;
    // The name is durable with the directory; not every system can sync one.
    if new && cfg!(unix) {
        let directory = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|d| d.sync_all())
            .map_err(bad)?;
    }
    Ok(Kept { mended })
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
        // A pipe that nobody reads must not hold us up; that it is none is looked at below.
        #[cfg(target_os = "linux")]
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    Ok(file)
}

fn ends_in_newline(file: &mut File) -> std::io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0_u8];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
