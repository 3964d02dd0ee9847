//! Whether a report is what its proofs make of its question: it is made again from them, offline,
//! and compared, file by file and line by line.

use super::build::{Built, build, lines, row};
use super::difference::difference;
use super::document::{Row, Sample};
use super::folder::{Files, Listing, NEXT, SAMPLES, changed, surplus};
use super::html::html;
use super::markdown::{markdown, readme};
use super::next;
use super::osv;
use super::proven::{Against, HEAD, HISTORY, Proven, bundle_name};
use super::said::{self, Said};
use super::there::{There, notes, there};
use crate::cmd::history;
use crate::fail::{Fail, visible};
use crate::memory::Memory;
use crate::policy::{Policy, ProjectPolicy};
use crate::when::time;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The report for machines.
pub(crate) const DOCUMENT: &str = "report.json";
const MARKDOWN: &str = "report.md";
const HTML: &str = "report.html";
/// What only whoever has the project's keys does.
const README: &str = "next/README.md";
pub(super) const MAX_FILE: u64 = 256 << 20;

/// What is to be said of one line of the timeline.
pub(crate) struct Line {
    pub(crate) index: u64,
    /// What its proof proves, or why it does not.
    pub(crate) verdict: Result<Row, Fail>,
}

impl Line {
    /// For people.
    pub(crate) fn text(&self) -> String {
        match &self.verdict {
            Ok(row) => {
                let keys: Vec<String> = row.keys.iter().map(|k| format!("{k:.16}")).collect();
                format!(
                    "proven: entry {}  {}  {}: {}; signed by {}",
                    row.index,
                    time(row.time),
                    row.standing,
                    visible(&row.says),
                    keys.join(", ")
                )
            }
            Err(fail) => format!(
                "NOT PROVEN: entry {}  {} [{}]",
                self.index,
                visible(&fail.message),
                fail.kind
            ),
        }
    }
}

/// The project that a report is about, as the policy pins it.
///
/// # Errors
/// Exit code 2 where the policy does not.
fn project<'a>(policy: &'a Policy, said: &Value) -> Result<&'a ProjectPolicy, Fail> {
    let id = said.pointer("/project/id").and_then(Value::as_str);
    let mut all = policy.projects.iter();
    let found = all.find(|p| Some(ledger::hex32(&p.id).as_str()) == id);
    found.ok_or_else(|| {
        Fail::usage(
            "unknown-project",
            "the policy does not have the project that the report is about",
        )
        .detail("got", visible(id.unwrap_or("none")))
        .hint("get a policy of that project from its own site, and not from the report")
    })
}

/// What was found.
pub(crate) struct Found {
    /// The project's name, as the log has it.
    pub(crate) project: String,
    /// How many entries the log has of it.
    pub(crate) entries: usize,
    /// As of which size of the log.
    pub(crate) size: u64,
    /// A verdict on each line.
    pub(crate) lines: Vec<Line>,
    pub(crate) samples: Vec<Sample>,
    /// Whether the samples are those that lie there; else they are what the report says.
    pub(crate) samples_read: bool,
    /// Parts of the report that are not there, and were not looked at.
    pub(crate) not_supplied: Vec<&'static str>,
    /// What is neither right nor wrong.
    pub(crate) notes: Vec<String>,
    /// Why the report is not to be trusted, where it is not.
    pub(crate) fail: Option<Fail>,
}

/// Verifies all of a report: first its lines, so that nothing beside them hides a verdict on one.
///
/// # Errors
/// Where nothing can be said of its lines; else [`Found::fail`] has the first of what is gravest.
pub(crate) fn verify(
    files: &Files,
    ours: history::Against<'_>,
    memory: &Memory,
    now: u64,
) -> Result<Found, Fail> {
    let said = said::read(files)?;
    let policy = ours.policy;
    let project = project(policy, &said.value)?;
    let against = Against {
        ours,
        project,
        memory,
        now,
    };
    let complete = against.history(files)?;
    let wanted = lines(&complete, &project.id, &said.asked);
    let mut proven = Proven {
        complete,
        rows: BTreeMap::new(),
    };
    let mut unproven = Vec::new();
    for index in wanted {
        match against.row(files, index, &proven.complete) {
            Ok(row) => drop(proven.rows.insert(index, row)),
            Err(fail) => unproven.push(Line {
                index,
                verdict: Err(fail),
            }),
        }
    }
    let all_proven = unproven.is_empty();
    let mut judged = Judged::default();
    judged.timeline(&said, &proven, unproven);
    let listing = files.list();
    let mut there = there(files, &said, &listing);
    judged.fails.append(&mut there.fails);
    // A line without its proof is missing in everything that is made of the lines.
    if all_proven {
        let built = build(
            policy,
            &project.id,
            &proven,
            &said.asked,
            there.samples.clone(),
        );
        match built {
            Ok(built) => judged.rest(files, &said, &built, &listing, &there),
            // Of what its maker asked, nothing can be prepared: no such report was ever written.
            Err(fail) => judged.fails.push(said::malformed(&fail.message)),
        }
    }
    if let Some(form) = &said.other {
        let why = judged.words.unwrap_or_else(|| {
            "what is known of it is as the proofs say, and that may not be all".to_owned()
        });
        judged.fails.push(said::other_version(form, &why));
    }
    let mut worst = None;
    for fail in judged.fails {
        fail.keep_graver(&mut worst);
    }
    let complete = &proven.complete;
    let known = complete.fold.project(&project.id);
    Ok(Found {
        project: known.map_or_else(String::new, |p| p.current().project.name.clone()),
        entries: complete.leaves.len(),
        size: complete.checkpoint.size,
        lines: judged.lines,
        samples: there.samples,
        samples_read: there.read,
        not_supplied: there.not_supplied,
        notes: notes(policy, &said),
        fail: worst,
    })
}

