//! Signed notes: c2sp.org/signed-note v1.0.0. A text, and signatures of it by named keys.
//!
//! # Format
//!
//! ```text
//! <text: any lines, each ending in a newline>
//!
//! — <key name> <base64(key id ‖ signature)>
//! — <key name> <base64(key id ‖ signature)>
//! ```
//!
//! - The note is UTF-8 without control characters below U+0020 other than newline.
//! - The *last* empty line separates the text from the signatures. The text may have empty lines
//!   of its own; it includes its final newline, but not the separating empty line.
//! - There are 1 to [`MAX_SIGNATURES`] signature lines: em dash (U+2014), space, key name, space,
//!   base64, newline; nothing follows the last.
//! - A key name is not empty and has no Unicode space and no plus sign.
//! - The base64 is standard and padded, and holds the four bytes of the key id, big-endian, then
//!   at least one byte of signature. Bits of the last digit that belong to no byte are written as
//!   zero and ignored in reading, as other readers of notes do: such a line is a signature that
//!   may fail, not a malformed note. (Nowhere else in this crate is base64 read like that.)
//! - A note has at most [`MAX_NOTE_BYTES`] bytes.
//!
//! Key ids, algorithms and the text form of keys are [`crate::vkey`]'s; checkpoints, the notes
//! of transparency logs, are [`crate::checkpoint`]'s.
//!
//! # Verification
//!
//! (name, key id) names the key. Lines of unknown pairs are ignored, as are those of keys whose
//! algorithm is not supported. *Every* line of a known key is verified, and one that fails
//! rejects the whole note, so that the answer never depends on the order of the lines. If no
//! known key has signed, the note is rejected. A key that signed more than once is reported
//! once; of cosignatures, once for each different time.
//!
//! The text must not be used before that. Parsing alone proves nothing.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

pub use crate::vkey::p256_key_id;
use crate::vkey::{Algorithm, SignatureError, VerifierKey, named_key_id};

/// Largest note accepted, in bytes.
pub const MAX_NOTE_BYTES: usize = 1_000_000;

/// Most signature lines accepted in a note.
pub const MAX_SIGNATURES: usize = 100;

const LINE_START: &str = "— ";

/// For signature lines only; see the module's text.
const LINE_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Why a note was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Larger than [`MAX_NOTE_BYTES`].
    #[error("note: expected at most {MAX_NOTE_BYTES} bytes, got {got}")]
    TooLarge {
        /// Size in bytes.
        got: usize,
    },
    /// Not UTF-8.
    #[error("note: expected UTF-8, got other bytes from offset {offset}")]
    NotUtf8 {
        /// Offset in bytes of the first bad sequence.
        offset: usize,
    },
    /// A control character other than newline.
    #[error("note: expected no control character but newline, got 0x{byte:02x} at offset {offset}")]
    ControlCharacter {
        /// The character.
        byte: u8,
        /// Its offset in bytes.
        offset: usize,
    },
    /// A text that does not end in a newline.
    #[error("note: expected a text that ends in a newline")]
    Text,
    /// No empty line, or nothing behind it.
    #[error("note: expected a text, an empty line and signatures, got no signatures")]
    NoSignatures,
    /// Something other than a signature line behind the last empty line.
    #[error("note: signature line {line}: expected {expected}")]
    SignatureLine {
        /// Number of the line behind the last empty line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// More than [`MAX_SIGNATURES`] signature lines.
    #[error("note: expected at most {MAX_SIGNATURES} signatures, got {got}")]
    TooManySignatures {
        /// Number of lines.
        got: usize,
    },
    /// A known key's signature failed.
    #[error("note: signature by {name} (key id {}) failed", hex::encode(key_id))]
    BadSignature {
        /// The key's name.
        name: String,
        /// The key's id.
        key_id: [u8; 4],
        /// How it failed.
        source: SignatureError,
    },
    /// No known key has signed.
    #[error("note: expected a signature by one of [{}], got only [{}]", expected.join(", "), got.join(", "))]
    NoKnownSignature {
        /// The keys that would do, as `name+key id`.
        expected: Vec<String>,
        /// The keys that signed, as `name+key id`.
        got: Vec<String>,
    },
}

