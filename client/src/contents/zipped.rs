//! Zip archives, which are read by the list at their end: what that does not list is not there for
//! whoever unpacks them.

use super::tee::Tee;
use super::walker::{BUFFER, Spent, Walker};
use super::{Place, Problem, Sink, Visitor};
use std::fs::File;
use std::io::{Read, Seek, Write as _};
use zip::ZipArchive;
use zip::result::ZipError;

/// A zip within something is kept in memory up to this many bytes, then in a file without a name.
const IN_MEMORY: usize = 16 << 20;

impl<V: Visitor> Walker<'_, V> {
    pub(super) fn zip<S: Sink>(
        &mut self,
        place: &Place,
        tee: &mut Tee<'_, S>,
        depth: usize,
        seekable: Option<File>,
    ) -> Result<(), Spent> {
        let mut buffer = vec![0_u8; BUFFER];
        if let Some(file) = seekable {
            tee.drain(&mut buffer);
            return self.zip_entries(place, file, depth);
        }
        let mut spooled = tempfile::SpooledTempFile::new(IN_MEMORY);
        loop {
            let n = match tee.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                // It is told where the rest is read.
                Err(_) => return Ok(()),
            };
            if let Err(e) = spooled.write_all(buffer.get(..n).unwrap_or_default()) {
                let why = format!("there is no room to unpack it: {e}");
                self.visitor.problem(place, Problem::Unreadable(why));
                return Ok(());
            }
        }
        self.zip_entries(place, spooled, depth)
    }

    fn zip_entries(
        &mut self,
        place: &Place,
        source: impl Read + Seek,
        depth: usize,
    ) -> Result<(), Spent> {
        let mut archive = match ZipArchive::new(source) {
            Ok(archive) => archive,
            Err(e) => {
                self.visitor.problem(place, problem(&e));
                return Ok(());
            }
        };
        for index in 0..archive.len() {
            let name = match archive.by_index_raw(index) {
                Ok(entry) if entry.is_dir() => continue,
                Ok(entry) => String::from_utf8_lossy(entry.name_raw()).into_owned(),
                Err(e) => {
                    self.visitor.problem(place, problem(&e));
                    continue;
                }
            };
            let inner = place.within(name);
            match archive.by_index(index) {
                Ok(mut entry) => self.file(&inner, &mut entry, depth + 1, None)?,
                Err(e) => self.visitor.problem(&inner, problem(&e)),
            }
        }
        Ok(())
    }
}

fn problem(error: &ZipError) -> Problem {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => Problem::Encrypted,
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
            Problem::Unsupported("this way to pack a file into a zip")
        }
        other => Problem::Broken(other.to_string()),
    }
}
