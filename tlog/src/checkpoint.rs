//! Checkpoints, the signed tree heads of transparency logs: c2sp.org/tlog-checkpoint.
//!
//! # Format
//!
//! A checkpoint is a signed note ([`crate::note`]) whose text is
//!
//! ```text
//! <origin>
//! <size>
//! <root>
//! <extension lines>
//! ```
//!
//! - *origin*: names the log; not empty. It should be the name in the log's verifier keys, and
//!   a verifier has to compare the two.
//! - *size*: the number of leaves, in decimal, without sign or leading zero (`0` itself is one
//!   digit), below 2^64.
//! - *root*: padded standard base64 of the 32 bytes of the RFC 6962 root at that size.
//! - *extension lines*: any number of lines, none of them empty. This project writes none; a
//!   reader accepts those of others and gives them no meaning.
//!
//! Every line ends in a newline, and no control character stands in any of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Hash;

/// Why a note's text is not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The text does not end in a newline.
    #[error("checkpoint: expected a newline at the end of every line")]
    Unterminated,
    /// Fewer than three lines.
    #[error("checkpoint: expected at least 3 lines (origin, size, root), got {got}")]
    Lines {
        /// Number of lines.
        got: usize,
    },
    /// An empty line.
    #[error("checkpoint: expected no empty line, got one as line {line}")]
    EmptyLine {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A control character other than newline.
    #[error("checkpoint: expected no control character, got 0x{byte:02x} at offset {offset}")]
    ControlCharacter {
        /// The character.
        byte: u8,
        /// Its offset in bytes.
        offset: usize,
    },
    /// The size is not a decimal number in its one form.
    #[error(
        "checkpoint: expected a decimal size below 2^64 without sign or leading zero, got {got:?}"
    )]
    Size {
        /// The text where the size should be.
        got: String,
    },
    /// The root is not base64 of 32 bytes.
    #[error("checkpoint: expected a root of 32 bytes in base64, got {got:?}")]
    Root {
        /// The text where the root should be.
        got: String,
    },
}

impl CheckpointError {
    /// A stable name of this sort of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unterminated => "checkpoint-unterminated",
            Self::Lines { .. } => "checkpoint-lines",
            Self::EmptyLine { .. } => "checkpoint-empty-line",
            Self::ControlCharacter { .. } => "checkpoint-control-character",
            Self::Size { .. } => "checkpoint-size",
            Self::Root { .. } => "checkpoint-root",
        }
    }
}

/// What a checkpoint says of a log's tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree of these leaves.
    pub root: Hash,
    /// Lines behind the root, opaque; none in our own checkpoints.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// Reads the text of a note as a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`] for whatever the module's format does not allow.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let control = |(_, byte): &(usize, u8)| *byte < 0x20 && *byte != b'\n';
        if let Some((offset, byte)) = text.bytes().enumerate().find(control) {
            return Err(CheckpointError::ControlCharacter { byte, offset });
        }
        let body = text
            .strip_suffix('\n')
            .ok_or(CheckpointError::Unterminated)?;
        let lines: Vec<&str> = body.split('\n').collect();
        if let Some(at) = lines.iter().position(|line| line.is_empty()) {
            return Err(CheckpointError::EmptyLine { line: at + 1 });
        }
        let [origin, size, root, extensions @ ..] = lines.as_slice() else {
            return Err(CheckpointError::Lines { got: lines.len() });
        };
        Ok(Self {
            origin: (*origin).to_owned(),
            size: parse_decimal(size).ok_or_else(|| CheckpointError::Size {
                got: (*size).to_owned(),
            })?,
            root: parse_hash(root).ok_or_else(|| CheckpointError::Root {
                got: (*root).to_owned(),
            })?,
            extensions: extensions.iter().map(|&line| line.to_owned()).collect(),
        })
    }

    /// The text to sign, with its final newline. [`Checkpoint::parse`] reads it back, provided
    /// that the origin and the extensions are lines as the format allows them.
    #[must_use]
    pub fn to_text(&self) -> String {
        let root = STANDARD.encode(self.root);
        let mut text = format!("{}\n{}\n{root}\n", self.origin, self.size);
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// Reads a decimal number in its one form: digits only, no leading zero, below 2^64.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    // `u64::from_str` would take a plus sign.
    if !canonical || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Reads base64 of exactly 32 bytes.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
