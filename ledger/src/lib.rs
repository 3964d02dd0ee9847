//! What an entry means: envelopes, statements, leaves, and the fold of leaves into
//! "who may publish, what stands". Pure: no I/O, no clock, no randomness.
//!
//! The formats are specified in `docs/formats.md`; each module names its section.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod bundle;
pub mod envelope;
pub mod evidence;
pub mod fold;
pub mod json;
pub mod leaf;
pub mod names;
pub mod released;
pub mod state;
pub mod statement;
pub mod trust;
pub mod walk;

mod encoding;

pub use encoding::{b64, from_b64, from_hex32, hex32};
pub use keys::KeyId;
pub use tlog::Hash;

/// The one version of every document of ours (docs/formats.md, "Encoding").
pub const API_VERSION: &str = "countersign/v1";

/// The largest leaf in bytes: c2sp.org/tlog-tiles puts a 16-bit length before each entry.
pub const MAX_LEAF_BYTES: usize = 65_535;

/// The SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}
