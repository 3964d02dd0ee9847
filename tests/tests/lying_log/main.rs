//! A log, or somebody between it and a client, that answers what it should not: something old,
//! something unproven, something signed that contradicts what it signed. Nothing that is trusted
//! may come of it, and nothing that is good may be lost by it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod answers;
mod bench;
mod effects;
mod forks;
mod liar;
mod stub;
mod views;