impl NoteError {
    /// A stable name of this sort of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "note-too-large",
            Self::NotUtf8 { .. } => "note-not-utf8",
            Self::ControlCharacter { .. } => "note-control-character",
            Self::Text => "note-text",
            Self::NoSignatures => "note-no-signatures",
            Self::SignatureLine { .. } => "note-signature-line",
            Self::TooManySignatures { .. } => "note-too-many-signatures",
            Self::BadSignature { .. } => "note-bad-signature",
            Self::NoKnownSignature { .. } => "note-no-known-signature",
        }
    }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the key.
    pub name: String,
    /// Id of the key.
    pub key_id: [u8; 4],
    /// The signature, without the key id; not empty.
    pub signature: Vec<u8>,
}

impl NoteSignature {
    /// A signature made by `key`'s secret half.
    #[must_use]
    pub fn by(key: &VerifierKey, signature: Vec<u8>) -> Self {
        Self {
            name: key.name().to_owned(),
            key_id: key.key_id(),
            signature,
        }
    }

    /// The signature line, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut bytes = self.key_id.to_vec();
        bytes.extend_from_slice(&self.signature);
        format!("{LINE_START}{} {}\n", self.name, STANDARD.encode(bytes))
    }

    /// Reads one signature line, its newline taken off.
    ///
    /// # Errors
    /// What was expected instead.
    fn parse(line: &str) -> Result<Self, &'static str> {
        let rest = line
            .strip_prefix(LINE_START)
            .ok_or("an em dash and a space")?;
        let (name, base64) = rest.split_once(' ').ok_or("a name, a space and base64")?;
        if !check_name(name) {
            return Err("a key name without space or plus sign");
        }
        let bytes = LINE_BASE64
            .decode(base64)
            .map_err(|_| "padded standard base64 up to the end of the line")?;
        match bytes.split_first_chunk::<4>() {
            Some((key_id, signature)) if !signature.is_empty() => Ok(Self {
                name: name.to_owned(),
                key_id: *key_id,
                signature: signature.to_vec(),
            }),
            _ => Err("four bytes of key id and a signature"),
        }
    }
}

/// A key that verified, and when it says it signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Verified {
    /// Index of the key in the slice that was given.
    pub key: usize,
    /// The time of a cosignature, in Unix seconds; `None` for plain signatures.
    pub timestamp: Option<u64>,
}

