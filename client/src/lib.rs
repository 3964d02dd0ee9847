//! The client: a library with the pure [`verify::verify`] function, and the `countersign`
//! command around it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cli;
pub mod cmd;
pub mod fail;
pub mod fetch;
pub mod memory;
pub mod place;
pub mod policy;
pub mod refused;
pub mod verify;
