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
use keys::Sha256Stream;
use ledger::statement::GuardException;
use ledger::{Hash, hex32, json, sha256};
use serde_json::{Value, json};
use std::path::Path;

/// Findings in one artifact that are listed. Where there are more none may stand: what is not listed
/// cannot be judged.
const MOST: usize = 200;
/// The rule of what is said then.
const TOO_MANY: &str = "too-many-findings";

/// Something that must not be published as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Names it: over the artifact's digest, the place, which of the files there it is, the rule and
    /// the offset, so that nobody learns anything of what was found from it.
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
    fn new(
        artifact: (&str, &Hash),
        (place, ordinal): (&Place, u64),
        rule: &str,
        what: String,
        offset: u64,
    ) -> Self {
        // An archive may have one name twice.
        let named = json!({ "artifact": hex32(artifact.1), "offset": offset, "ordinal": ordinal,
            "place": place.inner, "rule": rule });
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
///
/// # Errors
/// Exit code 2: what is there has another digest by now, or cannot be read.
pub fn look(
    path: &Path,
    name: &str,
    digest: &Hash,
    progress: &dyn Fn(u64),
) -> Result<Vec<Finding>, Fail> {
    let bad = |kind: &str, why: String| {
        Fail::usage(kind, format!("{}: {why}", path.display()))
            .hint("publish files that nothing writes to while they are published")
    };
    // A link that is named is meant; that it leads elsewhere by now is seen by the digest.
    let real = path
        .canonicalize()
        .map_err(|e| bad("unreadable", e.to_string()))?;
    let mut guard = Guard {
        artifact: (name, digest),
        findings: Vec::new(),
        progress,
        opened: 0,
        own: None,
        more: false,
    };
    walk(&real, &Limits::default(), &mut guard);
    if guard.own != Some(*digest) {
        let spent = guard.findings.iter().any(|f| f.rule == "unpacks-too-large");
        // Where it unpacks to too much it was not read to its end.
        if !(spent && guard.own.is_none()) {
            let why = "it cannot be read, or was changed since it was hashed".to_owned();
            return Err(bad("changed-meanwhile", why));
        }
    }
    if guard.more {
        let place = Place::of(Path::new(name));
        let what = format!("more than {MOST} findings, or more than are listed of one file");
        let finding = Finding::new((name, digest), (&place, 0), TOO_MANY, what, 0);
        guard.findings.push(finding);
    }
    Ok(guard.findings)
}

struct Guard<'a> {
    artifact: (&'a str, &'a Hash),
    findings: Vec<Finding>,
    progress: &'a dyn Fn(u64),
    /// Files, so far.
    opened: u64,
    /// The digest of what was looked through.
    own: Option<Hash>,
    more: bool,
}

impl Guard<'_> {
    fn add(&mut self, place: &Place, ordinal: u64, rule: &str, what: String, offset: u64) {
        if self.findings.len() >= MOST {
            self.more = true;
            return;
        }
        let place = &without_secrets(place);
        let finding = Finding::new(self.artifact, (place, ordinal), rule, what, offset);
        self.findings.push(finding);
    }
}

fn found_in(text: &str) -> Vec<detector::Found> {
    let mut detector = Detector::new();
    detector.bytes(text.as_bytes());
    detector.finish()
}

/// A name may itself be what must not be shown.
fn without_secrets(place: &Place) -> Place {
    let shown = |name: &String| match found_in(name).is_empty() {
        true => name.clone(),
        false => "(a name that is key material)".to_owned(),
    };
    Place {
        file: place.file.clone(),
        inner: place.inner.iter().map(shown).collect(),
    }
}

struct Looking<'a> {
    detector: Option<Detector>,
    /// Of the outermost file.
    whole: Option<Sha256Stream>,
    progress: Option<&'a dyn Fn(u64)>,
    ordinal: u64,
}

impl Sink for Looking<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(detector) = &mut self.detector {
            detector.bytes(bytes);
        }
        if let Some(whole) = &mut self.whole {
            whole.update(bytes);
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
        self.opened += 1;
        let ordinal = self.opened;
        if let Some(name) = place.inner.last() {
            for found in found_in(name) {
                let what = format!("{}, in its name", found.rule.what);
                self.add(place, ordinal, found.rule.id, what, found.offset);
            }
        }
        Looking {
            // What a container holds is shown file by file.
            detector: (!container).then(Detector::new),
            whole: outermost.then(Sha256Stream::new),
            progress: outermost.then_some(self.progress),
            ordinal,
        }
    }

    fn close(&mut self, place: &Place, sink: Looking<'a>) {
        if let Some(whole) = sink.whole {
            self.own = Some(whole.finish());
        }
        let found = sink.detector.map(Detector::finish).unwrap_or_default();
        self.more |= found.len() >= detector::MOST;
        for found in found {
            let what = found.rule.what.to_owned();
            self.add(place, sink.ordinal, found.rule.id, what, found.offset);
        }
    }

    fn problem(&mut self, place: &Place, problem: Problem) {
        let what = format!("not looked into: {problem}");
        // Several may be told of one file.
        let ordinal = self.opened + self.findings.len() as u64;
        self.add(place, ordinal, problem.kind(), what, 0);
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
    if findings.iter().any(|f| f.rule == TOO_MANY) {
        let mut fail = Fail::usage(
            TOO_MANY,
            "more findings than can be listed; none of them can be let stand",
        );
        for finding in findings.iter().take(20) {
            fail = fail.detail(format!("finding {}", finding.id), finding.line());
        }
        return Err(fail.hint("take them out; what is not listed cannot be judged"));
    }
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
