//! Whether a report is what its proofs make of its question: it is made again from them, offline,
//! and compared, file by file and line by line.

use super::build::{Built, build, lines};
use super::document::{Document, MADE_BY, Row};
use super::folder::{Files, changed, surplus};
use super::html::html;
use super::markdown::{markdown, readme};
use super::next;
use super::osv;
use super::proven::{Against, HEAD, HISTORY, Proven, bundle_name};
use super::samples;
use crate::cmd::history;
use crate::fail::{Fail, visible};
use crate::memory::Memory;
use crate::policy::{Policy, ProjectPolicy};
use crate::when::time;
use std::collections::{BTreeMap, BTreeSet};

/// The report for machines.
pub(crate) const DOCUMENT: &str = "report.json";
const MARKDOWN: &str = "report.md";
const HTML: &str = "report.html";
/// What only whoever has the project's keys does.
const README: &str = "next/README.md";
const MAX_FILE: u64 = 256 << 20;

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

fn malformed(why: &str) -> Fail {
    Fail::untrusted("report-malformed", format!("{DOCUMENT}: {why}"))
        .hint("give the directory that `countersign incident report --out` wrote, unchanged")
}

/// Where a log is asked, as a report may say it: records that are published refer to it.
fn is_address(url: &str) -> bool {
    let plain = url
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\"'<>\\`@".contains(&b));
    plain && (url.starts_with("https://") || url.starts_with("http://"))
}

/// The report, as it says itself.
///
/// # Errors
/// Exit code 1 where it is none; 3 where it is of another version.
pub(crate) fn read(files: &Files) -> Result<Document, Fail> {
    let bytes = files.read(DOCUMENT, MAX_FILE)?;
    let bad = |why: String| malformed(&why);
    let value = ledger::json::parse(&bytes).map_err(|e| bad(e.to_string()))?;
    let (api, kind) = Document::api();
    let field = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    if field("kind") != Some(&kind) {
        return Err(bad(format!("it is no {kind}")));
    }
    if field("apiVersion") != Some(&api) {
        return Err(Fail::unchecked(
            "report-version",
            "the report is of a version that is not known",
        )
        .detail("expected", api)
        .detail("got", field("apiVersion").unwrap_or("none"))
        .hint("use the program that made it, or a newer one"));
    }
    let document: Document = ledger::json::typed(value).map_err(|e| bad(e.to_string()))?;
    let own = document.to_bytes().map_err(|e| bad(e.to_string()))?;
    if !is_address(&document.asked.log_url) {
        return Err(bad("logUrl is no address of a log".into()));
    }
    if own == bytes {
        return Ok(document);
    }
    Err(bad("it is not in its canonical form".into()))
}

/// The project that a report is about, as the policy pins it.
///
/// # Errors
/// Exit code 2 where the policy does not.
pub(crate) fn project<'a>(
    policy: &'a Policy,
    document: &Document,
) -> Result<&'a ProjectPolicy, Fail> {
    let mut all = policy.projects.iter();
    let found = all.find(|p| ledger::hex32(&p.id) == document.project.id);
    found.ok_or_else(|| {
        Fail::usage(
            "unknown-project",
            "the policy does not have the project that the report is about",
        )
        .detail("got", visible(&document.project.id))
        .hint("get a policy of that project from its own site, and not from the report")
    })
}

/// What was found.
pub(crate) struct Found {
    pub(crate) document: Document,
    /// A verdict on each line.
    pub(crate) lines: Vec<Line>,
    /// Why the report is not to be trusted, where it is not.
    pub(crate) fail: Option<Fail>,
}

/// Verifies all of a report.
///
/// # Errors
/// Where nothing can be said of its lines; else [`Found::fail`] has the first of what is gravest.
pub(crate) fn verify(
    files: &Files,
    ours: history::Against<'_>,
    memory: &Memory,
    now: u64,
) -> Result<Found, Fail> {
    let document = read(files)?;
    let policy = ours.policy;
    let project = project(policy, &document)?;
    let against = Against {
        ours,
        project,
        memory,
        now,
    };
    let complete = against.history(files)?;
    let wanted = lines(&complete, &project.id, &document.asked);
    let mut proven = Proven {
        complete,
        rows: BTreeMap::new(),
    };
    let (mut rows, mut fails) = (Vec::new(), Vec::new());
    for index in &wanted {
        match against.row(files, *index, &proven.complete) {
            Ok(row) => drop(proven.rows.insert(*index, row)),
            Err(fail) => rows.push((*index, Err(fail))),
        }
    }
    let known = rest(files, policy, &project.id, &document, &proven);
    let built: BTreeMap<u64, &Row> = match &known {
        Ok((built, _)) => built
            .document
            .timeline
            .iter()
            .map(|r| (r.index, r))
            .collect(),
        Err(_) => BTreeMap::new(),
    };
    let mut said: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
    for row in &document.timeline {
        said.entry(row.index).or_default().push(row);
    }
    for index in proven.rows.keys() {
        let Some(want) = built.get(index) else {
            continue;
        };
        let verdict = match said.get(index).map(Vec::as_slice) {
            Some([row]) if row == want => Ok((*row).clone()),
            Some([row]) => Err(differs(row, want)),
            None | Some([]) => Err(row_fail(
                "row-missing",
                &format!("the timeline does not have entry {index}, which the question concerns"),
            )),
            Some(_) => Err(row_fail(
                "row-surplus",
                &format!("the timeline has entry {index} twice"),
            )),
        };
        rows.push((*index, verdict));
    }
    for row in document
        .timeline
        .iter()
        .filter(|r| !wanted.contains(&r.index))
    {
        let why = format!(
            "the timeline has entry {}, which the question does not concern or the log does not have",
            row.index
        );
        rows.push((row.index, Err(row_fail("row-surplus", &why))));
    }
    rows.sort_by_key(|(index, _)| *index);
    fails.extend(rows.iter().filter_map(|(_, v)| v.as_ref().err().cloned()));
    let unordered = document
        .timeline
        .windows(2)
        .any(|w| matches!(w, [a, b] if a.index > b.index));
    if unordered {
        fails.push(row_fail(
            "row-changed",
            "the timeline is not in the log's order",
        ));
    }
    match known {
        Err(fail) => fails.push(fail),
        // What is wrong with a line shows in every file.
        Ok((built, names)) if fails.is_empty() => {
            fails.extend(compare(files, &document, &built, &names).err());
        }
        Ok(_) => {}
    }
    let mut worst = None;
    for fail in fails {
        fail.keep_graver(&mut worst);
    }
    let lines = rows.into_iter();
    let lines = lines.map(|(index, verdict)| Line { index, verdict });
    Ok(Found {
        document,
        lines: lines.collect(),
        fail: worst,
    })
}

