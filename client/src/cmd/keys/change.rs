//! `keys rotate`: shows first what it changes.

use super::inventory::{Inventory, KeyRow, Purpose};
use super::show::Opened;
use crate::cmd::say::{SayArgs, confirm, key, keys, said_line, say};
use crate::cmd::signing::{KEY, KeyParser};
use crate::fail::Fail;
use ::keys::KeySource;
use clap::Args;
use ledger::statement::Project;
use std::fmt::Write as _;

/// Arguments of `keys rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The project, as the policy names it
    #[arg(long, value_name = "NAME")]
    project: String,
    /// The key that goes: its id, or its first 8 digits
    #[arg(long, value_name = "ID")]
    old: String,
    /// The key that comes in its place
    #[arg(long, value_name = KEY, value_parser = KeyParser)]
    new: KeySource,
    #[command(flatten)]
    say: SayArgs,
}

/// The project's newest version, with what comes after it set.
pub(crate) fn next_version(opened: &Opened) -> Result<Project, Fail> {
    let known = opened.complete.fold.project(&opened.project.id);
    let newest = known
        .map(|p| p.current().clone())
        .ok_or_else(|| Fail::unchecked("unknown-project", "the log does not have this project"))?;
    let mut next = newest.project;
    (next.version, next.previous) = (next.version + 1, Some(newest.statement));
    // What was recommended stays recommended; version 1 recommends nothing.
    Ok(next)
}

pub(super) fn rotate(args: &RotateArgs) -> Result<(), Fail> {
    let mut opened = Opened::open(&args.project, &args.say.log, None)?;
    let row = opened.key(&args.old)?.clone();
    if let Some(hint) = others_revoked(&opened.inventory, &row, &opened.project.name) {
        let why = "the new version would carry another key along that is revoked";
        return Err(Fail::usage("other-key-revoked", why).hint(hint));
    }
    let new = key(&args.say, &args.new)?;
    let mut next = next_version(&opened)?;
    let list = match row.purpose {
        Purpose::Root => &mut next.roots,
        Purpose::Release => &mut next.release_keys,
    };
    let place = list.iter_mut().find(|k| k.id() == row.id());
    let place = place.ok_or_else(|| {
        Fail::usage(
            "key-not-listed",
            format!("key {} is not listed any more", row.id()),
        )
        .hint("see `countersign keys list`")
    })?;
    *place = new.public_key().clone();
    let payload = next
        .to_payload()
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let mut impact = format!(
        "project {} version {}: {} key {} goes, {} comes in its place\n",
        next.name,
        next.version,
        row.purpose.word(),
        row.id(),
        new.public_key().id()
    );
    let releases = opened.complete.releases(&opened.project.id);
    let of = releases
        .iter()
        .filter(|r| r.keys.contains(&row.id()))
        .count();
    let _ = writeln!(
        impact,
        "its {of} releases stay as they are, and so do their bundles; it signs nothing new. If it may have been stolen, revoke it afterwards too"
    );
    confirm(&args.say, &impact, "log this version?")?;
    let mut signers = keys(&args.say)?;
    signers.push(new);
    let project = opened.project.clone();
    let said = say(&args.say, &mut opened.desk, &project, payload, &signers)?;
    said_line(
        &args.say,
        &said,
        &format!("rotated: {} {}", next.name, row.id()),
    );
    Ok(())
}

/// How the keys of `inventory` that are revoked and still listed are replaced, where there are
/// others than `row`: in one version, since none may list any of them.
pub(super) fn others_revoked(inventory: &Inventory, row: &KeyRow, project: &str) -> Option<String> {
    let listed = |r: &&KeyRow| r.dropped.is_none() && (r.revoked.is_some() || r.id() == row.id());
    let gone: Vec<&KeyRow> = inventory.keys.iter().filter(listed).collect();
    if gone.iter().all(|r| r.id() == row.id()) {
        return None;
    }
    let options: Vec<String> = gone
        .iter()
        .map(|r| match r.purpose {
            Purpose::Root => format!("--drop-root {} --add-root NEWKEY", r.id()),
            Purpose::Release => format!("--drop-release-key {} --add-release-key NEWKEY", r.id()),
        })
        .collect();
    Some(format!(
        "several keys are revoked and still listed; replace them in one version: `countersign project update {project} {} --key ROOTKEY…`",
        options.join(" ")
    ))
}
