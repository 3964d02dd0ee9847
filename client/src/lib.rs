//! The client: a library with the pure `verify` function, and the `countersign` command.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod memory;
pub mod policy;
pub mod refused;
pub mod verify;
