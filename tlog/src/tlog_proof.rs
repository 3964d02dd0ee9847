//! Proof files for other verifiers: c2sp.org/tlog-proof, version 1.
//!
//! # Format
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>
//! index <n>
//! <base64 of a hash>
//! <base64 of a hash>
//!
//! <the checkpoint with its signatures, byte for byte>
//! ```
//!
//! - The `extra` line is optional: opaque data of the application's that nothing authenticates.
//!   Without data there is no such line.
//! - *n* is the entry's index, from 0, in decimal without sign or leading zero.
//! - The hashes are the RFC 6962 inclusion proof of that entry in the checkpoint's tree, 32
//!   bytes each, the leaf's sibling first; at most [`MAX_PROOF_HASHES`] lines, perhaps none.
//! - Behind one empty line stands a checkpoint ([`crate::checkpoint`]) as a signed note
//!   ([`crate::note`]), up to the end of the file. Lines end in a newline, base64 is padded.
//!
//! Reading a proof file verifies nothing: the checkpoint's signatures and cosignatures
//! ([`Note::verify`], [`crate::policy`]) and the inclusion ([`crate::proof`]) are separate steps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Hash;
use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal, parse_hash};
use crate::note::{Note, NoteError};

/// First line of a proof file.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Largest proof file accepted, in bytes.
pub const MAX_PROOF_FILE_BYTES: usize = 2_000_000;

/// Most hashes in a proof: a tree of 2^63 leaves needs no more.
pub const MAX_PROOF_HASHES: usize = 63;

/// Why a proof file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlogProofError {
    /// Larger than [`MAX_PROOF_FILE_BYTES`].
    #[error("proof file: expected at most {MAX_PROOF_FILE_BYTES} bytes, got {got}")]
    TooLarge {
        /// Size in bytes.
        got: usize,
    },
    /// The lines before the checkpoint are not UTF-8.
    #[error("proof file: expected UTF-8, got other bytes from offset {offset}")]
    NotUtf8 {
        /// Offset in bytes of the first bad sequence.
        offset: usize,
    },
    /// The file ends before the empty line.
    #[error("proof file: expected an empty line and a checkpoint, got the end of the file")]
    Truncated,
    /// Another first line.
    #[error("proof file: expected {HEADER:?} as the first line, got {got:?}")]
    Header {
        /// The line, cut for display.
        got: String,
    },
    /// The `extra` line does not hold base64 of at least one byte.
    #[error("proof file: expected `extra` with base64 of at least one byte")]
    Extra,
    /// No `index` line, or one without a decimal number in its one form.
    #[error("proof file: expected `index <n>`, decimal without sign or leading zero, got {got:?}")]
    Index {
        /// The line, cut for display.
        got: String,
    },
    /// A line of the proof is not base64 of 32 bytes.
    #[error("proof file: hash {number}: expected 32 bytes in base64, got {got:?}")]
    Hash {
        /// Number of the hash, from 1.
        number: usize,
        /// The line, cut for display.
        got: String,
    },
    /// More than [`MAX_PROOF_HASHES`] hashes.
    #[error("proof file: expected at most {MAX_PROOF_HASHES} hashes, got {got}")]
    TooManyHashes {
        /// Number of lines.
        got: usize,
    },
    /// What follows the empty line is not a signed note.
    #[error("proof file: expected a signed checkpoint behind the empty line")]
    Note(#[source] NoteError),
    /// The note's text is not a checkpoint.
    #[error("proof file: expected the note to be a checkpoint")]
    Checkpoint(#[source] CheckpointError),
}

impl TlogProofError {
    /// A stable name of this sort of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "tlog-proof-too-large",
            Self::NotUtf8 { .. } => "tlog-proof-not-utf8",
            Self::Truncated => "tlog-proof-truncated",
            Self::Header { .. } => "tlog-proof-header",
            Self::Extra => "tlog-proof-extra",
            Self::Index { .. } => "tlog-proof-index",
            Self::Hash { .. } => "tlog-proof-hash",
            Self::TooManyHashes { .. } => "tlog-proof-too-many-hashes",
            Self::Note(_) => "tlog-proof-note",
            Self::Checkpoint(_) => "tlog-proof-checkpoint",
        }
    }
}

/// A proof that an entry is in a log, with the signed checkpoint that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Opaque data of the application, unauthenticated; never empty in a file.
    pub extra: Option<Vec<u8>>,
    /// Index of the entry.
    pub index: u64,
    /// Inclusion proof, the leaf's sibling first.
    pub proof: Vec<Hash>,
    /// The checkpoint, with log signatures and cosignatures.
    pub checkpoint: Note,
}

impl TlogProof {
    /// Reads a proof file. Nothing is verified.
    ///
    /// # Errors
    /// [`TlogProofError`] for whatever the module's format does not allow.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        if bytes.len() > MAX_PROOF_FILE_BYTES {
            return Err(TlogProofError::TooLarge { got: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| TlogProofError::NotUtf8 {
            offset: error.valid_up_to(),
        })?;
        let (head, note) = text.split_once("\n\n").ok_or(TlogProofError::Truncated)?;
        let mut lines = head.split('\n').peekable();

        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            return Err(TlogProofError::Header { got: cut(header) });
        }
        let extra = match lines.next_if(|line| line.starts_with("extra")) {
            None => None,
            Some(line) => Some(parse_extra(line).ok_or(TlogProofError::Extra)?),
        };
        let line = lines.next().unwrap_or_default();
        let index = line
            .strip_prefix("index ")
            .and_then(parse_decimal)
            .ok_or_else(|| TlogProofError::Index { got: cut(line) })?;
        let hashes: Vec<&str> = lines.collect();
        if hashes.len() > MAX_PROOF_HASHES {
            return Err(TlogProofError::TooManyHashes { got: hashes.len() });
        }
        let proof = hashes
            .iter()
            .enumerate()
            .map(|(at, line)| {
                parse_hash(line).ok_or_else(|| TlogProofError::Hash {
                    number: at + 1,
                    got: cut(line),
                })
            })
            .collect::<Result<_, _>>()?;
        let checkpoint = Note::parse(note.as_bytes()).map_err(TlogProofError::Note)?;
        Checkpoint::parse(&checkpoint.text).map_err(TlogProofError::Checkpoint)?;
        Ok(Self {
            extra,
            index,
            proof,
            checkpoint,
        })
    }

    /// The proof file. Extra data of no bytes is written as none, as the format asks.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = self.extra.as_ref().filter(|extra| !extra.is_empty()) {
            text.push_str(&format!("extra {}\n", STANDARD.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.proof {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.checkpoint.to_bytes());
        bytes
    }
}

fn parse_extra(line: &str) -> Option<Vec<u8>> {
    let extra = STANDARD.decode(line.strip_prefix("extra ")?).ok()?;
    (!extra.is_empty()).then_some(extra)
}

fn cut(line: &str) -> String {
    line.chars().take(80).collect()
}
