//! What a check came to, for people and for programs.

use crate::error::Error;
use ledger::walk::{Counts, Finding, Stopped};
use ledger::{Hash, hex32};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Findings kept; of more only the number is said.
pub const KEPT: usize = 1000;
/// Findings shown to people.
const SHOWN: usize = 50;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is as it must be.
    Sound,
    /// Something is not.
    Unsound,
    /// No answer: something could not be read, or was asked wrongly.
    Unchecked,
}

impl Verdict {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Unsound => "unsound",
            Self::Unchecked => "unchecked",
        }
    }

    /// The exit code of `check`.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Sound => 0,
            Self::Unsound => 1,
            Self::Unchecked => 2,
        }
    }
}

/// What is wrong, and what is worth saying though it is not.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// The first [`KEPT`] findings.
    pub findings: Vec<Finding>,
    /// The number of all.
    pub found: u64,
    /// What is not wrong.
    pub notes: Vec<Finding>,
}

impl Heard {
    /// Something is wrong.
    pub fn finding(&mut self, finding: Finding) {
        self.found += 1;
        if self.findings.len() < KEPT {
            self.findings.push(finding);
        }
    }

    /// The same, from its parts.
    pub fn find(
        &mut self,
        kind: &'static str,
        path: impl Into<String>,
        what: impl std::fmt::Display,
    ) {
        self.finding(Finding::new(kind, path, what.to_string()));
    }

    /// Something to say that is not wrong.
    pub fn note(
        &mut self,
        kind: &'static str,
        path: impl Into<String>,
        what: impl std::fmt::Display,
    ) {
        if self.notes.len() < KEPT {
            self.notes.push(Finding::new(kind, path, what.to_string()));
        }
    }
}

/// Why there is no verdict: a stable word, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchecked {
    /// The word.
    pub kind: &'static str,
    /// The sentence.
    pub why: String,
}

impl From<Error> for Unchecked {
    fn from(e: Error) -> Self {
        let (kind, why) = (e.kind(), e.to_string());
        Self { kind, why }
    }
}

impl From<Stopped> for Unchecked {
    fn from(e: Stopped) -> Self {
        let (kind, why) = (e.kind(), e.to_string());
        Self { kind, why }
    }
}

/// What a check came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The log's origin, where it is known.
    pub origin: String,
    /// Leaves that the checkpoint covers.
    pub size: u64,
    /// The root that the leaves give, where all could be read.
    pub root: Option<Hash>,
    /// How much was read.
    pub counts: Counts,
    /// What is wrong, and what else there is to say.
    pub heard: Heard,
    /// Why the check did not come to its end.
    pub unchecked: Option<Unchecked>,
    /// Whether a server ran on the directory, so that its private databases were not read.
    pub live: bool,
    /// Entries below this were not verified again: an earlier check did.
    pub signed_below: u64,
    /// How long it took.
    pub took: Duration,
}

/// Of other people's words no control character reaches the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn listed(list: &[Finding]) -> Vec<Value> {
    list.iter()
        .map(|f| json!({ "kind": f.kind, "path": f.path, "what": f.what }))
        .collect()
}

impl Report {
    /// The answer. What was found stands, even where the check did not come to its end.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.heard.found > 0 {
            Verdict::Unsound
        } else if self.unchecked.is_some() {
            Verdict::Unchecked
        } else {
            Verdict::Sound
        }
    }

    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        let c = &self.counts;
        let unchecked = self.unchecked.as_ref();
        json!({
            "apiVersion": ledger::API_VERSION,
            "verdict": self.verdict().word(),
            "origin": self.origin,
            "size": self.size,
            "root": self.root.as_ref().map(hex32),
            "counts": {
                "bundles": c.bundles, "bytes": c.bytes, "certificates": c.certificates, "heads": c.heads, "leaves": c.leaves,
                "operations": c.operations, "projects": c.projects, "releases": c.releases,
                "tiles": c.tiles, "unknown": c.unknown,
            },
            "findings": listed(&self.heard.findings),
            "found": self.heard.found,
            "notes": listed(&self.heard.notes),
            "unchecked": unchecked.map(|u| json!({ "kind": u.kind, "why": u.why })),
            "live": self.live,
            "signedBelow": self.signed_below,
            "seconds": self.took.as_secs_f64(),
        })
    }

    /// As text for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut list = |word: &str, list: &[Finding], all: u64| {
            for f in list.iter().take(SHOWN) {
                let (path, what) = (plain(&f.path), plain(&f.what));
                let _ = writeln!(out, "{word}: {}: {path}: {what}", f.kind);
            }
            let shown = list.len().min(SHOWN) as u64;
            if all > shown {
                let _ = writeln!(out, "{word}: and {} more", all - shown);
            }
        };
        list("finding", &self.heard.findings, self.heard.found);
        list("note", &self.heard.notes, self.heard.notes.len() as u64);
        if let Some(Unchecked { kind, why }) = &self.unchecked {
            let _ = writeln!(out, "could not be checked: {kind}: {}", plain(why));
        }
        let (c, seconds) = (&self.counts, self.took.as_secs_f64());
        let _ = writeln!(
            out,
            "{} leaves of {} in {} bundles and {} tiles, {} MB, in {seconds:.1} s: {} projects, {} releases, {} operations, {} certificates, \
             {} ledger heads, {} of unknown kinds",
            c.leaves,
            self.size,
            c.bundles,
            c.tiles,
            c.bytes / 1_000_000,
            c.projects,
            c.releases,
            c.operations,
            c.certificates,
            c.heads,
            c.unknown,
        );
        if self.signed_below > 0 {
            let below = self.signed_below;
            let _ = writeln!(
                out,
                "signatures below entry {below}: verified by an earlier check"
            );
        }
        let name = plain(&self.origin);
        let _ = match (self.verdict(), &self.root) {
            (Verdict::Sound, Some(root)) => {
                writeln!(
                    out,
                    "sound: {name}, {} leaves, root {}",
                    self.size,
                    hex32(root)
                )
            }
            (Verdict::Sound, None) => writeln!(out, "sound: {name}"),
            (Verdict::Unsound, _) => {
                let found = self.heard.found;
                writeln!(
                    out,
                    "NOT SOUND: {name}: {found} findings; keep it as it is, copy it, and find out why"
                )
            }
            (Verdict::Unchecked, _) => writeln!(out, "no verdict: {name}"),
        };
        out
    }
}