/// What was judged until now.
#[derive(Default)]
struct Judged {
    lines: Vec<Line>,
    fails: Vec<Fail>,
    /// What differs and may be in other words, where the report is of another form.
    words: Option<String>,
}

impl Judged {
    /// The lines that a report has against those that are proven.
    fn timeline(&mut self, said: &Said, proven: &Proven, unproven: Vec<Line>) {
        let rows = said.value.get("timeline").and_then(Value::as_array);
        let mut got: BTreeMap<Option<u64>, Vec<&Value>> = BTreeMap::new();
        let mut order = Vec::new();
        for row in rows.into_iter().flatten() {
            let index = row.get("index").and_then(Value::as_u64);
            got.entry(index).or_default().push(row);
            order.push(index);
        }
        let missing: Vec<u64> = unproven.iter().map(|l| l.index).collect();
        self.lines = unproven;
        for (index, stated) in &proven.rows {
            let want = row(*index, stated);
            let verdict = match got.get(&Some(*index)).map(Vec::as_slice) {
                Some([row]) => self.row(said, row, want),
                None | Some([]) => Err(row_fail(
                    "row-missing",
                    &format!(
                        "the timeline does not have entry {index}, which the question concerns"
                    ),
                )),
                Some(_) => Err(row_fail(
                    "row-surplus",
                    &format!("the timeline has entry {index} twice"),
                )),
            };
            let index = *index;
            self.lines.push(Line { index, verdict });
        }
        for index in got.into_keys() {
            let known = |i: &u64| proven.rows.contains_key(i) || missing.contains(i);
            if index.as_ref().is_some_and(known) {
                continue;
            }
            let index = index.unwrap_or_default();
            let why = format!(
                "the timeline has entry {index}, which the question does not concern or the log does not have"
            );
            let verdict = Err(row_fail("row-surplus", &why));
            self.lines.push(Line { index, verdict });
        }
        self.lines.sort_by_key(|l| l.index);
        let fails = self.lines.iter().filter_map(|l| l.verdict.as_ref().err());
        self.fails.extend(fails.cloned());
        if !order.is_sorted() {
            self.fails.push(row_fail(
                "row-changed",
                "the timeline is not in the log's order",
            ));
        }
    }

    /// A line: in a form that is known it is the same; in another at least its facts are.
    fn row(&mut self, said: &Said, got: &Value, want: Row) -> Result<Row, Fail> {
        let proven = serde_json::to_value(&want).unwrap_or_default();
        let Some(d) = difference("line", &proven, got) else {
            return Ok(want);
        };
        let why = format!(
            "{} of entry {} is not what its proof says",
            d.field, want.index
        );
        if d.words && said.other.is_some() {
            self.words.get_or_insert(why);
            return Ok(want);
        }
        let fail = row_fail("row-changed", &why);
        Err(fail.detail("expected", d.want).detail("got", d.got))
    }

