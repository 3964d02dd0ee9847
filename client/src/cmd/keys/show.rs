//! `keys list` and `keys show`: what the log proves about a project's keys.

use super::authorities::{Voucher, is_voucher, one, vouchers};
use super::external::{EXTERNAL, Names};
use super::facts::{days, facts, other_facts, shown, shown_other};
use super::inventory::{Inventory, KeyRow};
use super::proofs::{evidence, save};
use crate::cmd::common::{PassphraseArgs, now, time};
use crate::cmd::complete::Complete;
use crate::cmd::say::{Desk, LogArgs};
use crate::cmd::signing::{KeyParser, open};
use crate::fail::{Fail, visible};
use crate::policy::ProjectPolicy;
use ::keys::KeySource;
use clap::Args;
use ledger::hex32;
use serde_json::{Value, json};
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
    /// With --project a key's id or its first 8 digits, identity: or authority: with those, or
    /// external:NAME; else a key, of which the id and the public half are shown: FILE, pkcs11:URI or
    /// ssh-agent:FINGERPRINT
    #[arg(value_name = "ID|KEY", value_parser = KeyParser)]
    key: KeySource,
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
    /// Authorities and identities.
    pub(super) vouchers: Vec<Voucher>,
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
        let vouchers = vouchers(&complete, &project.id);
        let names = Names::open(names, &log.policy)?;
        Ok(Self {
            desk,
            project,
            complete,
            inventory,
            vouchers,
            names,
        })
    }

    /// The one key whose id begins with `text`.
    pub(crate) fn key(&self, text: &str) -> Result<&KeyRow, Fail> {
        self.inventory.one(text, &self.project.name)
    }

    /// As of when all this is proven.
    pub(super) fn as_of(&self) -> Value {
        let seen = &self.complete.checkpoint;
        json!({ "log": self.desk.policy.log.origin, "treeSize": seen.size, "checkpoint": seen.checkpoint, "viewTime": self.complete.view_time() })
    }
}

pub(super) fn list(args: &ListArgs) -> Result<(), Fail> {
    let opened = Opened::new(&args.project)?;
    let (project, inventory) = (&opened.project.name, &opened.inventory);
    if args.json {
        let keys: Vec<Value> = inventory.keys.iter().map(|r| shown(r, project)).collect();
        let others = inventory.others.iter();
        let others: Vec<Value> = others.map(|r| shown_other(r, &opened.names)).collect();
        let vouchers = opened.vouchers.iter();
        let vouchers: Vec<Value> = vouchers.map(|v| v.shown(project)).collect();
        sayln!(
            "{}",
            json!({ "project": project, "asOf": opened.as_of(), "keys": keys, "authorities": vouchers, "others": others })
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
    for row in &opened.vouchers {
        let last = row.last_use.map_or_else(
            || "never used".to_owned(),
            |a| format!("last used {}", time(a.time)),
        );
        let unused = match row.unused_certificates {
            0 => String::new(),
            n => format!("; {n} CERTIFICATES UNUSED"),
        };
        let id: String = row.target.to_string().chars().take(26).collect();
        sayln!(
            "{id:<26}  {:<8}  {}; {last}{unused}",
            row.state(),
            visible(&row.called)
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

/// What is known of an authority or an identity.
fn show_voucher(args: &ShowArgs, opened: &Opened, text: &str) -> Result<(), Fail> {
    let (row, project) = (one(opened, text)?, &opened.project.name);
    if args.json {
        let mut value = row.shown(project);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("asOf".into(), opened.as_of());
        }
        sayln!("{value}");
        return Ok(());
    }
    for (name, value) in row.facts(project) {
        sayln!("{name:>21}  {}", visible(&value));
    }
    sayln!(
        "{:>21}  tree size {} of {}",
        "complete as of",
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
    // A key that is held, in a file or not, is named by its id too.
    let text = match &args.key {
        KeySource::File(path) => path.to_string_lossy().into_owned(),
        held => open(held, &args.passphrase)?.public_key().id().to_string(),
    };
    if is_voucher(&text) {
        return show_voucher(args, &opened, &text);
    }
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
