//! `countersign incident …`: a report about a key, a digest, a version or a time, and whether such
//! a report is what its proofs make of it.

use super::common::{PolicyArgs, load_memory, load_policy, log_url, now, parse_time, state_path};
use super::complete::Evident;
use super::history;
use super::keys::{Inventory, since};
use super::say::{Desk, LogArgs};
use crate::fail::{Fail, visible};
use crate::incident::build::{Built, build, lines};
use crate::incident::document::{Asked, MADE_BY, Question, Sample};
use crate::incident::folder::{Files, Folder, SAMPLES};
use crate::incident::proven::{Against, HEAD, HISTORY, HeadFile, Proven, VIEW_MOVED, bundle_name};
use crate::incident::samples;
use crate::incident::there::asked_at;
use crate::incident::verify::{Found, Line, made, verify};
use crate::policy::ProjectPolicy;
use clap::{ArgGroup, Args, Subcommand};
use ledger::{from_hex32, hex32, names};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The subcommands of `incident`.
#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// Write a report: what is concerned, the timeline with proofs, what to sign next, what to publish
    ///
    /// It reads the project's whole history, proven, and writes a directory: report.json,
    /// report.md and report.html (one page), to be published, OSV records of what is void or
    /// withdrawn, a proof of every line of the timeline, samples from a storage watch's
    /// quarantine (samples/), and statements that are prepared to be signed, with what else is to
    /// be done (next/). Nothing is sent to the log.
    ///
    ///   countersign incident report NAME --key ID --out report --policy policy.toml
    ///   countersign incident report NAME --since 2026-01-31T00:00:00Z --until 2026-04-01T00:00:00Z …
    ///
    /// Exit code 0: written. 1: the log's answers, or bytes in the quarantine, contradict
    /// themselves. 2: wrong usage. 3: the log could not be asked.
    #[command(verbatim_doc_comment)]
    Report(Box<ReportArgs>),
    /// Verify a report offline: each line of its timeline, and that nothing is missing or more
    ///
    /// It takes the report and your policy, and asks nobody. From the proofs it makes the report
    /// again and compares: a line, a sample or a file that is changed, missing or surplus is named.
    /// samples/ and next/ may be missing as a whole: then it says that they were not checked.
    ///
    /// Exit code 0: all of it is as the proofs say. 1: it is not. 2: wrong usage, or your policy
    /// does not have the project. 3: part of it may not be read, or it is of another version, in
    /// which nothing that is known is otherwise than the proofs say.
    #[command(verbatim_doc_comment)]
    Verify(VerifyArgs),
}

