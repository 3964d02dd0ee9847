//! Archives and compressed files that are read from their beginning to their end.

use super::format::Format;
use super::tee::Tee;
use super::walker::{BUFFER, Spent, Walker};
use super::{Place, Problem, Sink, Visitor};
use std::io::{BufReader, Read};

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
        let (suffixes, mut reader): (&[&str], Box<dyn Read + '_>) = match format {
            Format::Gzip => (
                &[".gz", ".tgz"],
                Box::new(flate2::read::MultiGzDecoder::new(tee)),
            ),
            Format::Bzip2 => (&[".bz2"], Box::new(bzip2::read::MultiBzDecoder::new(tee))),
            Format::Xz => (&[".xz"], Box::new(lzma_rust2::XzReader::new(tee, true))),
            _ => match zstd(tee) {
                Ok(reader) => (&[".zst"], reader),
                Err(why) => {
                    self.visitor.problem(place, Problem::Broken(why));
                    return Ok(());
                }
            },
        };
        let stem = suffixes.iter().find_map(|s| name.strip_suffix(s));
        let inner = place.within(stem.unwrap_or(&name));
        self.file(&inner, &mut reader, depth + 1, None)
    }

    pub(super) fn tar<S: Sink>(
        &mut self,
        place: &Place,
        tee: &mut Tee<'_, S>,
        depth: usize,
    ) -> Result<(), Spent> {
        let broken = |e: std::io::Error| Problem::Broken(e.to_string());
        let mut archive = tar::Archive::new(&mut *tee);
        let entries = match archive.entries() {
            Ok(entries) => entries,
            Err(e) => {
                self.visitor.problem(place, broken(e));
                return Ok(());
            }
        };
        for entry in entries {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    if !self.budget.spent() {
                        self.visitor.problem(place, broken(e));
                    }
                    return Ok(());
                }
            };
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            use tar::EntryType as T;
            match entry.header().entry_type() {
                // Names, and no bytes of their own.
                T::Link | T::Symlink | T::Char | T::Block | T::Directory | T::Fifo => {}
                T::XGlobalHeader | T::XHeader | T::GNULongName | T::GNULongLink => {}
                // Whatever else it is, it has bytes.
                _ => self.file(&place.within(name), &mut entry, depth + 1, None)?,
            }
        }
        let mut buffer = vec![0_u8; BUFFER];
        if tee.drain(&mut buffer) && !self.budget.spent() {
            self.visitor.problem(place, Problem::Trailing);
        }
        Ok(())
    }
}

/// Frames one after the other, as `zstd` reads them.
fn zstd<'a, S: Sink>(tee: &'a mut Tee<'_, S>) -> Result<Box<dyn Read + 'a>, String> {
    let reader = BufReader::with_capacity(BUFFER, tee);
    let mut frames = Frames {
        decoder: None,
        source: Some(reader),
    };
    frames.begin().map_err(|e| e.to_string())?;
    Ok(Box::new(frames))
}

struct Frames<R: Read> {
    decoder:
        Option<ruzstd::decoding::StreamingDecoder<BufReader<R>, ruzstd::decoding::FrameDecoder>>,
    source: Option<BufReader<R>>,
}

impl<R: Read> Frames<R> {
    /// Begins the next frame; false at the end.
    fn begin(&mut self) -> std::io::Result<bool> {
        use std::io::BufRead as _;
        let Some(mut source) = self.source.take() else {
            return Ok(false);
        };
        if source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let decoder = ruzstd::decoding::StreamingDecoder::new(source);
        self.decoder = Some(decoder.map_err(|e| std::io::Error::other(e.to_string()))?);
        Ok(true)
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                let n = decoder.read(buffer)?;
                if n > 0 || buffer.is_empty() {
                    return Ok(n);
                }
                self.source = self.decoder.take().map(|d| d.into_inner());
            }
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}
