//! Zip archives, which are read by the list at their end: what that does not list is not there for
//! whoever unpacks them.

use super::tee::Tee;
use super::walker::{Spent, Walker};
use super::{Place, Problem, Sink, Visitor};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write as _};
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
        if let Some(file) = seekable {
            tee.drain(&mut self.buffer);
            return self.zip_entries(place, file, depth);
        }
        let mut spooled = tempfile::SpooledTempFile::new(IN_MEMORY);
        loop {
            let n = match tee.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                // It is told where the rest is read.
                Err(_) => return Ok(()),
            };
            if let Err(e) = spooled.write_all(self.buffer.get(..n).unwrap_or_default()) {
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
        let mut listed = Vec::new();
        for index in 0..archive.len() {
            let name = match archive.by_index_raw(index) {
                Ok(entry) => {
                    let begin = entry.header_start();
                    let data = entry.data_start().unwrap_or(begin);
                    listed.push((begin, data.saturating_add(entry.compressed_size())));
                    if entry.is_dir() && entry.compressed_size() == 0 {
                        continue;
                    }
                    String::from_utf8_lossy(entry.name_raw()).into_owned()
                }
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
        listed.push((archive.central_directory_start(), u64::MAX));
        let comment = archive.comment().to_vec();
        self.unlisted(place, listed, archive.into_inner(), depth)?;
        if comment.is_empty() {
            return Ok(());
        }
        self.file(
            &place.within("(comment)"),
            &mut &comment[..],
            depth + 1,
            None,
        )
    }

    /// What lies in the file and in none of the entries that are listed: who unpacks it in another way
    /// may find it. An entry that is not listed any more begins as a zip does, and is told as a broken one.
    fn unlisted(
        &mut self,
        place: &Place,
        mut listed: Vec<(u64, u64)>,
        mut source: impl Read + Seek,
        depth: usize,
    ) -> Result<(), Spent> {
        listed.sort_unstable();
        let mut at = 0_u64;
        for (begin, end) in listed {
            // Behind an entry there may be as much to describe it.
            if begin > at.saturating_add(if at == 0 { 0 } else { 24 })
                && source.seek(SeekFrom::Start(at)).is_ok()
            {
                let mut between = source.by_ref().take(begin - at);
                let inner = place.within("(not listed)");
                self.file(&inner, &mut between, depth + 1, None)?;
            }
            at = at.max(end);
        }
        self.after_the_end(place, source, depth)
    }

    /// What comes after the record that ends a zip.
    fn after_the_end(
        &mut self,
        place: &Place,
        mut source: impl Read + Seek,
        depth: usize,
    ) -> Result<(), Spent> {
        let Ok(size) = source.seek(SeekFrom::End(0)) else {
            return Ok(());
        };
        let from = size.saturating_sub(1 << 17);
        let mut tail = Vec::new();
        if source.seek(SeekFrom::Start(from)).is_err() || source.read_to_end(&mut tail).is_err() {
            return Ok(());
        }
        let last = tail.windows(4).rposition(|w| w == b"PK\x05\x06");
        let end = last.and_then(|at| {
            let length = tail.get(at + 20..at + 22)?;
            let length = u16::from_le_bytes(length.try_into().ok()?);
            Some(at + 22 + usize::from(length))
        });
        match end.and_then(|end| tail.get(end..)) {
            Some([]) => Ok(()),
            Some(rest) => {
                self.visitor.problem(place, Problem::Trailing);
                let rest = rest.to_vec();
                self.file(
                    &place.within("(after the end)"),
                    &mut &rest[..],
                    depth + 1,
                    None,
                )
            }
            None => {
                self.visitor.problem(place, Problem::Trailing);
                Ok(())
            }
        }
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
