//! What a file holds: itself, and what is packed in it, to the innermost. Archives (tar, zip),
//! compressed files (gzip, zstd) and container images (an OCI layout or what
//! `docker save` writes: their layers are archives in an archive), nested as deep as the limits let.
//!
//! It streams: memory is constant whatever comes, and no name in an archive is ever followed, so
//! that `..`, absolute paths and links are just names. Every layer of an image is walked, whether
//! a later one deletes what it holds or not. What cannot be looked into is a [`Problem`]: it is told,
//! never passed over.
//!
//! Not seen: what is hidden within a file that is no archive, such as an archive that is appended
//! to a program.

mod format;
mod tee;
#[cfg(test)]
mod tests;
mod unpack;
mod walker;
mod zipped;

use crate::fail::visible;
use std::fmt;
use std::path::{Path, PathBuf};

pub use walker::walk;

/// Where something was found: a file, and the way into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file in the file system.
    pub file: PathBuf,
    /// Names within names, outermost first, as the archives have them: neither safe nor true.
    pub inner: Vec<String>,
}

impl Place {
    /// The file itself.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            inner: Vec::new(),
        }
    }

    /// What is called `name` in it.
    #[must_use]
    pub fn within(&self, name: impl Into<String>) -> Self {
        let mut inner = self.inner.clone();
        inner.push(name.into());
        Self {
            file: self.file.clone(),
            inner,
        }
    }

    /// The last name on the way: what the thing itself is called, without directories.
    #[must_use]
    pub fn name(&self) -> String {
        let last = match self.inner.last() {
            Some(name) => name.clone(),
            None => self.file.to_string_lossy().into_owned(),
        };
        last.rsplit(['/', '\\'])
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// The innermost image layer that it is in, as images name their layers.
    #[must_use]
    pub fn layer(&self) -> Option<String> {
        let (_, above) = self.inner.split_last()?;
        above.iter().rev().find_map(|name| {
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                return Some(format!("sha256:{digest}"));
            }
            name.strip_suffix("/layer.tar").map(str::to_owned)
        })
    }
}

impl fmt::Display for Place {
    /// For a person; no control character of a name reaches a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", visible(&self.file.display().to_string()))?;
        for name in &self.inner {
            write!(f, " › {}", visible(name))?;
        }
        Ok(())
    }
}

/// Why something was not looked into, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The system did not let us read it.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It is not what it says, or ends too early.
    #[error("it is broken: {0}")]
    Broken(String),
    /// A form of archive or compression that is not supported.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// Only with a password.
    #[error("it is encrypted")]
    Encrypted,
    /// Something comes after the archive's end.
    #[error("there are bytes after its end")]
    Trailing,
    /// More archives in archives than [`Limits::depth`].
    #[error("archives are nested deeper than {0}")]
    Deep(usize),
    /// More than [`Limits::entries`] in one file.
    #[error("it holds more than {0} files")]
    Entries(u64),
    /// It unpacks to more than [`Limits`] allow.
    #[error("it unpacks to more than {0} bytes")]
    Large(u64),
}

impl Problem {
    /// A stable word for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Broken(_) => "broken-archive",
            Self::Unsupported(_) => "unsupported-archive",
            Self::Encrypted => "encrypted-archive",
            Self::Trailing => "trailing-bytes",
            Self::Deep(_) => "nested-too-deep",
            Self::Entries(_) => "too-many-entries",
            Self::Large(_) => "unpacks-too-large",
        }
    }
}

/// How far a file is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Archives in archives.
    pub depth: usize,
    /// Files in one file, all in all.
    pub entries: u64,
    /// Bytes that one file unpacks to, all in all, at least…
    pub floor: u64,
    /// …and at most this many times its own size.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 12,
            entries: 2_000_000,
            // A gigabyte is unpacked in seconds; what is larger packs a thousandth of it or is no archive
            // that people make.
            floor: 1 << 30,
            ratio: 200,
        }
    }
}

/// Takes bytes as they come.
pub trait Sink {
    /// The next bytes.
    fn bytes(&mut self, bytes: &[u8]);
}

/// Whom a walk shows what it finds.
pub trait Visitor {
    /// What takes a file's bytes.
    type Sink: Sink;
    /// A file begins; `container` where what it holds is shown, too, before it is closed.
    fn open(&mut self, place: &Place, container: bool) -> Self::Sink;
    /// All its bytes were shown, unless a problem was told of it.
    fn close(&mut self, place: &Place, sink: Self::Sink);
    /// Something was not looked into, or not to its end.
    fn problem(&mut self, place: &Place, problem: Problem);
}
