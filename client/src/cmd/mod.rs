//! The subcommands, one file each.

pub(crate) mod address;
mod by_name;
pub mod cached;
pub mod common;
pub(crate) mod complete;
pub mod evidence;
mod follow;
pub mod get;
pub(crate) mod history;
pub mod keys;
mod learn;
pub mod log;
pub mod monitor;
mod newer;
mod prepared;
pub mod project;
pub mod publish;
pub mod refresh;
pub mod releases;
pub mod run;
mod say;
pub mod sign;
mod statement;
pub mod trust;
pub mod update;
pub mod verify;
pub mod withdraw;
