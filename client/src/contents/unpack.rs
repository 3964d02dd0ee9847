//! Archives and compressed files that are read from their beginning to their end.

use super::format::{Format, is_skippable};
use super::tee::Tee;
use super::walker::{BUFFER, Spent, Walker};
use super::{Place, Problem, Sink, Visitor};
use std::io::{self, BufReader, Read};

impl<V: Visitor> Walker<'_, V> {
    /// A compressed file holds one other.
    pub(super) fn compressed<S: Sink>(
        &mut self,
        format: Format,
        place: &Place,
        tee: &mut Tee<'_, S>,
        depth: usize,
    ) -> Result<(), Spent> {
        let name = place.name();
        let stem = |suffixes: &[&str]| {
            let stem = suffixes.iter().find_map(|s| name.strip_suffix(s));
            place.within(stem.unwrap_or(&name))
        };
        match format {
            Format::Gzip => {
                let mut reader = flate2::read::MultiGzDecoder::new(tee);
                // What its header says beside.
                let beside = reader.header().map(|header| {
                    let parts = [header.comment(), header.extra(), header.filename()];
                    parts.into_iter().flatten().collect::<Vec<_>>().join(&b'\n')
                });
                if let Some(beside) = beside.filter(|b| !b.is_empty()) {
                    self.file(&place.within("(header)"), &mut &beside[..], depth + 1, None)?;
                }
                self.file(&stem(&[".gz", ".tgz"]), &mut reader, depth + 1, None)
            }
            _ => {
                let mut reader = Frames::new(tee);
                self.file(&stem(&[".zst"]), &mut reader, depth + 1, None)
            }
        }
    }

    pub(super) fn tar<S: Sink>(
        &mut self,
        place: &Place,
        tee: &mut Tee<'_, S>,
        depth: usize,
    ) -> Result<(), Spent> {
        let broken = |e: std::io::Error| Problem::Broken(e.to_string());
        let allowance = tee.allowance.clone();
        let mut archive = tar::Archive::new(&mut *tee);
        let mut entries = match archive.entries() {
            Ok(entries) => entries,
            Err(e) => {
                self.visitor.problem(place, broken(e));
                return Ok(());
            }
        };
        loop {
            // All of the file before it was read: what comes now describes the next.
            allowance.set(DESCRIPTION);
            let next = entries.next();
            allowance.set(u64::MAX);
            let mut entry = match next {
                None => break,
                Some(Ok(entry)) => entry,
                Some(Err(e)) => {
                    if !self.budget.spent() {
                        self.visitor.problem(place, broken(e));
                    }
                    return Ok(());
                }
            };
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let inner = place.within(name);
            self.described(&inner, &mut entry, depth)?;
            use tar::EntryType as T;
            let nameless = matches!(
                entry.header().entry_type(),
                T::Link
                    | T::Symlink
                    | T::Char
                    | T::Block
                    | T::Directory
                    | T::Fifo
                    | T::XGlobalHeader
                    | T::XHeader
                    | T::GNULongName
                    | T::GNULongLink
            );
            if nameless && entry.size() == 0 {
                continue;
            }
            if nameless {
                // Others take the bytes of such an entry for the next ones.
                let why = "a link, directory or device that has bytes".to_owned();
                self.visitor.problem(&inner, Problem::Broken(why));
            }
            self.file(&inner, &mut entry, depth + 1, None)?;
        }
        if tee.drain(&mut self.buffer) && !self.budget.spent() {
            self.visitor.problem(place, Problem::Trailing);
        }
        Ok(())
    }
}

/// Bytes that may describe one file in an archive: its long name, its attributes.
const DESCRIPTION: u64 = 1 << 20;

impl<V: Visitor> Walker<'_, V> {
    /// What an archive says of a file beside its bytes is shown as a file of its own.
    fn described<R: Read>(
        &mut self,
        place: &Place,
        entry: &mut tar::Entry<'_, R>,
        depth: usize,
    ) -> Result<(), Spent> {
        let mut text = Vec::new();
        let mut sparse = false;
        if let Ok(Some(extensions)) = entry.pax_extensions() {
            for extension in extensions.flatten() {
                sparse |= extension.key_bytes().starts_with(b"GNU.sparse.");
                text.extend_from_slice(extension.key_bytes());
                text.push(b'=');
                text.extend_from_slice(extension.value_bytes());
                text.push(b'\n');
            }
        }
        if sparse {
            let problem = Problem::Unsupported("a sparse file in a pax archive");
            self.visitor.problem(place, problem);
        }
        if text.is_empty() {
            return Ok(());
        }
        self.file(
            &place.within("(attributes)"),
            &mut &text[..],
            depth + 1,
            None,
        )
    }
}

type Source<R> = io::Chain<io::Cursor<Vec<u8>>, BufReader<R>>;
type Decoder<R> = ruzstd::decoding::StreamingDecoder<Source<R>, ruzstd::decoding::FrameDecoder>;

/// Frames of zstd one after the other, as `zstd` reads them.
struct Frames<R: Read> {
    decoder: Option<Decoder<R>>,
    source: Option<BufReader<R>>,
}

impl<R: Read> Frames<R> {
    fn new(reader: R) -> Self {
        Self {
            decoder: None,
            source: Some(BufReader::with_capacity(BUFFER, reader)),
        }
    }

    /// Begins the next frame; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        let Some(mut source) = self.source.take() else {
            return Ok(false);
        };
        loop {
            let mut magic = Vec::new();
            source.by_ref().take(4).read_to_end(&mut magic)?;
            if magic.is_empty() {
                return Ok(false);
            }
            if !is_skippable(&magic) {
                let source = io::Cursor::new(magic).chain(source);
                let decoder = ruzstd::decoding::StreamingDecoder::new(source);
                self.decoder = Some(decoder.map_err(|e| io::Error::other(e.to_string()))?);
                return Ok(true);
            }
            let mut length = [0; 4];
            source.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            let skipped = io::copy(&mut source.by_ref().take(length), &mut io::sink())?;
            if skipped < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                let n = decoder.read(buffer)?;
                if n > 0 || buffer.is_empty() {
                    return Ok(n);
                }
                let source = self.decoder.take().map(ruzstd_source);
                self.source = source;
            }
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}

fn ruzstd_source<R: Read>(decoder: Decoder<R>) -> BufReader<R> {
    decoder.into_inner().into_inner().1
}
