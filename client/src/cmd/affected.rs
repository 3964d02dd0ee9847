//! `countersign affected`: which runs trusted what was later made void or withdrawn.

use super::common::{PolicyArgs, bytes_bar, load_memory, load_policy, named, state_path, time};
use super::complete::complete;
use crate::affected::lines::Lines;
use crate::affected::{Against, Found, History};
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::memory::Memory;
use crate::policy::{Policy, ProjectPolicy};
use crate::receipt::{Receipt, ReceiptError};
use clap::Args;
use indicatif::ProgressBar;
use ledger::{Hash, hex32};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Arguments of `affected`.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct AffectedArgs {
    /// The receipts: files as `--receipts` of verify, get and run wrote them; `-` is standard input
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    receipts: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Ask about this project alone; receipts of others are counted and left
    #[arg(long)]
    project: Option<String>,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Receipts that could not be judged are listed up to this many; all are counted.
const MOST_LISTED: usize = 1000;
/// Characters of a text of theirs that are kept.
const MOST_SHOWN: usize = 200;

/// Runs `affected`.
///
/// # Errors
/// Exit code 1 where something was trusted that is not to be; 3 where receipts could not be read or
/// judged; 2 for wrong usage.
pub fn run(args: &AffectedArgs) -> Result<(), Fail> {
    let policy = load_policy(&args.policy)?;
    let only = match &args.project {
        Some(name) => Some(hex32(&named(&policy, name)?.id)),
        None => None,
    };
    let state = state_path(&args.policy)?;
    let memory = load_memory(&state)?;
    let mut asked = Asked {
        fetcher: Fetcher::new(args.ca_file.as_deref())?,
        policy: &policy,
        state,
        memory,
        histories: HashMap::new(),
        sizes: BTreeMap::new(),
    };
    let stdout = std::io::stdout();
    let mut told = Told::new(BufWriter::new(stdout.lock()), args.json);
    let sizes = args.receipts.iter().filter_map(|f| f.metadata().ok());
    let bar = bytes_bar("receipts", sizes.map(|m| m.len()).sum());
    for path in &args.receipts {
        if let Err(fail) = one_file(path, only.as_deref(), &mut asked, &mut told, &bar) {
            bar.finish_and_clear();
            return Err(told.broken_off(fail));
        }
    }
    bar.finish_and_clear();
    told.end(&policy, &asked.sizes)
}

fn one_file(
    path: &Path,
    only: Option<&str>,
    asked: &mut Asked<'_>,
    told: &mut Told<impl Write>,
    bar: &ProgressBar,
) -> Result<(), Fail> {
    let bad = |e: std::io::Error| {
        Fail::usage("unreadable", format!("receipts {}: {e}", path.display()))
            .hint("what cannot be read is not passed over: name the files that can be, and look at this one")
    };
    let reader: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).map_err(bad)?),
    };
    let mut lines = Lines::new(BufReader::with_capacity(256 * 1024, reader));
    let mut since = 0;
    while let Some((number, line)) = lines.next().map_err(bad)? {
        let place = (path, number);
        let (line, receipt) = match line.and_then(|l| Ok((l, Receipt::parse(l)?))) {
            Ok(read) => read,
            Err(e) => {
                told.malformed(place, &e);
                continue;
            }
        };
        since += line.len() as u64 + 1;
        if since > 1 << 20 {
            bar.inc(std::mem::take(&mut since));
        }
        told.read += 1;
        if only.is_some_and(|id| id != receipt.project_id) {
            told.left += 1;
            continue;
        }
        match asked.history(&receipt)? {
            None => told.foreign(&receipt),
            Some(history) => match history.judge(&receipt) {
                Found::Good => {}
                Found::Newer(size) => told.newer(place, &receipt, size),
                Found::Bad(against) => told.affected(place, line, &receipt, against),
            },
        }
    }
    bar.inc(since);
    Ok(())
}

/// The histories that were asked for so far.
struct Asked<'a> {
    fetcher: Fetcher,
    policy: &'a Policy,
    state: PathBuf,
    memory: Memory,
    histories: HashMap<String, History>,
    /// Tree size that each is complete as of, by the project's name.
    sizes: BTreeMap<String, u64>,
}

