//! What a log asks a witness: c2sp.org/tlog-witness, the body of `add-checkpoint`.
//!
//! # Format
//!
//! ```text
//! old <size>
//! <base64 of a hash>
//! <base64 of a hash>
//!
//! <the checkpoint with its signatures, byte for byte>
//! ```
//!
//! - *size*: the size of the tree that the witness is believed to have cosigned last, in decimal
//!   without sign or leading zero; 0 where there is none.
//! - The hashes are the RFC 6962 consistency proof from that tree to the checkpoint's, 32 bytes
//!   each, at most [`MAX_PROOF_HASHES`] lines; none where *size* is 0 or the checkpoint's own.
//! - Behind one empty line stands a checkpoint ([`crate::checkpoint`]) as a signed note
//!   ([`crate::note`]), up to the end. Lines end in a newline, base64 is padded.
//!
//! A witness answers 200 with signature lines ([`crate::note::parse_signatures`]), cosignatures
//! ([`crate::cosignature`]) of the checkpoint; 409 with the size that it cosigned last, in
//! decimal and with a newline, of media type [`SIZE_MEDIA_TYPE`]; or another status.
//!
//! Reading verifies nothing: the signatures ([`Note::verify`]) and the consistency
//! ([`crate::proof`]) are separate steps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Hash;
use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal, parse_hash};
use crate::note::{Note, NoteError};

/// Most hashes in a proof.
pub const MAX_PROOF_HASHES: usize = 63;

/// What the size in a 409 is.
pub const SIZE_MEDIA_TYPE: &str = "text/x.tlog.size";

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddCheckpointError {
    /// The lines before the checkpoint are not UTF-8.
    #[error("add-checkpoint: expected UTF-8, got other bytes from offset {offset}")]
    NotUtf8 {
        /// Offset in bytes of the first bad sequence.
        offset: usize,
    },
    /// There is no empty line before the checkpoint.
    #[error("add-checkpoint: expected an empty line and a checkpoint, got the end")]
    Truncated,
    /// The first line is not `old <size>`.
    #[error(
        "add-checkpoint: expected `old <size>`, decimal without sign or leading zero, got {got:?}"
    )]
    OldSize {
        /// The line, cut for display.
        got: String,
    },
    /// A line of the proof is not base64 of 32 bytes.
    #[error("add-checkpoint: hash {number}: expected 32 bytes in base64, got {got:?}")]
    Hash {
        /// Number of the hash, from 1.
        number: usize,
        /// The line, cut for display.
        got: String,
    },
    /// More than [`MAX_PROOF_HASHES`] hashes.
    #[error("add-checkpoint: expected at most {MAX_PROOF_HASHES} hashes, got {got}")]
    TooManyHashes {
        /// Number of lines.
        got: usize,
    },
    /// What follows the empty line is not a signed note.
    #[error("add-checkpoint: expected a signed checkpoint behind the empty line")]
    Note(#[source] NoteError),
    /// The note's text is not a checkpoint.
    #[error("add-checkpoint: expected the note to be a checkpoint")]
    Checkpoint(#[source] CheckpointError),
}

impl AddCheckpointError {
    /// A stable name of this sort of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } => "add-checkpoint-not-utf8",
            Self::Truncated => "add-checkpoint-truncated",
            Self::OldSize { .. } => "add-checkpoint-old-size",
            Self::Hash { .. } => "add-checkpoint-hash",
            Self::TooManyHashes { .. } => "add-checkpoint-too-many-hashes",
            Self::Note(_) => "add-checkpoint-note",
            Self::Checkpoint(_) => "add-checkpoint-checkpoint",
        }
    }
}

/// A checkpoint with the proof that it extends what the witness cosigned last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the tree that the witness cosigned last, as the log believes; 0 for none.
    pub old_size: u64,
    /// Consistency proof from there.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub note: Note,
    /// What the note says; not to be believed before its signatures are verified.
    pub checkpoint: Checkpoint,
}

