//! `countersign scan PATH…`: finds files that are not to be trusted where they lie.

use super::affected::written;
use super::common::{PolicyArgs, load_memory, load_policy, named, state_path, time};
use super::complete::complete;
use crate::contents::{Place, Problem};
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::policy::{Policy, ProjectPolicy};
use crate::scan::files::{Beside, scan};
use crate::scan::{Finding, Index, Seen, place_json};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::hex32;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `scan`.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Look for what this project released alone
    #[arg(long)]
    project: Option<String>,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `scan`.
///
/// # Errors
/// Exit code 1 where something was found; 3 where something could not be looked into, or the log not
/// be asked; 2 for wrong usage.
pub fn run(args: &ScanArgs) -> Result<(), Fail> {
    let policy = load_policy(&args.policy)?;
    let projects: Vec<&ProjectPolicy> = match &args.project {
        Some(name) => vec![named(&policy, name)?],
        None => policy.projects.iter().collect(),
    };
    let mut paths = Vec::new();
    for path in &args.paths {
        // A link that is named is meant; those within are not followed.
        let path = path.canonicalize().map_err(|e| {
            Fail::usage("unreadable", format!("{}: {e}", path.display()))
                .hint("name files and directories that are there")
        })?;
        paths.push(path);
    }
    let (index, sizes) = index(args, &policy, &projects)?;
    let bar = ProgressBar::new_spinner();
    if let Ok(style) =
        ProgressStyle::with_template("scanning {spinner} {bytes} {bytes_per_sec} {elapsed}")
    {
        bar.set_style(style);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from);
    let (mut seen, beside) = scan(&paths, &index, threads, &|n| bar.inc(n));
    let bytes = bar.position();
    bar.finish_and_clear();
    let unlisted = beside.unreadable.iter();
    seen.problems
        .extend(unlisted.map(|(path, why)| (Place::of(path), Problem::Unreadable(why.clone()))));
    // The threads take turns: what they found has no order of its own.
    seen.findings.sort_by_cached_key(|f| f.place.to_string());
    seen.problems
        .sort_by_cached_key(|(place, _)| place.to_string());
    tell(args, &policy, &sizes, (&seen, &beside, bytes))?;
    if !seen.findings.is_empty() {
        let message = format!("{} files are not to be trusted", seen.findings.len());
        return Err(Fail::untrusted("found", message).shown());
    }
    if !seen.problems.is_empty() {
        let message = format!("{} files could not be looked into", seen.problems.len());
        let fail = Fail::unchecked("not-all-scanned", message).hint(
            "each is listed above: read it as another user, or unpack it and scan what it holds",
        );
        return Err(fail.shown_if(args.json));
    }
    Ok(())
}

/// What the log says of the projects, and the tree size that it is complete as of, by project.
fn index(
    args: &ScanArgs,
    policy: &Policy,
    projects: &[&ProjectPolicy],
) -> Result<(Index, BTreeMap<String, u64>), Fail> {
    let state = state_path(&args.policy)?;
    let mut memory = load_memory(&state)?;
    let fetcher = Fetcher::new(args.ca_file.as_deref())?;
    let (mut index, mut sizes) = (Index::default(), BTreeMap::new());
    for project in projects {
        let all = complete(&fetcher, policy, project, (&state, &mut memory))?;
        index.add(&all, project);
        sizes.insert(project.name.clone(), all.checkpoint.size);
    }
    Ok((index, sizes))
}

fn tell(
    args: &ScanArgs,
    policy: &Policy,
    sizes: &BTreeMap<String, u64>,
    (seen, beside, bytes): (&Seen, &Beside, u64),
) -> Result<(), Fail> {
    if args.json {
        let findings: Vec<_> = seen.findings.iter().map(Finding::json).collect();
        let problem = |(place, problem): &(Place, Problem)| {
            let mut out = place_json(place);
            if let Some(fields) = out.as_object_mut() {
                fields.insert("kind".into(), problem.kind().into());
                fields.insert("why".into(), problem.to_string().into());
            }
            out
        };
        let problems: Vec<_> = seen.problems.iter().map(problem).collect();
        let skipped: Vec<_> = beside
            .skipped
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        let line = format!(
            "{}\n",
            json!({ "findings": findings, "problems": problems, "files": seen.files, "bytes": bytes,
                "ofReleases": seen.good, "links": beside.links, "special": beside.special, "skipped": skipped,
                "asOf": { "log": policy.log.origin, "treeSizes": sizes } })
        );
        use std::io::Write as _;
        let mut out = std::io::stdout();
        return written(out.write_all(line.as_bytes()).and_then(|()| out.flush()));
    }
    for (place, problem) in &seen.problems {
        let why = visible(&problem.to_string());
        eprintln!("not looked into: {place}: {why} [{}]", problem.kind());
    }
    for path in &beside.skipped {
        eprintln!(
            "skipped: {}: the kernel's, no files",
            visible(&path.display().to_string())
        );
    }
    for finding in &seen.findings {
        say!("{}", human(finding));
    }
    for (project, size) in sizes {
        sayln!(
            "{project}: complete as of tree size {size} of {}",
            visible(&policy.log.origin)
        );
    }
    sayln!(
        "{} files looked through, {} of releases that stand; {} found that are not to be trusted; {} not looked into; {} links not followed",
        seen.files,
        seen.good,
        seen.findings.len(),
        seen.problems.len(),
        beside.links
    );
    Ok(())
}

fn human(f: &Finding) -> String {
    use std::fmt::Write as _;
    let mut out = format!("FOUND: {}\n", f.place);
    if let Some(layer) = f.place.layer() {
        let _ = writeln!(out, "  in the layer {}", visible(&layer));
    }
    let sha256 = hex32(&f.sha256);
    let _ = match &f.release {
        Some((purl, index)) => writeln!(
            out,
            "  {}: {} of {} (entry {index}), sha256 {sha256}",
            f.kind,
            visible(purl),
            visible(&f.project)
        ),
        None => writeln!(
            out,
            "  {}: it has the name of an artifact of {}, and no release of it has this digest: sha256 {sha256}",
            f.kind,
            visible(&f.project)
        ),
    };
    if let Some(against) = &f.against {
        if let Some((_, at)) = &against.by {
            let when = at.time.map_or_else(|| "?".to_owned(), time);
            let _ = writeln!(out, "  by entry {}, {when}", at.index);
        }
        if let Some(reason) = &against.reason {
            let _ = writeln!(out, "  reason: {}", visible(reason));
        }
    }
    let _ = writeln!(
        out,
        "  next: keep a copy as evidence, remove it, and find what ran it since it came there"
    );
    out
}
