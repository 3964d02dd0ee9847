//! `keys list` and `keys show`: what the log proves about a project's keys.

use super::external::{EXTERNAL, Names};
use super::inventory::{At, Inventory, KeyRow, Noted, OtherRow, Source};
use super::proofs::{evidence, save};
use crate::cmd::common::{PassphraseArgs, now, time};
use crate::cmd::complete::Complete;
use crate::cmd::say::{Desk, LogArgs};
use crate::fail::{Fail, visible};
use crate::policy::ProjectPolicy;
use clap::Args;
use ledger::hex32;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Which project's inventory, and where it is asked.
#[derive(Debug, Args)]
pub struct ProjectArgs {
    /// The project, as the policy names it
    #[arg(long, value_name = "NAME")]
    pub project: String,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
    /// The file that names other secrets [default: the policy's name with .names added]
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
}

/// Arguments of `keys list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `keys show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// With --project a key's id or its first 8 digits, or external:NAME; else a key file
    #[arg(value_name = "ID")]
    key: PathBuf,
    /// The project, as the policy names it
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// The log.
    #[command(flatten)]
    log: LogArgs,
    /// The file that names other secrets [default: the policy's name with .names added]
    #[arg(long, value_name = "FILE", requires = "project")]
    names: Option<PathBuf>,
    /// Write the bundles that prove what is shown into DIR: `countersign verify --statement` reads them
    #[arg(long, value_name = "DIR", requires = "project")]
    proofs: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An inventory with all that it was made from.
pub(crate) struct Opened {
    pub(crate) desk: Desk,
    pub(crate) project: ProjectPolicy,
    pub(crate) complete: Complete,
    pub(super) inventory: Inventory,
    pub(super) names: Names,
}

impl Opened {
    pub(super) fn new(args: &ProjectArgs) -> Result<Self, Fail> {
        Self::open(&args.project, &args.log, args.names.as_deref())
    }

    pub(crate) fn open(project: &str, log: &LogArgs, names: Option<&Path>) -> Result<Self, Fail> {
        let mut desk = Desk::open(log)?;
        let project = desk.project(project)?;
        let complete = desk.complete(&project)?;
        let inventory = Inventory::new(&complete, &project.id, now());
        let names = Names::open(names, &log.policy)?;
        Ok(Self {
            desk,
            project,
            complete,
            inventory,
            names,
        })
    }

    /// The one key whose id begins with `text`.
    pub(crate) fn key(&self, text: &str) -> Result<&KeyRow, Fail> {
        let hex = text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let found = if hex {
            self.inventory.find(&text.to_ascii_lowercase())
        } else {
            Vec::new()
        };
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(Fail::usage(
                "unknown-key",
                format!("{} has no key {text:?}", self.project.name),
            )
            .hint("give the first 8 or more digits of a key's id, as `countersign keys list` shows it")),
            _ => Err(Fail::usage("ambiguous-key", format!("several keys begin with {text:?}"))
                .hint("give more digits of the id")),
        }
    }

    /// As of when all this is proven.
    pub(super) fn as_of(&self) -> Value {
        let seen = &self.complete.checkpoint;
        json!({ "log": self.desk.policy.log.origin, "treeSize": seen.size, "checkpoint": seen.checkpoint })
    }
}

/// A point in the log for people.
fn at(at: At) -> String {
    format!("{} (entry {})", time(at.time), at.index)
}

fn days(seconds: u64) -> String {
    format!("{} days", seconds / 86_400)
}

/// The commands that would replace and revoke this key.
pub(super) fn commands(row: &KeyRow, project: &str) -> Vec<(&'static str, String)> {
    let id = row.id().to_string();
    let roots = "--key ROOTKEY… --policy POLICY";
    let mut commands = Vec::new();
    if row.dropped.is_none() {
        commands.push((
            "rotate",
            format!("countersign keys rotate --project {project} --old {id} --new NEWKEY {roots}"),
        ));
    }
    if row.revoked.is_none() {
        commands.push((
            "revoke",
            format!("countersign keys revoke {id} --project {project} --reason TEXT {roots}"),
        ));
        commands.push((
            "revoke if compromised",
            format!("countersign keys revoke {id} --project {project} --reason TEXT --compromised-since TIME {roots}"),
        ));
    }
    commands
}

