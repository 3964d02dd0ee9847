//! Tokens and issuers' keys: everything that is refused, each beside what passes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;
mod issue;
mod keys;
mod tokens;
mod vector;
