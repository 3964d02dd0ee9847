//! What must not be published: key material in an artifact, wherever it is packed, and what could not
//! be looked into. The key that began the events of 2021 lay in a layer of a public image that a later
//! layer deleted.
//!
//! A finding names the file, the way into it, the layer and the rule, and never shows what was found.

pub mod detector;
pub mod rules;

use crate::contents::{Limits, Place, Problem, Sink, Visitor, walk};
use crate::fail::{Fail, visible};
use detector::Detector;
use ledger::statement::GuardException;
use ledger::{Hash, hex32, json, sha256};
use serde_json::{Value, json};
use std::path::Path;

/// Findings in one artifact that are listed; more are counted.
const MOST: usize = 200;

/// Something that must not be published as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Names it: over the artifact's digest, the place, the rule and the offset, so that nobody
    /// learns anything of what was found from it.
    pub id: String,
    /// The artifact's name.
    pub artifact: String,
    /// Where in it.
    pub place: Place,
    /// A rule of [`rules`], or a kind of [`Problem`].
    pub rule: String,
    /// What the rule says of it.
    pub what: String,
    /// Byte at which it begins, in the innermost file; 0 for what could not be looked into.
    pub offset: u64,
}

impl Finding {
    fn new(artifact: (&str, &Hash), place: &Place, rule: &str, what: String, offset: u64) -> Self {
        let named = json!({ "artifact": hex32(artifact.1), "offset": offset, "place": place.inner, "rule": rule });
        let bytes = json::canonical_of(&named).unwrap_or_default();
        let id = hex32(&sha256(&bytes))
            .get(..16)
            .unwrap_or_default()
            .to_owned();
        Self {
            id,
            artifact: artifact.0.to_owned(),
            place: place.clone(),
            rule: rule.to_owned(),
            what,
            offset,
        }
    }

    /// The way into the artifact, as one text; empty where it is in the artifact itself.
    fn way(&self) -> String {
        self.place.inner.join(" › ")
    }

    /// For a person, one line.
    #[must_use]
    pub fn line(&self) -> String {
        let layer = self.place.layer();
        let layer = layer.map_or(String::new(), |l| format!(", layer {}", visible(&l)));
        format!(
            "{}{layer}, byte {}: {} [{}]",
            self.place,
            self.offset,
            visible(&self.what),
            self.rule
        )
    }

    /// For a script.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "finding": self.id, "artifact": self.artifact, "inner": self.place.inner,
            "layer": self.place.layer(), "rule": self.rule, "what": self.what, "offset": self.offset })
    }
}

/// Looks through the artifact at `path`, which has this name and digest. `progress` is told of bytes
/// that were read of it.
pub fn look(path: &Path, name: &str, digest: &Hash, progress: &dyn Fn(u64)) -> Vec<Finding> {
    let mut guard = Guard {
        artifact: (name, digest),
        findings: Vec::new(),
        progress,
    };
    walk(path, &Limits::default(), &mut guard);
    guard.findings
}

struct Guard<'a> {
    artifact: (&'a str, &'a Hash),
    findings: Vec<Finding>,
    progress: &'a dyn Fn(u64),
}

struct Looking<'a> {
    detector: Option<Detector>,
    progress: Option<&'a dyn Fn(u64)>,
}

impl Sink for Looking<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(detector) = &mut self.detector {
            detector.bytes(bytes);
        }
        if let Some(progress) = self.progress {
            progress(bytes.len() as u64);
        }
    }
}

impl<'a> Visitor for Guard<'a> {
    type Sink = Looking<'a>;

    fn open(&mut self, place: &Place, container: bool) -> Looking<'a> {
        let outermost = place.inner.is_empty();
        Looking {
            // What a container holds is shown file by file.
            detector: (!container).then(Detector::new),
            progress: outermost.then_some(self.progress),
        }
    }

    fn close(&mut self, place: &Place, sink: Looking<'a>) {
        for found in sink.detector.map(Detector::finish).unwrap_or_default() {
            if self.findings.len() < MOST {
                let (rule, what) = (found.rule.id, found.rule.what.to_owned());
                let finding = Finding::new(self.artifact, place, rule, what, found.offset);
                self.findings.push(finding);
            }
        }
    }

    fn problem(&mut self, place: &Place, problem: Problem) {
        if self.findings.len() < MOST {
            let what = format!("not looked into: {problem}");
            let finding = Finding::new(self.artifact, place, problem.kind(), what, 0);
            self.findings.push(finding);
        }
    }
}

/// `ID=REASON`: a finding that is published all the same, and why, for everybody to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    id: String,
    reason: String,
}

/// Parses `ID=REASON`.
///
/// # Errors
/// A sentence.
pub fn parse_allowed(text: &str) -> Result<Allowed, String> {
    let (id, reason) = text
        .split_once('=')
        .ok_or("want ID=REASON, with a finding's id as publish shows it")?;
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if id.len() != 16 || !id.bytes().all(hex) {
        return Err("a finding's id is 16 lower-case hexadecimal digits".into());
    }
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > 512 || reason.chars().any(char::is_control) {
        return Err("the reason is logged: 1 to 512 bytes without control characters".into());
    }
    Ok(Allowed {
        id: id.to_owned(),
        reason: reason.to_owned(),
    })
}

/// Holds findings against what is allowed; what goes into the statement.
///
/// # Errors
/// Exit code 2: a finding that is not allowed, or an id that is of none.
pub fn decide(findings: &[Finding], allowed: &[Allowed]) -> Result<Vec<GuardException>, Fail> {
    let mut exceptions = Vec::new();
    for a in allowed {
        let Some(finding) = findings.iter().find(|f| f.id == a.id) else {
            return Err(Fail::usage(
                "unknown-finding",
                format!("no finding in these files has the id {}", a.id),
            )
            .hint("an exception holds for one finding in one artifact as it is; leave it out, and look what publish finds"));
        };
        exceptions.push(GuardException {
            artifact: finding.artifact.clone(),
            finding: finding.id.clone(),
            place: finding.way(),
            reason: a.reason.clone(),
            rule: finding.rule.clone(),
        });
    }
    let left: Vec<&Finding> = findings
        .iter()
        .filter(|f| !allowed.iter().any(|a| a.id == f.id))
        .collect();
    if left.is_empty() {
        return Ok(exceptions);
    }
    let keys = left.iter().filter(|f| rules::is_rule(&f.rule)).count();
    let (kind, message) = match keys {
        0 => (
            "not-looked-into",
            format!(
                "{} places in these files could not be looked into",
                left.len()
            ),
        ),
        n => (
            "key-material",
            format!(
                "{n} pieces of key material in what was to be published; nothing was signed or sent"
            ),
        ),
    };
    let mut fail = Fail::usage(kind, message);
    for finding in &left {
        fail = fail.detail(format!("finding {}", finding.id), finding.line());
    }
    let hint = match keys {
        0 => {
            "take it out or pack it in a form that can be looked into; what is meant to be so is published with --allow-finding ID=REASON, which is logged"
        }
        _ => {
            "take it out, and replace every key that was in it: a layer that a later one deletes is published too; what is no secret is published with --allow-finding ID=REASON, which is logged for everybody to read"
        }
    };
    Err(fail.hint(hint))
}

#[cfg(test)]
mod tests;
