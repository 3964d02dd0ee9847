//! A witness of other people's logs: c2sp.org/tlog-witness (docs/witness.md).
//!
//! A witness cosigns a checkpoint of a log where it extends the last one that it cosigned of
//! that log. It so promises that nobody who believes its cosignatures is shown another history,
//! and never says what is in the log. The program is `countersign-witness`.
//!
//! # The way of a checkpoint
//!
//! 1. [`http`]: sizes, rates and time limits.
//! 2. [`check::admit`]: parses, finds the log's keys, verifies the log's signatures, in parallel.
//! 3. [`cosigner`]: one thread takes what is waiting, and by [`check::extends`] compares each with
//!    what stands, what the same batch has accepted before it included. It signs what passes.
//! 4. [`state`]: one atomic step, durable before anybody is answered. After a failure the
//!    process ends: nobody knows what is on disk.
//!
//! What a log's own key signed and yet does not extend what stands is kept ([`evidence`]).

pub mod check;
pub mod config;
pub mod cosigner;
pub mod dir;
pub mod evidence;
pub mod http;
pub mod logs;
pub mod mark;
pub mod metrics;
pub mod server;
pub mod state;

pub use config::{Clock, Config};
pub use dir::{WitnessDir, init, vkey};
pub use server::{Handle, start};

use tlog::Hash;
use tlog::hash::sha256;

/// What names a log in addresses and in the state: SHA-256 of its origin.
#[must_use]
pub fn origin_hash(origin: &str) -> Hash {
    sha256(origin.as_bytes())
}
