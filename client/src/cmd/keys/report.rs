//! `keys report`: the inventory as a file that an auditor can keep.

use super::audit::{Finding, findings};
use super::facts::{facts, other_facts, shown, shown_other};
use super::inventory::KeyRow;
use super::show::{Opened, ProjectArgs};
use crate::cmd::common::{now, time, write_atomic};
use crate::fail::{Fail, visible};
use clap::{Args, ValueEnum};
use ledger::hex32;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Markdown
    Md,
    /// Comma-separated values, a line a key
    Csv,
    /// JSON
    Json,
}

/// Arguments of `keys report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// The form
    #[arg(long, value_enum, default_value = "md")]
    format: Format,
    /// Where it goes [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A release key in force that signed nothing for so many days counts as unused
    #[arg(long, default_value_t = 180, value_name = "DAYS")]
    unused_days: u64,
}

pub(super) fn run(args: &ReportArgs) -> Result<(), Fail> {
    let opened = Opened::new(&args.project)?;
    let found = findings(&opened, args.unused_days);
    let text = match args.format {
        Format::Md => markdown(&opened, &found),
        Format::Csv => csv(&opened, &found),
        Format::Json => format!("{}\n", document(&opened, &found)),
    };
    match &args.out {
        Some(path) => write_atomic(path, text.as_bytes()),
        None => {
            say!("{text}");
            Ok(())
        }
    }
}

fn document(opened: &Opened, found: &[Finding]) -> Value {
    let project = &opened.project;
    let keys = opened.inventory.keys.iter();
    let keys: Vec<Value> = keys.map(|row| shown(row, &project.name)).collect();
    let others = opened.inventory.others.iter();
    let others: Vec<Value> = others.map(|row| shown_other(row, &opened.names)).collect();
    let vouchers = opened.vouchers.iter();
    let vouchers: Vec<Value> = vouchers.map(|v| v.shown(&project.name)).collect();
    let findings: Vec<Value> = found
        .iter()
        .map(|f| json!({ "kind": f.kind, "key": f.key, "what": f.what }))
        .collect();
    json!({ "project": project.name, "projectId": hex32(&project.id), "made": now(), "asOf": opened.as_of(),
        "keys": keys, "authorities": vouchers, "others": others, "findings": findings })
}

/// Text in a cell of a Markdown table: nothing in it is markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in visible(text).chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn markdown(opened: &Opened, found: &[Finding]) -> String {
    let mut out = String::new();
    let (project, seen) = (&opened.project, &opened.complete.checkpoint);
    let _ = writeln!(out, "# Keys of {}\n", cell(&project.name));
    let _ = writeln!(
        out,
        "Project {}, log {}. Made {}. Complete as of tree size {}, root {}: every statement of the project below that size was read and proven.\n",
        hex32(&project.id),
        cell(&opened.desk.policy.log.origin),
        time(now()),
        seen.size,
        seen.root
    );
    let _ = writeln!(out, "## Findings\n");
    if found.is_empty() {
        let _ = writeln!(out, "None.\n");
    }
    for f in found {
        let _ = writeln!(out, "- **{}** {:.16}: {}", f.kind, f.key, cell(&f.what));
    }
    for row in &opened.inventory.keys {
        let _ = writeln!(
            out,
            "\n## {} key {:.16}\n\n| | |\n|---|---|",
            row.purpose.word(),
            row.id().to_string()
        );
        for (name, value) in facts(row, &project.name) {
            let _ = writeln!(out, "| {name} | {} |", cell(&value));
        }
    }
    for row in &opened.vouchers {
        let (purpose, called) = (row.purpose(), cell(&row.called));
        let _ = writeln!(out, "\n## {purpose} {called}\n\n| | |\n|---|---|");
        for (name, value) in row.facts(&project.name) {
            let _ = writeln!(out, "| {name} | {} |", cell(&value));
        }
    }
    for row in &opened.inventory.others {
        let _ = writeln!(
            out,
            "\n## Other secret {:.16}\n\n| | |\n|---|---|",
            hex32(&row.id)
        );
        for (name, value) in other_facts(row, &opened.names) {
            let _ = writeln!(out, "| {name} | {} |", cell(&value));
        }
    }
    let _ = writeln!(out, "\n## Checkpoint\n\n```\n{}```", seen.checkpoint);
    out
}

