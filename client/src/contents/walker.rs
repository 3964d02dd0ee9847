//! The walk itself.

use super::format::{Format, HEAD};
use super::tee::{Budget, Tee};
use super::{Limits, Place, Problem, Visitor};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes that are read at once.
pub(super) const BUFFER: usize = 128 * 1024;

/// Shows `visitor` the file at `path` and all that it holds. The file is opened only if it is one,
/// and through no link.
pub fn walk<V: Visitor>(path: &Path, limits: &Limits, visitor: &mut V) {
    let place = Place::of(path);
    let opened = crate::place::open_regular(path).and_then(|f| Ok((f.metadata()?.len(), f)));
    let (size, mut file) = match opened {
        Ok(opened) => opened,
        Err(e) => return visitor.problem(&place, Problem::Unreadable(e.to_string())),
    };
    let most = size.saturating_mul(limits.ratio).max(limits.floor);
    let budget = Budget::new(most);
    let seekable = file.try_clone().ok();
    let mut walker = Walker {
        visitor,
        limits,
        budget: &budget,
        buffer: vec![0_u8; BUFFER],
    };
    walker.outermost(&place, &mut file, seekable);
}

/// The file's limits are spent: nothing more of it is looked into.
pub(super) struct Spent;

pub(super) struct Walker<'a, V> {
    pub(super) visitor: &'a mut V,
    pub(super) limits: &'a Limits,
    pub(super) budget: &'a Budget,
    /// What is read only to be shown passes through it.
    pub(super) buffer: Vec<u8>,
}

impl<V: Visitor> Walker<'_, V> {
    fn outermost(&mut self, place: &Place, file: &mut File, seekable: Option<File>) {
        // What is spent was told where it was.
        let _ = self.file(place, file, 0, seekable);
    }

    /// One file, at `depth` archives within archives.
    pub(super) fn file(
        &mut self,
        place: &Place,
        raw: &mut dyn Read,
        depth: usize,
        seekable: Option<File>,
    ) -> Result<(), Spent> {
        if self.budget.entry() > self.limits.entries {
            let problem = Problem::Entries(self.limits.entries);
            self.visitor.problem(place, problem);
            return Err(Spent);
        }
        let (head, failed) = head(raw);
        let format = Format::of(&head);
        let container = !matches!(format, Format::Plain | Format::Other(_));
        let mut sink = self.visitor.open(place, container);
        let budget = (depth > 0).then_some(self.budget);
        let mut tee = Tee::new(head, raw, &mut sink, budget);
        tee.failed = failed;
        let inner = match format {
            Format::Plain => Ok(()),
            Format::Other(name) => {
                self.visitor.problem(place, Problem::Unsupported(name));
                Ok(())
            }
            _ if depth >= self.limits.depth => {
                let problem = Problem::Deep(self.limits.depth);
                self.visitor.problem(place, problem);
                Ok(())
            }
            Format::Tar => self.tar(place, &mut tee, depth),
            Format::Zip => self.zip(place, &mut tee, depth, seekable),
            Format::Gzip | Format::Zstd => self.compressed(format, place, &mut tee, depth),
        };
        tee.drain(&mut self.buffer);
        let failed = tee.failed.take();
        if self.budget.spent() {
            // The innermost that meets it tells it.
            if inner.is_ok() {
                let problem = Problem::Large(self.budget.most);
                self.visitor.problem(place, problem);
            }
            self.visitor.close(place, sink);
            return Err(Spent);
        }
        if let Some(why) = failed {
            let problem = match depth {
                0 => Problem::Unreadable(why),
                _ => Problem::Broken(why),
            };
            self.visitor.problem(place, problem);
        }
        self.visitor.close(place, sink);
        inner
    }
}

/// The first bytes, and what the source said where it failed in them.
fn head(raw: &mut dyn Read) -> (Vec<u8>, Option<String>) {
    let mut head = vec![0_u8; HEAD];
    let mut n = 0;
    let mut failed = None;
    while n < HEAD {
        match raw.read(head.get_mut(n..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                failed = Some(e.to_string());
                break;
            }
        }
    }
    head.truncate(n);
    (head, failed)
}
