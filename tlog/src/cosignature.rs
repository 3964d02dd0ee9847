//! Timestamped Ed25519 cosignatures of checkpoints: c2sp.org/tlog-cosignature, `cosignature/v1`.
//!
//! # Format
//!
//! A cosignature is a signature line of a signed note ([`crate::note`]) whose key has algorithm
//! byte 0x04 ([`crate::vkey`]). Behind the four bytes of the key id stand 72 bytes: the time as
//! a big-endian u64, in Unix seconds, at most 2^63 − 1, then an Ed25519 signature of 64 bytes.
//! What is signed is
//!
//! ```text
//! cosignature/v1
//! time <the time in decimal, no leading zero>
//! <the whole note text, its final newline included; no signature lines>
//! ```
//!
//! It says: at that time, this was the largest consistent tree of this log that the witness had
//! seen. The signed bytes do not hold the witness's name, so one key must not serve two
//! witnesses. Whether a time is plausible is for the reader to judge: this module has no clock.

use crate::vkey::SignatureError;

/// Largest time that a cosignature may state, in Unix seconds.
pub const MAX_TIMESTAMP: u64 = i64::MAX as u64;

/// Length of a cosignature behind its key id, in bytes.
pub const COSIGNATURE_BYTES: usize = 72;

/// The bytes that a witness signs for `note_text` at `timestamp` (Unix seconds).
#[must_use]
pub fn message(timestamp: u64, note_text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {timestamp}\n{note_text}").into_bytes()
}

/// The bytes that stand behind the key id in a cosignature's line.
#[must_use]
pub fn encode(timestamp: u64, signature: &[u8; 64]) -> Vec<u8> {
    let mut bytes = timestamp.to_be_bytes().to_vec();
    bytes.extend_from_slice(signature);
    bytes
}

/// Splits what [`encode`] joins: the time in Unix seconds, and the Ed25519 signature.
///
/// # Errors
/// [`SignatureError::Length`] and [`SignatureError::Timestamp`].
pub fn decode(bytes: &[u8]) -> Result<(u64, [u8; 64]), SignatureError> {
    let length = || SignatureError::Length {
        expected: COSIGNATURE_BYTES,
        got: bytes.len(),
    };
    let (time, signature) = bytes.split_first_chunk::<8>().ok_or_else(length)?;
    let signature = signature.try_into().map_err(|_| length())?;
    let timestamp = u64::from_be_bytes(*time);
    if timestamp > MAX_TIMESTAMP {
        return Err(SignatureError::Timestamp { got: timestamp });
    }
    Ok((timestamp, signature))
}