/// A field of RFC 4180; one that a spreadsheet would take for a formula begins with an apostrophe.
fn field(text: &str) -> String {
    let text = visible(text);
    let formula = text.starts_with(['=', '+', '-', '@']);
    let text = format!("{}{text}", if formula { "'" } else { "" });
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn csv(opened: &Opened, found: &[Finding]) -> String {
    let mut out = String::from(
        "id,purpose,state,generated_by,generated_at,generated_where,custody,owner,used_at,first_listed,first_listed_entry,statements,last_use,age_days,max_age_days,successor,revoked_entry,compromised_since,findings\r\n",
    );
    for row in &opened.inventory.keys {
        let id = row.id().to_string();
        let of: Vec<&str> = found
            .iter()
            .filter(|f| f.key == id)
            .map(|f| f.kind)
            .collect();
        let line: Vec<String> = fields(row, &of).iter().map(|f| field(f)).collect();
        out.push_str(&line.join(","));
        out.push_str("\r\n");
    }
    for row in &opened.vouchers {
        let id = row.target.to_string();
        let of: Vec<&str> = found
            .iter()
            .filter(|f| f.key == id)
            .map(|f| f.kind)
            .collect();
        let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        let mut line = vec![String::new(); 19];
        let revoked = row.revoked.as_ref();
        let set = [
            (0, id),
            (1, row.purpose().to_owned()),
            (2, row.state().to_owned()),
            (8, row.called.clone()),
            (9, row.listed.map(|a| time(a.time)).unwrap_or_default()),
            (10, number(row.listed.map(|a| a.index))),
            (11, row.uses.values().sum::<u64>().to_string()),
            (12, row.last_use.map(|a| time(a.time)).unwrap_or_default()),
            (16, number(revoked.map(|r| r.index))),
            (17, number(revoked.and_then(|r| r.since))),
            (18, of.join("; ")),
        ];
        for (place, text) in set {
            if let Some(cell) = line.get_mut(place) {
                *cell = text;
            }
        }
        let line: Vec<String> = line.iter().map(|f| field(f)).collect();
        out.push_str(&line.join(","));
        out.push_str("\r\n");
    }
    for row in &opened.inventory.others {
        let note = &row.note;
        let name = opened.names.name(&row.id).unwrap_or_else(|| hex32(&row.id));
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let mut line = vec![
            name,
            "other".to_owned(),
            "noted".to_owned(),
            text(&note.generated_by),
            note.generated_at.map(time).unwrap_or_default(),
            text(&note.generated_where),
            text(&note.custody),
            text(&note.owner),
            note.uses.join("; "),
        ];
        line.resize(19, String::new());
        let line: Vec<String> = line.iter().map(|f| field(f)).collect();
        out.push_str(&line.join(","));
        out.push_str("\r\n");
    }
    out
}

fn fields(row: &KeyRow, findings: &[&str]) -> Vec<String> {
    let note = &row.note;
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    vec![
        row.id().to_string(),
        row.purpose.word().to_owned(),
        row.state().to_owned(),
        text(&note.generated_by),
        note.generated_at.map(time).unwrap_or_default(),
        text(&note.generated_where),
        text(&note.custody),
        text(&note.owner),
        note.uses.join("; "),
        time(row.listed.time),
        row.listed.index.to_string(),
        row.times().to_string(),
        row.last_use.map(|a| time(a.time)).unwrap_or_default(),
        (row.age / 86_400).to_string(),
        number(row.max_age.map(|a| a / 86_400)),
        row.successor.map(|s| s.to_string()).unwrap_or_default(),
        number(row.revoked.as_ref().map(|r| r.index)),
        number(row.revoked.as_ref().and_then(|r| r.since)),
        findings.join("; "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_neither_markup_nor_formula() {
        assert_eq!(cell("a|b <x> `c`\n"), "a\\|b &lt;x&gt; \\`c\\`\u{fffd}");
        assert_eq!(field("=1+\"2\""), "\"'=1+\"\"2\"\"\"");
        assert_eq!(field("plain"), "\"plain\"");
    }
}
