//! A policy in plain sentences.

use super::Policy;
use crate::fail::visible;
use ledger::hex32;
use std::fmt::Write as _;
use tlog::policy::Part;

/// Whom a policy trusts, and under which conditions, a line a fact.
#[must_use]
pub fn plain(policy: &Policy) -> String {
    let mut out = String::new();
    let log = &policy.log;
    let _ = writeln!(
        out,
        "Trusts the log {} when all of its {} keys have signed:",
        visible(&log.origin),
        log.vkeys.len()
    );
    for key in &log.vkeys {
        let _ = writeln!(out, "  {}", visible(&key.to_string()));
    }
    out.push_str(&quorum(&policy.witnesses));
    ages(&mut out, "A release", policy.min_age, policy.max_age);
    kept_and_handed(&mut out, policy);
    if policy.projects.is_empty() {
        let _ = writeln!(out, "Trusts no project.");
    }
    for p in &policy.projects {
        let _ = writeln!(
            out,
            "Trusts the project {} pinned to its first statement {}",
            p.name,
            hex32(&p.id)
        );
        let whose = format!(
            "  for it alone, in place of the above: a release of {}",
            p.name
        );
        ages(&mut out, &whose, p.min_age, p.max_age);
        if !p.artifacts.is_empty() {
            let patterns: Vec<String> = p.artifacts.iter().map(|a| visible(a)).collect();
            let _ = writeln!(
                out,
                "  it is chosen for artifacts named {}",
                patterns.join(", ")
            );
        }
        if let Some(index) = p.min_index {
            let _ = writeln!(
                out,
                "  `get` and `run` take no release below log index {index} unless its version is named"
            );
        }
        if let Some(version) = &p.min_version {
            let _ = writeln!(
                out,
                "  `get` and `run` take no release older than {} unless its version is named",
                visible(version)
            );
        }
    }
    out
}

fn kept_and_handed(out: &mut String, policy: &Policy) {
    if let Some(file) = &policy.receipts.file {
        let file = visible(&file.display().to_string());
        let _ = writeln!(out, "What is trusted has a receipt in {file}.");
    }
    let _ = match &policy.run.environment {
        None => writeln!(
            out,
            "`run` hands over every environment variable, secrets included: run.environment can say which."
        ),
        Some(names) if names.is_empty() => {
            writeln!(out, "`run` hands over no environment variable.")
        }
        Some(names) => writeln!(
            out,
            "`run` hands over the environment variables {} and no others.",
            visible(&names.join(", "))
        ),
    };
}

/// The witness quorum.
#[must_use]
pub fn quorum(witnesses: &tlog::policy::Policy) -> String {
    if witnesses.quorum_none() {
        return "No witness is asked for: this log alone could show you another history than others see.\n".into();
    }
    let mut out = String::from("And when it is cosigned by\n");
    for (depth, part) in witnesses.parts() {
        let indent = "  ".repeat(depth + 1);
        let _ = match part {
            Part::Witness(w) => writeln!(
                out,
                "{indent}the witness {} ({})",
                visible(&w.name),
                visible(&w.key.to_string())
            ),
            Part::Group {
                name,
                threshold,
                members,
            } => writeln!(
                out,
                "{indent}{} ({}):",
                match (threshold, members) {
                    (k, n) if k == n => format!("all {n} of these"),
                    (1, n) => format!("any one of these {n}"),
                    (k, n) => format!("any {k} of these {n}"),
                },
                visible(name)
            ),
        };
    }
    out
}

fn ages(out: &mut String, what: &str, min: Option<u64>, max: Option<u64>) {
    if let Some(min) = min {
        let _ = writeln!(out, "{what} must have been public for {}.", span(min));
    }
    if let Some(max) = max {
        let _ = writeln!(
            out,
            "{what} is judged by a view that witnesses saw at most {} ago.",
            span(max)
        );
    }
}

/// Seconds as people say them.
fn span(seconds: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}