/// What notes say, a fact a line.
fn note_facts(note: &Noted) -> Vec<(&'static str, String)> {
    let said = |parts: Vec<String>, between: &str| match parts.is_empty() {
        true => "not noted".to_owned(),
        false => parts.join(between),
    };
    let generated = [
        note.generated_at.map(time),
        note.generated_by.as_ref().map(|by| format!("by {by}")),
        note.generated_where.as_ref().map(|p| format!("at {p}")),
    ];
    let one = |text: &Option<String>| said(text.iter().cloned().collect(), "");
    let mut facts = vec![
        (
            "generated",
            said(generated.into_iter().flatten().collect(), ", "),
        ),
        ("custody", one(&note.custody)),
        ("owner", one(&note.owner)),
        ("in use at", said(note.uses.clone(), "; ")),
    ];
    // Whoever signs for the project may note; whose word it is, a reader must see.
    for (name, counts) in [("noted by", true), ("noted, not counted", false)] {
        let of = note.sources.iter().filter(|s| s.counts == counts);
        let of: Vec<String> = of.map(source).collect();
        if !of.is_empty() {
            facts.push((name, of.join("; ")));
        }
    }
    facts
}

fn source(of: &Source) -> String {
    let keys: Vec<String> = of.keys.iter().map(|k| format!("{k:.16}")).collect();
    format!("{} (entry {})", keys.join(", "), of.at.index)
}

/// What is known of a key, a fact a line.
pub(super) fn facts(row: &KeyRow, project: &str) -> Vec<(&'static str, String)> {
    let uses: Vec<String> = row
        .uses
        .iter()
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    let mut facts = vec![
        ("id", row.id().to_string()),
        ("algorithm", "ECDSA-P256-SHA256".to_owned()),
        ("purpose", row.purpose.word().to_owned()),
        ("state", row.state().to_owned()),
    ];
    facts.extend(note_facts(&row.note));
    facts.extend([
        ("first listed", at(row.listed)),
        (
            "signed",
            format!("{} statements ({})", row.times(), uses.join(", ")),
        ),
        (
            "last use",
            row.last_use.map_or_else(|| "never".to_owned(), at),
        ),
        (
            "age",
            match row.max_age {
                Some(max) => format!("{} of {} allowed", days(row.age), days(max)),
                None => days(row.age),
            },
        ),
    ]);
    if let Some(dropped) = row.dropped {
        facts.push(("left out", at(dropped)));
    }
    if let Some(successor) = row.successor {
        facts.push(("successor", successor.to_string()));
    }
    if let Some(revoked) = &row.revoked {
        let since = match revoked.since {
            Some(since) => format!("; nothing from entry {since} on counts"),
            None => "; what it signed before counts".to_owned(),
        };
        facts.push(("revoked", format!("entry {}{since}", revoked.index)));
    }
    facts.extend(commands(row, project));
    facts
}

/// The same for a script.
pub(super) fn shown(row: &KeyRow, project: &str) -> Value {
    let at = |at: At| json!({ "index": at.index, "time": at.time });
    let mut value = json!({
        "id": row.id().to_string(), "algorithm": "ECDSA-P256-SHA256", "spki": ledger::b64(row.key.spki_der()),
        "purpose": row.purpose.word(), "state": row.state(), "firstListed": at(row.listed),
        "leftOut": row.dropped.map(at), "successor": row.successor.map(|s| s.to_string()),
        "revoked": row.revoked, "uses": row.uses, "statements": row.times(), "lastUse": row.last_use.map(at),
        "age": row.age, "maxKeyAge": row.max_age, "overdue": row.overdue(),
        "commands": commands(row, project).into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect::<Map<_, Value>>(),
    });
    if let Some(fields) = value.as_object_mut() {
        fields.insert("note".into(), noted(&row.note));
    }
    value
}

fn noted(note: &Noted) -> Value {
    let source = |s: &Source| {
        let keys: Vec<String> = s.keys.iter().map(ToString::to_string).collect();
        json!({ "index": s.at.index, "time": s.at.time, "keys": keys, "counts": s.counts })
    };
    let sources: Vec<Value> = note.sources.iter().map(source).collect();
    json!({
        "index": note.at.map(|a| a.index), "sources": sources, "custody": note.custody, "owner": note.owner, "usedAt": note.uses,
        "generated": { "by": note.generated_by, "time": note.generated_at, "where": note.generated_where },
    })
}

