//! Lines of a file of receipts, in constant memory whatever is in it.

use crate::receipt::{MAX_RECEIPT_BYTES, ReceiptError};
use std::io::{self, BufRead, Read as _};

/// Reads lines one after the other.
pub(crate) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
}

/// A line, from 1, and what it holds.
pub(crate) type Line<'a> = (u64, Result<&'a [u8], ReceiptError>);

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
            number: 0,
        }
    }

    /// The next line that is not empty; `None` at the end.
    ///
    /// # Errors
    /// What reading said.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            let most = MAX_RECEIPT_BYTES as u64 + 1;
            let n = self
                .reader
                .by_ref()
                .take(most)
                .read_until(b'\n', &mut self.line)?;
            if n == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.last() != Some(&b'\n') {
                if n as u64 == most {
                    self.skip()?;
                    return Ok(Some((self.number, Err(ReceiptError::Large))));
                }
                // Whoever writes receipts ends them; what has no end is not whole.
                return Ok(Some((self.number, Err(ReceiptError::HalfWritten))));
            }
            self.line.pop();
            if !self.line.is_empty() {
                return Ok(Some((self.number, Ok(&self.line))));
            }
        }
    }

    /// To the end of the line.
    fn skip(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.reader.fill_buf()?;
            let end = bytes.iter().position(|b| *b == b'\n');
            let n = end.map_or(bytes.len(), |at| at + 1);
            self.reader.consume(n);
            if end.is_some() || n == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn all(text: &[u8]) -> Vec<(u64, Result<String, &'static str>)> {
        let mut lines = Lines::new(std::io::BufReader::with_capacity(7, text));
        let mut out = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            let line = line.map(|l| String::from_utf8_lossy(l).into_owned());
            out.push((number, line.map_err(|e| e.kind())));
        }
        out
    }

    #[test]
    fn lines_are_counted_and_what_is_not_whole_is_said() {
        let half = Err("receipt-half-written");
        let ok = |s: &str| Ok(s.to_owned());
        assert_eq!(all(b""), []);
        assert_eq!(all(b"a\n\nb\n"), [(1, ok("a")), (3, ok("b"))]);
        assert_eq!(all(b"a\nb"), [(1, ok("a")), (2, half)]);
        let mut long = vec![b'x'; MAX_RECEIPT_BYTES];
        long.extend_from_slice(b"\nnext\n");
        assert_eq!(all(&long).len(), 2);
        assert!(all(&long).iter().all(|(_, l)| l.is_ok()));
        let mut long = vec![b'x'; 3 * MAX_RECEIPT_BYTES];
        long.extend_from_slice(b"\nnext\n");
        assert_eq!(all(&long), [(1, Err("receipt-large")), (2, ok("next"))]);
    }
}
