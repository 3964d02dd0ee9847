//! `countersign keys …`: key files, and the inventory of a project's keys as the log proves it.

mod audit;
mod authorities;
mod change;
mod external;
mod facts;
mod file;
mod inventory;
mod note;
mod proofs;
mod report;
mod revoke;
mod show;
mod window;

use crate::fail::Fail;
use clap::Subcommand;

pub(crate) use change::next_version;
pub(crate) use inventory::{Inventory, KeyRow, Purpose};
pub(crate) use revoke::since;
pub(crate) use show::Opened;

/// The subcommands of `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a P-256 key, encrypted unless you say otherwise
    Generate(file::GenerateArgs),
    /// List a project's keys: purpose, state, age, uses
    List(show::ListArgs),
    /// Answer for one key: when, where and by whom it was generated, where it is used, how it is
    /// replaced and revoked; or show the public half of a key, wherever it is
    Show(show::ShowArgs),
    /// Fail (1) where a key is overdue, unused, of unknown origin, or revoked and still listed
    Audit(audit::AuditArgs),
    /// Write the inventory for an auditor: Markdown, CSV or JSON
    Report(report::ReportArgs),
    /// Put a new key in an old one's place: shows what changes, asks, logs a new project version
    Rotate(change::RotateArgs),
    /// Revoke a key, from a point in the past if it was compromised: shows what becomes void, asks
    Revoke(revoke::RevokeArgs),
    /// Note who made a key or another secret, where it is kept and used
    Note(note::NoteArgs),
}

/// Runs `keys …`.
///
/// # Errors
/// Exit codes 1 to 3.
pub fn run(command: &KeysCommand) -> Result<(), Fail> {
    match command {
        KeysCommand::Generate(args) => file::generate(args),
        KeysCommand::List(args) => show::list(args),
        KeysCommand::Show(args) => show::show(args),
        KeysCommand::Audit(args) => audit::run(args),
        KeysCommand::Report(args) => report::run(args),
        KeysCommand::Rotate(args) => change::rotate(args),
        KeysCommand::Revoke(args) => revoke::revoke(args),
        KeysCommand::Note(args) => note::run(args),
    }
}
