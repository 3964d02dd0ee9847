//! A reader that shows what passes to a sink, and counts it against what one file may unpack to.

use super::Sink;
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// What one file may still unpack to.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) most: u64,
    used: Cell<u64>,
    entries: Cell<u64>,
}

impl Budget {
    pub(super) fn new(most: u64) -> Self {
        Self {
            most,
            used: Cell::new(0),
            entries: Cell::new(0),
        }
    }

    fn take(&self, n: usize) {
        self.used.set(self.used.get().saturating_add(n as u64));
    }

    pub(super) fn spent(&self) -> bool {
        self.used.get() > self.most
    }

    /// One more file; how many there were.
    pub(super) fn entry(&self) -> u64 {
        self.entries.set(self.entries.get() + 1);
        self.entries.get()
    }
}

/// The bytes of one file.
pub(super) struct Tee<'a, S> {
    head: io::Cursor<Vec<u8>>,
    raw: &'a mut dyn Read,
    sink: &'a mut S,
    /// `None` for the outermost: what lies there was not unpacked by us.
    budget: Option<&'a Budget>,
    /// What the source said when it failed.
    pub(super) failed: Option<String>,
    /// Bytes that may be read until this is set anew: what describes a file in an archive is held in
    /// memory by whoever reads it.
    pub(super) allowance: Rc<Cell<u64>>,
    /// Whether the end was met: a file may be read elsewhere from then on.
    ended: bool,
    /// Whether a byte other than zero came since this was cleared.
    pub(super) nonzero: bool,
}

impl<'a, S: Sink> Tee<'a, S> {
    /// Of what begins with `head`, which was read already, and goes on in `raw`.
    pub(super) fn new(
        head: Vec<u8>,
        raw: &'a mut dyn Read,
        sink: &'a mut S,
        budget: Option<&'a Budget>,
    ) -> Self {
        Self {
            head: io::Cursor::new(head),
            raw,
            sink,
            budget,
            failed: None,
            allowance: Rc::new(Cell::new(u64::MAX)),
            ended: false,
            nonzero: false,
        }
    }

    /// Reads the rest; whether there was any that is not zero.
    pub(super) fn drain(&mut self, buffer: &mut [u8]) -> bool {
        self.nonzero = false;
        loop {
            match self.read(buffer) {
                Ok(0) => return self.nonzero,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.nonzero,
            }
        }
    }
}

impl<S: Sink> Read for Tee<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.budget.is_some_and(Budget::spent) {
            return Err(io::Error::other("it unpacks to too much"));
        }
        let allowed = self.allowance.get();
        if allowed == 0 && !buffer.is_empty() {
            return Err(io::Error::other(
                "what describes a file is longer than a mebibyte",
            ));
        }
        let wish = usize::try_from(allowed)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let buffer = buffer.get_mut(..wish).unwrap_or_default();
        let mut n = self.head.read(buffer)?;
        if n == 0 && !self.ended && !buffer.is_empty() {
            n = match self.raw.read(buffer) {
                Ok(n) => n,
                Err(e) => {
                    if e.kind() != io::ErrorKind::Interrupted {
                        self.failed.get_or_insert_with(|| e.to_string());
                    }
                    return Err(e);
                }
            };
            self.ended = n == 0;
        }
        let bytes = buffer.get(..n).unwrap_or_default();
        if !self.nonzero {
            self.nonzero = bytes.iter().any(|b| *b != 0);
        }
        self.allowance.set(allowed.saturating_sub(n as u64));
        if let Some(budget) = self.budget {
            budget.take(n);
        }
        self.sink.bytes(bytes);
        Ok(n)
    }
}
