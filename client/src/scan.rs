//! Files that are withdrawn, void, or pass for a project's and are not: by digest and name, wherever
//! they are packed.

pub(crate) mod files;

use crate::affected::{Against, Standings};
use crate::cmd::complete::Complete;
use crate::contents::{Place, Problem, Sink, Visitor};
use crate::policy::{ProjectPolicy, glob};
use keys::Sha256Stream;
use ledger::{Hash, hex32};
use serde_json::{Value, json};
use std::collections::HashMap;

/// What is known of a digest.
struct Known {
    purl: String,
    index: u64,
    project: String,
    against: Option<Against>,
}

/// All that the log says of the projects' artifacts.
#[derive(Default)]
pub(crate) struct Index {
    digests: HashMap<Hash, Known>,
    /// Artifact names, and whose they are.
    names: HashMap<String, String>,
    /// Patterns of names in the policy, and whose they are.
    patterns: Vec<(String, String)>,
}

/// What was found.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) place: Place,
    pub(crate) sha256: Hash,
    pub(crate) size: u64,
    pub(crate) project: String,
    /// `void`, `withdrawn` or `unknown-digest`.
    pub(crate) kind: &'static str,
    /// The release that it is of.
    pub(crate) release: Option<(String, u64)>,
    pub(crate) against: Option<Against>,
}

impl Index {
    /// Takes up a project's proven history.
    pub(crate) fn add(&mut self, complete: &Complete, project: &ProjectPolicy) {
        let releases = complete.releases(&project.id);
        let standings = Standings::new(complete, &project.id, &releases);
        for release in &releases {
            let against = standings.against(release);
            for artifact in &release.artifacts {
                self.names
                    .insert(artifact.name.clone(), project.name.clone());
                // The same bytes, released again: what stands once in a project may be used; but what
                // another project says does not make it so.
                let stays = |k: &Known| {
                    let own = k.project == project.name;
                    k.against.is_none() == own
                };
                if self.digests.get(&artifact.sha256).is_some_and(stays) {
                    continue;
                }
                let known = Known {
                    purl: release.purl.clone(),
                    index: release.index,
                    project: project.name.clone(),
                    against: against.clone(),
                };
                self.digests.insert(artifact.sha256, known);
            }
        }
        let patterns = project.artifacts.iter().cloned();
        self.patterns
            .extend(patterns.map(|p| (p, project.name.clone())));
    }

    /// Whose artifact something of this name passes for.
    fn passes_for(&self, name: &str) -> Option<&str> {
        if let Some(project) = self.names.get(name) {
            return Some(project);
        }
        // What ships beside artifacts has their names with something added.
        if name.ends_with(".bundle") || name == "SHA256SUMS" {
            return None;
        }
        let matching = self.patterns.iter().find(|(p, _)| glob(p, name));
        matching.map(|(_, project)| project.as_str())
    }

    fn judge(&self, place: &Place, sha256: Hash, size: u64) -> Judged {
        let Some(known) = self.digests.get(&sha256) else {
            let Some(project) = self.passes_for(&place.name()) else {
                return Judged::Other;
            };
            return Judged::Found(Box::new(Finding {
                place: place.clone(),
                sha256,
                size,
                project: project.to_owned(),
                kind: "unknown-digest",
                release: None,
                against: None,
            }));
        };
        let Some(against) = &known.against else {
            return Judged::Good;
        };
        Judged::Found(Box::new(Finding {
            place: place.clone(),
            sha256,
            size,
            project: known.project.clone(),
            kind: against.why.word(),
            release: Some((known.purl.clone(), known.index)),
            against: Some(against.clone()),
        }))
    }
}

enum Judged {
    /// It has nothing to do with the projects.
    Other,
    /// It is of a release that stands.
    Good,
    Found(Box<Finding>),
}

/// What one thread saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) findings: Vec<Finding>,
    pub(crate) problems: Vec<(Place, Problem)>,
    /// Files, packed ones included.
    pub(crate) files: u64,
    /// Of releases that stand.
    pub(crate) good: u64,
}

impl Seen {
    pub(crate) fn merge(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.problems.extend(other.problems);
        self.files += other.files;
        self.good += other.good;
    }
}

/// Shows each file to an index.
pub(crate) struct Scanner<'a> {
    pub(crate) index: &'a Index,
    pub(crate) seen: Seen,
    /// Told of bytes that were read from the disk.
    pub(crate) progress: &'a dyn Fn(u64),
}

/// A file's digest, as its bytes come.
pub(crate) struct Hashing<'a> {
    hasher: Sha256Stream,
    size: u64,
    progress: Option<&'a dyn Fn(u64)>,
    /// How much was found before it: what is found since is within it.
    before: usize,
}

impl Sink for Hashing<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        if let Some(progress) = self.progress {
            progress(bytes.len() as u64);
        }
    }
}

impl<'a> Visitor for Scanner<'a> {
    type Sink = Hashing<'a>;

    fn open(&mut self, place: &Place, _: bool) -> Hashing<'a> {
        let outermost = place.inner.is_empty();
        Hashing {
            hasher: Sha256Stream::new(),
            size: 0,
            progress: outermost.then_some(self.progress),
            before: self.seen.findings.len(),
        }
    }

    fn close(&mut self, place: &Place, sink: Hashing<'a>) {
        self.seen.files += 1;
        match self.index.judge(place, sink.hasher.finish(), sink.size) {
            Judged::Other => {}
            Judged::Good => {
                self.seen.good += 1;
                // What a release holds is that release's, whatever it is called in it.
                let mut within = self.seen.findings.split_off(sink.before);
                within.retain(|f| f.kind != "unknown-digest");
                self.seen.findings.append(&mut within);
            }
            Judged::Found(finding) => self.seen.findings.push(*finding),
        }
    }

    fn problem(&mut self, place: &Place, problem: Problem) {
        self.seen.problems.push((place.clone(), problem));
    }
}

impl Finding {
    /// For a script.
    pub(crate) fn json(&self) -> Value {
        let mut out = place_json(&self.place);
        if let Some(fields) = out.as_object_mut() {
            let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
            put("kind", self.kind.into());
            put("project", self.project.as_str().into());
            put("sha256", hex32(&self.sha256).into());
            put("size", self.size.into());
            if let Some((purl, index)) = &self.release {
                put("purl", purl.as_str().into());
                put("index", (*index).into());
            }
            if let Some(against) = &self.against {
                against.said().into_iter().for_each(|(name, value)| {
                    put(name, value);
                });
            }
        }
        out
    }
}

/// A place for a script: its parts as they are, and the layer that it is in.
pub(crate) fn place_json(place: &Place) -> Value {
    json!({ "place": place.to_string(), "file": place.file.display().to_string(),
        "inner": place.inner, "layer": place.layer() })
}