impl Asked<'_> {
    /// The history of the project that the receipt is of; `None` where the policy has no such.
    fn history(&mut self, receipt: &Receipt<'_>) -> Result<Option<&History>, Fail> {
        let id = receipt.project_id.as_ref();
        if receipt.log != self.policy.log.origin {
            return Ok(None);
        }
        if !self.histories.contains_key(id) {
            let own = |p: &&ProjectPolicy| hex32(&p.id) == id;
            let Some(project) = self.policy.projects.iter().find(own) else {
                return Ok(None);
            };
            let at = (self.state.as_path(), &mut self.memory);
            let all = complete(&self.fetcher, self.policy, project, at)?;
            self.sizes.insert(project.name.clone(), all.checkpoint.size);
            self.histories
                .insert(id.to_owned(), History::new(&all, &project.id));
        }
        Ok(self.histories.get(id))
    }
}

/// What is told, as it is found: nothing of it is kept but counts.
struct Told<W> {
    out: W,
    json: bool,
    read: u64,
    left: u64,
    affected: u64,
    repeated: u64,
    seen: HashSet<Hash>,
    malformed: (u64, Vec<serde_json::Value>),
    /// Counts by log and project.
    foreign: BTreeMap<(String, String), u64>,
    hosts: HashSet<Hash>,
}

impl<W: Write> Told<W> {
    fn new(mut out: W, json: bool) -> Self {
        if json {
            let _ = write!(out, "{{\"affected\":[");
        }
        Self {
            out,
            json,
            read: 0,
            left: 0,
            affected: 0,
            repeated: 0,
            seen: HashSet::new(),
            malformed: (0, Vec::new()),
            foreign: BTreeMap::new(),
            hosts: HashSet::new(),
        }
    }

