//! The subcommands, one file each.

pub mod common;
pub mod get;
mod history;
pub mod keys;
pub mod log;
pub mod project;
pub mod publish;
pub mod refresh;
pub mod run;
pub mod sign;
pub mod trust;
pub mod verify;