/// The report again, with the samples that lie in it, and the names of all its files.
fn rest(
    files: &Files,
    policy: &Policy,
    project: &ledger::Hash,
    document: &Document,
    proven: &Proven,
) -> Result<(Built, BTreeSet<String>), Fail> {
    let names = files.list()?;
    let samples = samples::read(files, &names)?;
    let built = build(policy, project, proven, &document.asked, samples);
    // Of what its maker asked, nothing can be prepared: no such report was ever written.
    let built = built.map_err(|fail| malformed(&fail.message))?;
    Ok((built, names))
}

fn row_fail(kind: &str, why: &str) -> Fail {
    Fail::untrusted(kind, why)
        .hint("the report was changed: ask whoever gave it to you for the whole of it")
}

/// What a line says otherwise than its proof.
fn differs(row: &Row, want: &Row) -> Fail {
    let fields: [(&str, String, String); 9] = [
        ("time", time(want.time), time(row.time)),
        ("kind", want.kind.clone(), row.kind.clone()),
        ("says", want.says.clone(), row.says.clone()),
        ("statement", want.statement.clone(), row.statement.clone()),
        ("keys", want.keys.join(", "), row.keys.join(", ")),
        ("standing", want.standing.clone(), row.standing.clone()),
        (
            "because",
            format!("{:?}", want.because),
            format!("{:?}", row.because),
        ),
        ("proof", want.proof.clone(), row.proof.clone()),
        ("sha256", want.sha256.clone(), row.sha256.clone()),
    ];
    let found = fields.into_iter().find(|(_, want, got)| want != got);
    let (field, want, got) = found.unwrap_or(("line", String::new(), String::new()));
    row_fail(
        "row-changed",
        &format!("{field} of entry {} is not what its proof says", row.index),
    )
    .detail("expected", want)
    .detail("got", got)
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

/// The report and each file of it is as it is made from the proofs, and nothing else is there.
fn compare(
    files: &Files,
    document: &Document,
    built: &Built,
    names: &BTreeSet<String>,
) -> Result<(), Fail> {
    let other = |fail: Fail| {
        if document.asked.made_by == MADE_BY {
            return fail;
        }
        Fail::unchecked(
            "other-version",
            format!(
                "every line is proven, but {} may word the rest otherwise than {MADE_BY}: {}",
                visible(&document.asked.made_by),
                fail.message
            ),
        )
        .hint("verify it with the version that made it")
    };
    if *document != built.document {
        return Err(other(report_differs(document, &built.document)));
    }
    let wanted = wanted(built)?;
    if let Some(name) = names
        .iter()
        .find(|n| !wanted.contains_key(*n) && !n.starts_with("samples/"))
    {
        return Err(surplus(name));
    }
    for (name, want) in &wanted {
        let Some(want) = want else { continue };
        let got = files.read(name, MAX_FILE)?;
        let same = got == *want
            || built
                .next
                .get(name)
                .is_some_and(|envelope| next::same(document, name, &got, envelope));
        if !same {
            return Err(other(changed(
                name,
                "it is not what the proofs and the question give",
            )));
        }
    }
    Ok(())
}

/// Which part of a report is not what the proofs give.
fn report_differs(got: &Document, want: &Document) -> Fail {
    let parts = [
        ("project", got.project != want.project),
        ("asOf", got.as_of != want.as_of),
        ("entries", got.entries != want.entries),
        ("releases", got.releases != want.releases),
        ("withdrawals", got.withdrawals != want.withdrawals),
        ("revocations", got.revocations != want.revocations),
        ("keys", got.keys != want.keys),
        ("samples", got.samples != want.samples),
        ("next", got.next != want.next),
        ("steps", got.steps != want.steps),
        ("good", got.good != want.good),
    ];
    let part = parts.iter().find(|(_, differs)| *differs);
    let part = part.map_or("timeline", |(name, _)| name);
    if part == "samples" {
        return Fail::untrusted(
            "sample-changed",
            "the samples are not those that the report lists",
        )
        .hint("a sample was taken out, put in or changed: ask for the whole of the report");
    }
    Fail::untrusted(
        "report-changed",
        format!("{DOCUMENT}: `{part}` is not what the proofs and the question give"),
    )
    .hint("the report was changed: ask whoever gave it to you for the whole of it")
}