impl AddCheckpoint {
    /// Reads a body. Nothing is verified.
    ///
    /// # Errors
    /// [`AddCheckpointError`] for whatever the module's format does not allow.
    pub fn parse(body: &[u8]) -> Result<Self, AddCheckpointError> {
        let empty = body.windows(2).position(|pair| pair == b"\n\n");
        let end = empty.ok_or(AddCheckpointError::Truncated)?;
        let head = body.get(..end).unwrap_or_default();
        let note = body.get(end + 2..).unwrap_or_default();
        let head = std::str::from_utf8(head).map_err(|e| AddCheckpointError::NotUtf8 {
            offset: e.valid_up_to(),
        })?;
        let mut lines = head.split('\n');
        let old = lines.next().unwrap_or_default();
        let old_size = old.strip_prefix("old ").and_then(parse_decimal);
        let old_size = old_size.ok_or_else(|| AddCheckpointError::OldSize { got: cut(old) })?;
        let got = lines.clone().count();
        if got > MAX_PROOF_HASHES {
            return Err(AddCheckpointError::TooManyHashes { got });
        }
        let hash = |(at, line): (usize, &str)| {
            parse_hash(line).ok_or_else(|| AddCheckpointError::Hash {
                number: at + 1,
                got: cut(line),
            })
        };
        let proof = lines.enumerate().map(hash).collect::<Result<_, _>>()?;
        let note = Note::parse(note).map_err(AddCheckpointError::Note)?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(AddCheckpointError::Checkpoint)?;
        Ok(Self {
            old_size,
            proof,
            note,
            checkpoint,
        })
    }

    /// The body that asks for a cosignature of `note`. [`AddCheckpoint::parse`] reads it back,
    /// provided that the note is one that [`Note::check`] passes.
    #[must_use]
    pub fn body(old_size: u64, proof: &[Hash], note: &Note) -> Vec<u8> {
        let mut body = format!("old {old_size}\n");
        for hash in proof {
            body.push_str(&STANDARD.encode(hash));
            body.push('\n');
        }
        body.push('\n');
        let mut body = body.into_bytes();
        body.extend_from_slice(&note.to_bytes());
        body
    }

    /// This one as a body.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Self::body(self.old_size, &self.proof, &self.note)
    }
}

fn cut(line: &str) -> String {
    line.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOTE: &str = "log\n3\nRcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n\n— log AAAAAAA=\n";
    const HASH: &str = "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n";

    #[test]
    fn what_is_written_is_read() {
        for proof in ["".to_owned(), HASH.into(), HASH.repeat(MAX_PROOF_HASHES)] {
            let text = format!("old 2\n{proof}\n{NOTE}");
            let read = AddCheckpoint::parse(text.as_bytes()).unwrap();
            assert_eq!((read.old_size, read.checkpoint.size), (2, 3));
            assert_eq!(read.proof.len(), proof.lines().count());
            assert_eq!(read.to_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn each_malformed_body_has_its_name() {
        let text = NOTE.replace("\n3\n", "\nthree\n");
        for (body, kind) in [
            ("".to_owned(), "truncated"),
            ("old 0\n".into(), "truncated"),
            (format!("old 0\n{NOTE}"), "hash"),
            (format!("\n{NOTE}"), "old-size"),
            (format!("\n\n{NOTE}"), "old-size"),
            (format!("old\n\n{NOTE}"), "old-size"),
            (format!("old \n\n{NOTE}"), "old-size"),
            (format!("old -1\n\n{NOTE}"), "old-size"),
            (format!("old +1\n\n{NOTE}"), "old-size"),
            (format!("old 01\n\n{NOTE}"), "old-size"),
            (format!("old  1\n\n{NOTE}"), "old-size"),
            (format!("old 1 \n\n{NOTE}"), "old-size"),
            (format!("old 1\r\n\n{NOTE}"), "old-size"),
            (format!("OLD 1\n\n{NOTE}"), "old-size"),
            (format!("old 18446744073709551616\n\n{NOTE}"), "old-size"),
            (format!("old 1\nAA==\n\n{NOTE}"), "hash"),
            (format!("old 1\n{}\n{NOTE}", HASH.replace("=", "")), "hash"),
            (
                format!("old 1\n{}\n{NOTE}", HASH.replace("l0=", "l1=")),
                "hash",
            ),
            (
                format!("old 1\n{}\n{NOTE}", HASH.repeat(64)),
                "too-many-hashes",
            ),
            (format!("old 1\n\n\n{NOTE}"), "checkpoint"),
            ("old 1\n\n".into(), "note"),
            (format!("old 1\n\n{}", NOTE.trim_end()), "note"),
            (format!("old 1\n\n{NOTE}x"), "note"),
            (format!("old 1\n\n{text}"), "checkpoint"),
        ] {
            let found = AddCheckpoint::parse(body.as_bytes()).map_err(|e| e.kind());
            assert_eq!(found, Err(&*format!("add-checkpoint-{kind}")), "{body:?}");
        }
        let found = AddCheckpoint::parse(b"old \xff\n\n").map_err(|e| e.kind());
        assert_eq!(found, Err("add-checkpoint-not-utf8"));
    }
}
