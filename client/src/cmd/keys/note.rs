//! `keys note`: who made a key or another secret, where it is kept, and where it is used.

use super::external::EXTERNAL;
use super::show::Opened;
use crate::cmd::common::{now, parse_time};
use crate::cmd::say::{SayArgs, keys, said_line, say};
use crate::fail::Fail;
use clap::Args;
use ledger::hex32;
use ledger::statement::{Generated, KeyNote};
use std::path::PathBuf;

/// Arguments of `keys note`.
#[derive(Debug, Args)]
pub struct NoteArgs {
    /// A key's id or its first 8 digits; or external:NAME for a secret that signs nothing here
    #[arg(value_name = "ID")]
    id: String,
    /// The project, as the policy names it
    #[arg(long, value_name = "NAME")]
    project: String,
    /// Who generated it
    #[arg(long, value_name = "TEXT")]
    generated_by: Option<String>,
    /// When: a time such as 2026-01-31T08:30:00Z, or `now`
    #[arg(long, value_name = "TIME")]
    generated_at: Option<String>,
    /// Where: the machine or the device
    #[arg(long, value_name = "TEXT")]
    generated_where: Option<String>,
    /// How it is kept
    #[arg(long, value_name = "TEXT")]
    custody: Option<String>,
    /// Who answers for it
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Where it is in use; may be given several times
    #[arg(long, value_name = "TEXT")]
    used_at: Vec<String>,
    /// The file that names other secrets [default: the policy's name with .names added]
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    #[command(flatten)]
    say: SayArgs,
}

fn moment(text: &str) -> Result<u64, Fail> {
    if text == "now" {
        return Ok(now());
    }
    let bad = || {
        Fail::usage("bad-time", format!("{text:?} is no time"))
            .hint("a time is written 2026-01-31T08:30:00Z, in UTC; or `now`")
    };
    parse_time(text).ok_or_else(bad)
}

pub(super) fn run(args: &NoteArgs) -> Result<(), Fail> {
    let mut opened = Opened::open(&args.project, &args.say.log, args.names.as_deref())?;
    let key = match args.id.strip_prefix(EXTERNAL) {
        Some(name) => opened.names.id_of(name)?,
        None => opened.key(&args.id)?.id().0,
    };
    let generated = Generated {
        by: args.generated_by.clone(),
        time: args.generated_at.as_deref().map(moment).transpose()?,
        place: args.generated_where.clone(),
    };
    let note = KeyNote {
        project: opened.project.id,
        key,
        custody: args.custody.clone(),
        generated: (generated != Generated::default()).then_some(generated),
        owner: args.owner.clone(),
        uses: args.used_at.clone(),
    };
    if note.custody.is_none()
        && note.generated.is_none()
        && note.owner.is_none()
        && note.uses.is_empty()
    {
        return Err(Fail::usage("empty-note", "the note says nothing")
            .hint("say at least one of --generated-by, --custody, --owner, --used-at"));
    }
    let payload = note
        .to_payload()
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let signers = keys(&args.say)?;
    let project = opened.project.clone();
    let said = say(&args.say, &mut opened.desk, &project, payload, &signers)?;
    said_line(&args.say, &said, &format!("noted: {}", hex32(&key)));
    Ok(())
}