/// A signed note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text, with its final newline. Not to be believed before [`Note::verify`].
    pub text: String,
    /// The signatures, in the note's order; at least one in a note that was parsed.
    pub signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a note. Nothing is verified.
    ///
    /// # Errors
    /// [`NoteError`] for whatever the module's format does not allow.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge { got: bytes.len() });
        }
        let note = std::str::from_utf8(bytes).map_err(|error| NoteError::NotUtf8 {
            offset: error.valid_up_to(),
        })?;
        check_characters(note)?;
        let (text, lines) = note
            .rfind("\n\n")
            .and_then(|at| Some((note.get(..=at)?, note.get(at + 2..)?)))
            .ok_or(NoteError::NoSignatures)?;
        Ok(Self {
            text: text.to_owned(),
            signatures: parse_signatures(lines)?,
        })
    }

    /// Checks that this note can be written: that [`Note::to_bytes`] gives what [`Note::parse`]
    /// reads back. A note that was parsed always passes.
    ///
    /// # Errors
    /// The [`NoteError`] that a reader would meet.
    pub fn check(&self) -> Result<(), NoteError> {
        if !self.text.ends_with('\n') {
            return Err(NoteError::Text);
        }
        let bytes = self.to_bytes();
        if Self::parse(&bytes)? != *self {
            // Only a name with a line break in it could get this far.
            return Err(NoteError::SignatureLine {
                line: 1,
                expected: "one line for each signature",
            });
        }
        Ok(())
    }

    /// The note as bytes. See [`Note::check`] for notes made of parts from elsewhere.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut note = self.text.clone();
        note.push('\n');
        for signature in &self.signatures {
            note.push_str(&signature.to_line());
        }
        note.into_bytes()
    }

    /// Verifies every signature by one of `keys`; returns the keys that signed, in the order of
    /// the lines (see the module's text for keys that signed more than once).
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] if a known key's signature fails,
    /// [`NoteError::NoKnownSignature`] if none of `keys` has signed.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Vec<Verified>, NoteError> {
        let mut verified = Vec::new();
        let mut seen = BTreeSet::new();
        let mut checked = BTreeSet::new();
        for line in &self.signatures {
            // The same line again says the same: who repeats one costs no second verification.
            if !checked.insert((&line.name, line.key_id, &line.signature)) {
                continue;
            }
            for (index, key) in keys.iter().enumerate() {
                if key.name() != line.name
                    || key.key_id() != line.key_id
                    || matches!(key.algorithm(), Algorithm::Other(_))
                {
                    continue;
                }
                let timestamp = key.verify(&self.text, &line.signature).map_err(|source| {
                    NoteError::BadSignature {
                        name: line.name.clone(),
                        key_id: line.key_id,
                        source,
                    }
                })?;
                let signed = Verified {
                    key: index,
                    timestamp,
                };
                if seen.insert(signed) {
                    verified.push(signed);
                }
            }
        }
        if verified.is_empty() {
            let show = |name: &str, id: [u8; 4]| format!("{name}+{}", hex::encode(id));
            return Err(NoteError::NoKnownSignature {
                expected: keys.iter().map(|k| show(k.name(), k.key_id())).collect(),
                got: self
                    .signatures
                    .iter()
                    .map(|s| show(&s.name, s.key_id))
                    .collect(),
            });
        }
        Ok(verified)
    }
}

/// Reads signature lines alone, as a witness answers with: one or more, each with its newline.
///
/// # Errors
/// [`NoteError`] as for a whole note.
pub fn parse_signatures(lines: &str) -> Result<Vec<NoteSignature>, NoteError> {
    if lines.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLarge { got: lines.len() });
    }
    if lines.is_empty() {
        return Err(NoteError::NoSignatures);
    }
    let got = lines.matches('\n').count();
    let Some(lines) = lines.strip_suffix('\n') else {
        return Err(NoteError::SignatureLine {
            line: got + 1,
            expected: "a newline at its end",
        });
    };
    if got > MAX_SIGNATURES {
        return Err(NoteError::TooManySignatures { got });
    }
    lines
        .split('\n')
        .enumerate()
        .map(|(at, line)| {
            NoteSignature::parse(line).map_err(|expected| NoteError::SignatureLine {
                line: at + 1,
                expected,
            })
        })
        .collect()
}

/// Key id of an 0x01 key: SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key)\[..4\].
#[must_use]
pub fn ed25519_key_id(name: &str, public_key: &[u8; 32]) -> [u8; 4] {
    named_key_id(name, Algorithm::Ed25519.byte(), public_key)
}

/// Key id of an 0x04 key: SHA-256(name ‖ 0x0A ‖ 0x04 ‖ key)\[..4\].
#[must_use]
pub fn cosignature_key_id(name: &str, public_key: &[u8; 32]) -> [u8; 4] {
    named_key_id(name, Algorithm::CosignatureV1.byte(), public_key)
}

/// Whether a key may have this name: not empty, no Unicode space, plus sign or control character.
#[must_use]
pub fn check_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c == '+' || c < ' ';
    !name.is_empty() && !name.contains(bad)
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    match text
        .bytes()
        .enumerate()
        .find(|(_, b)| *b < 0x20 && *b != b'\n')
    {
        Some((offset, byte)) => Err(NoteError::ControlCharacter { byte, offset }),
        None => Ok(()),
    }
}