    fn affected(
        &mut self,
        (path, number): (&Path, u64),
        line: &[u8],
        receipt: &Receipt<'_>,
        against: &Against,
    ) {
        // The same line in two files is one run.
        if !self.seen.insert(ledger::sha256(line)) {
            self.repeated += 1;
            return;
        }
        self.affected += 1;
        if let Some(host) = &receipt.host {
            self.hosts.insert(ledger::sha256(host.as_bytes()));
        }
        if self.json {
            let mut value = against.shown(receipt);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("file".into(), path.display().to_string().into());
                fields.insert("line".into(), number.into());
            }
            let comma = if self.affected > 1 { "," } else { "" };
            let _ = write!(self.out, "{comma}{value}");
            return;
        }
        let _ = write!(self.out, "{}", human((path, number), receipt, against));
    }

    fn malformed(&mut self, (path, number): (&Path, u64), error: &ReceiptError) {
        self.unjudged(path, number, error.kind(), error.to_string());
    }

    fn newer(&mut self, (path, number): (&Path, u64), receipt: &Receipt<'_>, size: u64) {
        let why = format!(
            "it is of tree size {}, and the log shows {size}",
            receipt.head.size
        );
        self.unjudged(path, number, "newer-view", why);
    }

    fn unjudged(&mut self, path: &Path, number: u64, kind: &str, why: String) {
        self.malformed.0 += 1;
        let why: String = why.chars().take(MOST_SHOWN).collect();
        if self.malformed.1.len() < MOST_LISTED {
            let file = path.display().to_string();
            if !self.json {
                let why = visible(&why);
                eprintln!("not judged: {}:{number}: {why} [{kind}]", visible(&file));
            }
            let entry = json!({ "file": file, "line": number, "kind": kind, "why": why });
            self.malformed.1.push(entry);
        }
    }

    fn foreign(&mut self, receipt: &Receipt<'_>) {
        let cut = |text: &str| text.chars().take(MOST_SHOWN).collect::<String>();
        let key = (cut(&receipt.log), cut(&receipt.project));
        // What others name is not kept without end.
        let key = match self.foreign.contains_key(&key) || self.foreign.len() < MOST_LISTED {
            true => key,
            false => ("(more)".to_owned(), "(more)".to_owned()),
        };
        *self.foreign.entry(key).or_default() += 1;
    }

    /// What was found until then was told; the rest is not known.
    fn broken_off(mut self, fail: Fail) -> Fail {
        if self.json {
            let _ = writeln!(self.out, "],\"error\":{}}}", fail.json());
        }
        let _ = self.out.flush();
        let fail = match self.affected {
            0 => fail,
            n => fail.detail("affected until then", n.to_string()),
        };
        fail.shown_if(self.json)
    }

    fn end(mut self, policy: &Policy, sizes: &BTreeMap<String, u64>) -> Result<(), Fail> {
        let unjudged: u64 = self.malformed.0 + self.foreign.values().sum::<u64>();
        let of = |((log, project), runs): (&(String, String), &u64)| json!({ "log": log, "project": project, "receipts": runs });
        let foreign: Vec<_> = self.foreign.iter().map(of).collect();
        if self.json {
            let rest = json!({ "receipts": self.read, "affectedRuns": self.affected, "repeated": self.repeated,
                "hosts": self.hosts.len(), "malformed": self.malformed.1, "malformedLines": self.malformed.0,
                "notInPolicy": foreign, "otherProjects": self.left,
                "asOf": { "log": policy.log.origin, "treeSizes": sizes } });
            let rest = rest.to_string();
            let _ = writeln!(self.out, "],{}", rest.get(1..).unwrap_or_default());
        } else {
            let _ = self.out.flush();
            for (project, size) in sizes {
                let _ = writeln!(
                    self.out,
                    "{project}: complete as of tree size {size} of {}",
                    visible(&policy.log.origin)
                );
            }
            for ((log, project), runs) in &self.foreign {
                let of = format!("{project} of {log}");
                eprintln!(
                    "not judged: {runs} receipts of {}, which the policy does not have",
                    visible(&of)
                );
            }
            let _ = writeln!(
                self.out,
                "{} receipts read; {} trusted what is void or withdrawn, on {} named hosts; {} lines were there twice; {unjudged} not judged",
                self.read,
                self.affected,
                self.hosts.len(),
                self.repeated
            );
        }
        written(self.out.flush())?;
        if self.affected > 0 {
            let message = format!(
                "{} receipts trusted what is void or withdrawn",
                self.affected
            );
            return Err(Fail::untrusted("affected", message).shown());
        }
        if unjudged > 0 {
            let fail = Fail::unchecked("not-judged", format!("{unjudged} receipts were not judged"))
                .hint("look at the lines named; a policy that has these projects judges theirs, and --project asks about one alone");
            return Err(fail.shown_if(self.json));
        }
        Ok(())
    }
}

/// Whether all that was told went out. A reader that has gone away had enough.
pub(crate) fn written(result: std::io::Result<()>) -> Result<(), Fail> {
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Fail::usage(
            "output-unwritable",
            format!("standard output: {e}"),
        )
        .hint("what was written of the answer is not all of it")),
        _ => Ok(()),
    }
}

/// A run, for a person.
fn human((path, number): (&Path, u64), r: &Receipt<'_>, against: &Against) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let host = r.host.as_deref().unwrap_or("a host without a label");
    let _ = writeln!(
        out,
        "AFFECTED: {} {} of {} {} on {}, {} ({}:{number})",
        r.command.word(),
        visible(&r.artifact),
        visible(&r.project),
        visible(&r.version),
        visible(host),
        time(r.time),
        visible(&path.display().to_string())
    );
    let _ = write!(
        out,
        "  {}: release at entry {}",
        against.why.word(),
        r.index
    );
    if let Some((_, at)) = &against.by {
        let _ = write!(out, ", by entry {}", at.index);
        let when = |t: Option<u64>| t.map_or_else(|| "?".to_owned(), time);
        let _ = write!(
            out,
            "; window {} to {}",
            when(against.from.time),
            when(at.time)
        );
    }
    out.push('\n');
    if let Some(reason) = &against.reason {
        let _ = writeln!(out, "  reason: {}", visible(reason));
    }
    for step in against.next(r) {
        let _ = writeln!(out, "  next: {}", visible(&step));
    }
    out
}