/// Arguments of `incident report`.
#[derive(Debug, Args)]
// `--version` is the version that is asked about, not ours.
#[command(disable_version_flag = true)]
#[command(group(ArgGroup::new("question").required(true).args(["key", "digest", "version", "since"])))]
pub struct ReportArgs {
    /// The project, as the policy names it
    project: String,
    #[command(flatten)]
    log: LogArgs,
    /// About a key, and all that it signed: its id, or its first 8 digits
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// About bytes, by their SHA-256, whether they were ever released or not
    #[arg(long, value_name = "SHA256")]
    digest: Option<String>,
    /// About the releases of a version
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// About all that was logged from this time on, such as 2026-01-31T08:30:00Z
    #[arg(long, value_name = "T", requires = "until")]
    since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "T", requires = "since")]
    until: Option<String>,
    /// In the prepared revocation nothing that the key signed counts from here on: a log index or
    /// a time [default: its first statement, or --since]
    #[arg(long, value_name = "INDEX|TIME", conflicts_with_all = ["digest", "version"])]
    compromised_since: Option<String>,
    /// Why, in the statements that are prepared; it will be public
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// What a storage watch kept: `quarantine` in the monitor's state; samples are copied
    #[arg(long, value_name = "DIR")]
    quarantine: Option<PathBuf>,
    /// Where the report is written: a new directory
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `incident verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The report
    directory: PathBuf,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `incident …`.
///
/// # Errors
/// Exit codes 1 to 3.
pub fn run(command: &IncidentCommand) -> Result<(), Fail> {
    match command {
        IncidentCommand::Report(args) => report(args),
        IncidentCommand::Verify(args) => verify_report(args),
    }
}

fn window(args: &ReportArgs) -> Result<Question, Fail> {
    let moment = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        parse_time(text).ok_or_else(|| {
            Fail::usage("bad-time", format!("{text:?} is no time"))
                .hint("a time is written 2026-01-31T08:30:00Z, in UTC")
        })
    };
    let (since, until) = (moment(&args.since)?, moment(&args.until)?);
    if since <= until {
        return Ok(Question::Window { since, until });
    }
    Err(Fail::usage("bad-window", "--since is later than --until")
        .hint("give the earlier time with --since"))
}

/// What is asked; it must be of the project, where only the log can tell.
fn question(
    args: &ReportArgs,
    evident: &Evident,
    project: &ProjectPolicy,
) -> Result<Question, Fail> {
    let complete = &evident.complete;
    if let Some(text) = &args.key {
        let inventory = Inventory::new(complete, &project.id, now());
        let row = inventory.one(text, &project.name)?;
        return Ok(Question::Key(row.id().to_string()));
    }
    if let Some(text) = &args.digest {
        let digest = from_hex32(&text.to_ascii_lowercase()).ok_or_else(|| {
            Fail::usage("bad-digest", format!("{text:?} is no SHA-256"))
                .hint("give the 64 hexadecimal digits that `sha256sum FILE` prints")
        })?;
        return Ok(Question::Digest(hex32(&digest)));
    }
    if let Some(version) = &args.version {
        let releases = complete.releases(&project.id);
        let of = |v: Option<String>| v.as_ref() == Some(version);
        if releases.iter().any(|r| of(names::purl_version(&r.purl))) {
            return Ok(Question::Version(version.clone()));
        }
        return Err(Fail::usage(
            "unknown-release",
            format!("no release {version:?} is known"),
        )
        .hint(
            "see `countersign releases NAME`; of bytes that were never released ask with --digest",
        ));
    }
    window(args)
}

fn report(args: &ReportArgs) -> Result<(), Fail> {
    let mut desk = Desk::open(&args.log)?;
    let project = desk.project(&args.project)?;
    // The log takes in what it takes in while it is read: then all of it is read again.
    let mut attempts = 0;
    loop {
        let outcome = attempt(args, &mut desk, &project);
        attempts += 1;
        match outcome {
            Err(fail) if fail.kind == VIEW_MOVED && attempts < 3 => {}
            other => return other,
        }
    }
}

fn attempt(args: &ReportArgs, desk: &mut Desk, project: &ProjectPolicy) -> Result<(), Fail> {
    let folder = Folder::begin(&args.out)?;
    let evident = desk.evident(project)?;
    let question = question(args, &evident, project)?;
    let window = args.compromised_since.as_deref();
    let window = window.map(|text| since(&evident.complete, text));
    let asked = Asked {
        question,
        compromised_since: window.transpose()?,
        reason: args.reason.clone(),
        made: now(),
        made_by: MADE_BY.to_owned(),
        // It is published: a password in it is not.
        log_url: asked_at(&log_url(None, Some(&desk.policy))?),
    };
    let proven = prove(desk, project, evident, &asked, &folder)?;
    if let Some(from) = &args.quarantine {
        samples::collect(from, &asked.question, &folder)?;
    }
    let files = folder.files();
    let listing = files.list();
    if let Some(fail) = listing.fails.into_iter().next() {
        return Err(fail);
    }
    let samples = samples::read(&files, &listing.names)?;
    let built = build(&desk.policy, &project.id, &proven, &asked, samples)?;
    for (name, bytes) in made(&built)? {
        folder.write(&name, &bytes)?;
    }
    // As a stranger will: what does not verify is not handed out.
    let found = verify(&files, desk.ours(), desk.memory(), now())?;
    if let Some(fail) = found.fail {
        return Err(fail);
    }
    for left in folder.left() {
        eprintln!(
            "note: {} was left by a run that was ended, unless one is at work: look into it, and remove it; it may hold samples",
            visible(&left.display().to_string())
        );
    }
    folder.commit()?;
    told(args, &built);
    Ok(())
}

/// Writes what proves the history, and each line of the timeline.
fn prove(
    desk: &Desk,
    project: &ProjectPolicy,
    evident: Evident,
    asked: &Asked,
    folder: &Folder,
) -> Result<Proven, Fail> {
    let encoding = |e: ledger::json::JsonError| Fail::usage("encoding", e.to_string());
    let head = HeadFile {
        checkpoint: evident.first,
        head: evident.head,
    };
    folder.write(HEAD, &ledger::json::canonical_of(&head).map_err(encoding)?)?;
    let mut history = Vec::new();
    for entry in &evident.entries {
        history.extend(ledger::json::canonical_of(entry).map_err(encoding)?);
        history.push(b'\n');
    }
    folder.write(HISTORY, &history)?;
    let complete = evident.complete;
    let against = Against {
        ours: desk.ours(),
        project,
        memory: desk.memory(),
        now: now(),
    };
    let mut rows = BTreeMap::new();
    for index in lines(&complete, &project.id, asked) {
        let name = bundle_name(index);
        let bytes = desk.bundle(index)?;
        // What the log answers is not evidence against it: anybody between could have made it.
        let row = against
            .bundle(&name, &bytes, index, &complete)
            .map_err(|mut fail| {
                if fail.kind != "fork" {
                    fail.code = crate::fail::UNCHECKED;
                }
                fail
            })?;
        folder.write(&name, &bytes)?;
        rows.insert(index, row);
    }
    Ok(Proven { complete, rows })
}

/// Says what was written.
fn told(args: &ReportArgs, built: &Built) {
    let d = &built.document;
    let out = args.out.display().to_string();
    if args.json {
        let next: Vec<&str> = d.next.iter().map(|n| n.file.as_str()).collect();
        sayln!(
            "{}",
            json!({ "out": out, "project": d.project.name, "timeline": d.timeline.len(), "releases": d.releases.len(),
                "keys": d.keys.len(), "samples": d.samples.len(), "next": next, "steps": d.steps,
                "treeSize": d.as_of.size })
        );
        return;
    }
    sayln!(
        "report in {}: {} lines with proofs, {} releases, {} keys, {} samples; complete as of tree size {} of {}",
        visible(&out),
        d.timeline.len(),
        d.releases.len(),
        d.keys.len(),
        d.samples.len(),
        d.as_of.size,
        d.as_of.log
    );
    for (number, step) in d.steps.iter().enumerate() {
        sayln!("  {}. {}", number + 1, visible(step));
    }
    sayln!(
        "read it before you publish report.html, report.md and osv, with report.json and proofs for `countersign incident verify {} --policy POLICY`, which is for everybody; next is yours, and samples may be kept back",
        visible(&out)
    );
}

fn verify_report(args: &VerifyArgs) -> Result<(), Fail> {
    let policy = load_policy(&args.policy)?;
    if !args.directory.is_dir() {
        let why = format!("{} is no directory", args.directory.display());
        return Err(Fail::usage("no-report", why)
            .hint("give the directory that `countersign incident report --out` wrote"));
    }
    let state = state_path(&args.policy)?;
    let memory = load_memory(&state)?;
    let ours = history::Against {
        policy: &policy,
        state: &state,
    };
    let found = verify(&Files::new(&args.directory), ours, &memory, now())?;
    if args.json {
        sayln!("{}", shown(&found));
    } else {
        for line in &found.lines {
            sayln!("{}", line.text());
        }
        for sample in &found.samples {
            sayln!(
                "observed, not proven: sample {:.16}, {} accounts; {}",
                visible(&sample.sha256),
                sample.accounts.len(),
                observed(sample, &found)
            );
        }
        for name in &found.not_supplied {
            sayln!("{name}/: not supplied, not checked");
        }
        for note in &found.notes {
            sayln!("note: {note}");
        }
    }
    match found.fail {
        Some(fail) => Err(fail.shown_if(args.json)),
        None => {
            if !args.json {
                sayln!(
                    "verified: {} lines, each proven, and none is missing; all {} entries of {} as of tree size {} of {}",
                    found.lines.len(),
                    found.entries,
                    visible(&found.project),
                    found.size,
                    policy.log.origin
                );
            }
            Ok(())
        }
    }
}

/// What is known of a sample.
fn observed(sample: &Sample, found: &Found) -> String {
    if !found.samples_read {
        return match found.not_supplied.contains(&SAMPLES) {
            true => "not supplied, not checked",
            false => "not checked, see below",
        }
        .to_owned();
    }
    if sample.file.is_none() {
        return "no bytes are there, only accounts of them".to_owned();
    }
    let accounts = &sample.accounts;
    let part = accounts.iter().filter(|a| !a.whole).count();
    let bytes = match found.fail {
        None => "the bytes are as listed",
        Some(_) => "the bytes have this digest; see below",
    };
    match part {
        0 => bytes.to_owned(),
        part => format!(
            "{bytes}, and are only the beginning of what was sent, say {part} of {}",
            accounts.len()
        ),
    }
}

/// For a script.
fn shown(found: &Found) -> Value {
    let line = |line: &Line| match &line.verdict {
        Ok(row) => json!({ "index": row.index, "proven": true, "standing": row.standing,
            "statement": row.statement, "time": row.time, "keys": row.keys }),
        Err(fail) => {
            json!({ "index": line.index, "proven": false, "kind": fail.kind, "message": fail.message })
        }
    };
    let lines: Vec<Value> = found.lines.iter().map(line).collect();
    json!({ "verified": found.fail.is_none(), "timeline": lines, "project": found.project,
        "treeSize": found.size, "samples": found.samples.len(), "samplesChecked": found.samples_read,
        "notSupplied": found.not_supplied, "notes": found.notes,
        "error": found.fail.as_ref().map(Fail::json) })
}
