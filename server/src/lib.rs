//! The log: HTTP → admit → sequence → store → publish.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod store;
