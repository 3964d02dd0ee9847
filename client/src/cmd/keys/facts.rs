//! What is known of a key or another secret, for people and for scripts.

use super::external::Names;
use super::inventory::{At, KeyRow, Noted, OtherRow, Source};
use crate::cmd::common::time;
use ledger::hex32;
use serde_json::{Map, Value, json};

/// A point in the log for people.
fn at(at: At) -> String {
    format!("{} (entry {})", time(at.time), at.index)
}

pub(super) fn days(seconds: u64) -> String {
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
