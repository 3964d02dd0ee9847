//! The operator's commands that look after a log: `check`, `export`, `import`, `backup`, on
//! real directories, with real processes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod check;
mod flips;
mod log;
mod portable;