/// Another secret for a script.
pub(super) fn shown_other(row: &OtherRow, names: &Names) -> Value {
    json!({ "id": hex32(&row.id), "name": names.name(&row.id), "notes": row.note.sources.len(), "note": noted(&row.note) })
}

pub(super) fn list(args: &ListArgs) -> Result<(), Fail> {
    let opened = Opened::new(&args.project)?;
    let (project, inventory) = (&opened.project.name, &opened.inventory);
    if args.json {
        let keys: Vec<Value> = inventory.keys.iter().map(|r| shown(r, project)).collect();
        let others = inventory.others.iter();
        let others: Vec<Value> = others.map(|r| shown_other(r, &opened.names)).collect();
        sayln!(
            "{}",
            json!({ "project": project, "asOf": opened.as_of(), "keys": keys, "others": others })
        );
        return Ok(());
    }
    for row in &inventory.keys {
        let overdue = if row.overdue() { ", OVERDUE" } else { "" };
        let last = row.last_use.map_or_else(
            || "never used".to_owned(),
            |a| format!("{} uses, last {}", row.times(), time(a.time)),
        );
        let owner = row.note.owner.as_deref().unwrap_or("no owner noted");
        sayln!(
            "{:.16}  {:<7}  {:<8}  {}{overdue}; {last}; {}",
            row.id().to_string(),
            row.purpose.word(),
            row.state(),
            days(row.age),
            visible(owner)
        );
    }
    for row in &inventory.others {
        let name = opened.names.name(&row.id);
        let name = name.map_or_else(
            || "name not known here".to_owned(),
            |n| format!("{EXTERNAL}{n}"),
        );
        let owner = row.note.owner.as_deref().unwrap_or("no owner noted");
        sayln!(
            "{:.16}  other    noted     {}; {}",
            hex32(&row.id),
            visible(&name),
            visible(owner)
        );
    }
    sayln!(
        "{} keys of {project}: complete as of tree size {} of {}",
        inventory.keys.len(),
        opened.complete.checkpoint.size,
        opened.desk.policy.log.origin
    );
    Ok(())
}

pub(super) fn show(args: &ShowArgs) -> Result<(), Fail> {
    let Some(project) = &args.project else {
        return super::file::show(&args.key, &args.passphrase, args.json);
    };
    let opened = Opened::open(project, &args.log, args.names.as_deref())?;
    let text = args.key.to_string_lossy();
    let (hash, value, facts) = match text.strip_prefix(EXTERNAL) {
        Some(name) => {
            let unknown = || {
                Fail::usage("unknown-key", format!("nothing is noted about {text}"))
                    .hint("note it with `countersign keys note external:NAME`")
            };
            let id = opened.names.id(name).ok_or_else(unknown)?;
            let mut others = opened.inventory.others.iter();
            let row = others.find(|row| row.id == id).ok_or_else(unknown)?;
            let facts = other_facts(row, &opened.names);
            (id, shown_other(row, &opened.names), facts)
        }
        None => {
            let row = opened.key(&text)?;
            let hash = row.id().0;
            (hash, shown(row, project), facts(row, project))
        }
    };
    let indexes = evidence(&opened.complete, &hash);
    if let Some(dir) = &args.proofs {
        save(&opened, &indexes, dir)?;
    }
    if args.json {
        let mut value = value;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("asOf".into(), opened.as_of());
            fields.insert("evidence".into(), indexes.into_iter().collect());
        }
        sayln!("{value}");
        return Ok(());
    }
    for (name, value) in facts {
        sayln!("{name:>21}  {}", visible(&value));
    }
    let entries: Vec<String> = indexes.iter().map(u64::to_string).collect();
    sayln!("{:>21}  entries {}", "said by", entries.join(", "));
    sayln!(
        "{:>21}  tree size {} of {}",
        "complete as of",
        opened.complete.checkpoint.size,
        opened.desk.policy.log.origin
    );
    Ok(())
}

/// What is known of another secret, a fact a line.
pub(super) fn other_facts(row: &OtherRow, names: &Names) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("id", hex32(&row.id)),
        (
            "name",
            names
                .name(&row.id)
                .unwrap_or_else(|| "not known here".to_owned()),
        ),
    ];
    facts.extend(note_facts(&row.note));
    facts.extend([
        ("noted", row.note.at.map_or_else(|| "never".to_owned(), at)),
        (
            "revoke",
            "at whoever issued it; then note its successor here".to_owned(),
        ),
    ]);
    facts
}
