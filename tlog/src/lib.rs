//! Transparency-log formats and proofs, without I/O, clock or randomness.
//!
//! One module per public specification. The Merkle tree is RFC 6962's (RFC 9162 section 2),
//! served as C2SP tiles; checkpoints are C2SP signed notes; the prefix tree is this project's
//! own format (`docs/formats.md`, "Ledger map"). Every verifier here takes all that it needs as
//! arguments, so that it can be read, and attacked, on its own.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod checkpoint;
pub mod cosignature;
pub mod hash;
pub mod in_memory;
pub mod note;
pub mod policy;
pub mod prefix;
pub mod proof;
pub mod prover;
pub mod tile;
pub mod tlog_proof;
pub mod tree;
pub mod vkey;
pub mod witness;

/// A SHA-256 output: a leaf hash, a node hash, a root, or a prefix-tree key or value.
pub type Hash = [u8; 32];