    /// The other parts of the report, and each file.
    fn rest(
        &mut self,
        files: &Files,
        said: &Said,
        built: &Built,
        listing: &Listing,
        there: &There,
    ) {
        let proven = serde_json::to_value(&built.document).unwrap_or_default();
        let parts = [&proven, &said.value].map(|v| v.as_object().into_iter().flatten());
        let parts: BTreeSet<&String> = parts.into_iter().flatten().map(|(name, _)| name).collect();
        for part in parts {
            // These were judged, or say what the form is.
            if ["timeline", "reportFormat"].contains(&part.as_str())
                || (part == SAMPLES && !there.known)
            {
                continue;
            }
            let value = |v: &'_ Value| v.get(part).cloned().unwrap_or_default();
            let (want, got) = (value(&proven), value(&said.value));
            let Some(d) = difference(part, &want, &got) else {
                continue;
            };
            // A part that is not known at all is no fact of ours.
            let words = d.words || proven.get(part).is_none();
            self.differs(said, words, report_differs(part, &d.field));
        }
        if let Err(fail) = self.files(files, said, built, listing, there) {
            self.fails.push(fail);
        }
    }

    /// A fail, unless it is of words, which another form may have chosen otherwise.
    fn differs(&mut self, said: &Said, words: bool, fail: Fail) {
        if words && said.other.is_some() {
            self.words.get_or_insert(fail.message);
        } else {
            self.fails.push(fail);
        }
    }

    /// Each file is as it is made from the proofs, and nothing else is there.
    fn files(
        &mut self,
        files: &Files,
        said: &Said,
        built: &Built,
        listing: &Listing,
        there: &There,
    ) -> Result<(), Fail> {
        let wanted = wanted(built)?;
        let mut names = listing.names.iter();
        let more = |n: &&String| !wanted.contains_key(*n) && !n.starts_with("samples/");
        if let Some(name) = names.find(more) {
            self.differs(said, true, surplus(name));
        }
        for (name, want) in &wanted {
            let kept_back = !listing.has(NEXT) && name.starts_with("next/");
            // What `report.json` says was compared, part by part.
            let Some(want) = want.as_ref().filter(|_| !kept_back && name != DOCUMENT) else {
                continue;
            };
            let prepared = built.next.get(name);
            let words = prepared.is_none();
            match files.read(name, MAX_FILE) {
                Ok(got) if got == *want || prepared.is_some_and(|e| next::same(&got, e)) => {}
                // Made of what is not known of the samples.
                Ok(_) if words && !there.known => {}
                Ok(_) => {
                    let why = "it is not what the proofs and the question give";
                    self.differs(said, words, changed(name, why));
                }
                Err(fail) => self.differs(said, words, fail),
            }
        }
        Ok(())
    }
}

fn row_fail(kind: &str, why: &str) -> Fail {
    Fail::untrusted(kind, why)
        .hint("the report was changed: ask whoever gave it to you for the whole of it")
}

/// A part of a report is not what the proofs give.
fn report_differs(part: &str, field: &str) -> Fail {
    if part == SAMPLES {
        return Fail::untrusted(
            "sample-changed",
            "the samples are not those that the report lists",
        )
        .hint("a sample was taken out, put in or changed: ask for the whole of the report");
    }
    let (part, field) = (visible(part), visible(field));
    Fail::untrusted(
        "report-changed",
        format!("{DOCUMENT}: `{part}` is not what the proofs and the question give"),
    )
    .detail("field", field)
    .hint("the report was changed: ask whoever gave it to you for the whole of it")
}

/// Every file of a report but the samples, as it must be; of proofs only the names.
fn wanted(built: &Built) -> Result<BTreeMap<String, Option<Vec<u8>>>, Fail> {
    let encoding = |e: ledger::json::JsonError| Fail::usage("encoding", e.to_string());
    let document = &built.document;
    let mut all = BTreeMap::from([
        (HEAD.to_owned(), None),
        (HISTORY.to_owned(), None),
        (
            DOCUMENT.to_owned(),
            Some(document.to_bytes().map_err(encoding)?),
        ),
        (MARKDOWN.to_owned(), Some(markdown(document).into_bytes())),
        (HTML.to_owned(), Some(html(document).into_bytes())),
    ]);
    if let Some(text) = readme(document) {
        all.insert(README.to_owned(), Some(text.into_bytes()));
    }
    for row in &document.timeline {
        all.insert(bundle_name(row.index), None);
    }
    for (name, bytes) in osv::records(document).map_err(encoding)? {
        all.insert(name, Some(bytes));
    }
    for (name, envelope) in &built.next {
        let bytes = ledger::json::to_canonical(&envelope.to_json()).map_err(encoding)?;
        all.insert(name.clone(), Some(bytes));
    }
    Ok(all)
}

/// The files of a report that are not proofs or samples, by name.
///
/// # Errors
/// Never in practice: all of it has an encoding.
pub(crate) fn made(built: &Built) -> Result<BTreeMap<String, Vec<u8>>, Fail> {
    let all = wanted(built)?.into_iter();
    Ok(all
        .filter_map(|(name, bytes)| Some((name, bytes?)))
        .collect())
}
