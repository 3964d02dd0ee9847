//! `countersign-load`: submits releases that were signed beforehand, and measures what the
//! log does with them. For benchmarks; a log that people rely on has no use for its entries.
#![forbid(unsafe_code)]

use clap::{ArgGroup, Parser};
use countersign::cmd::common::now;
use countersign::memory::Memory;
use countersign::policy::{Policy, ProjectPolicy};
use countersign::verify::{Artifact, Wanted, verify};
use countersign_tests::load::drive::{Drive, Loop};
use countersign_tests::load::process::listening;
use countersign_tests::load::stock::Publisher;
use countersign_tests::load::tally::Tally;
use countersign_tests::load::{Beside, run};
use countersign_tests::wire::{Connection, Place};
use keys::SecretKey;
use keys::file::{AnySecret, Passphrase, read_secret};
use ledger::bundle::Bundle;
use ledger::leaf::Leaf;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const AFTER: &str = "\
How to measure a server on one core, with the load on another:
  taskset -c 0 countersign-server serve --data DIR --admit open
  taskset -c 1 countersign-load --log http://127.0.0.1:8080 --new-project bench --releases 50000 --connections 64

Closed loop (--connections): each of C publishers waits for its bundle before it sends the next
release. It finds the peak. Open loop (--rate): releases are due at fixed times, whatever the log
does, and each latency counts from the time at which its release was due. It finds what publishers
wait at a given load, and what happens above the peak: the log answers 503, and nothing queues here.
A release that is due while every connection waits for an answer is counted as not sent.

The ratio compares the releases accepted in a second with the P-256 verifications that one core makes
in a second, measured in the same run: 1.0 would be a server that does nothing else.

Exit codes: 0 done (503 and 429 are no errors of the run, but are counted); 1 other errors came
back, or a bundle did not verify; 2 wrong usage, or the log could not be reached.";

/// Submit releases that were signed beforehand, and measure.
#[derive(Parser)]
#[command(name = "countersign-load", version, after_help = AFTER)]
#[command(group(ArgGroup::new("who").required(true).args(["project", "new_project"])))]
struct Args {
    /// The log, as http://HOST:PORT
    #[arg(long, value_name = "URL")]
    log: String,
    /// An admitted project
    #[arg(long, value_name = "NAME", requires = "key")]
    project: Option<String>,
    /// One of its release keys (encrypted: COUNTERSIGN_PASSPHRASE)
    #[arg(long, value_name = "KEY", conflicts_with = "new_project")]
    key: Option<PathBuf>,
    /// Found a project PREFIX/load-TIME with keys that are forgotten afterwards; the log must
    /// run with --admit open
    #[arg(long, value_name = "PREFIX")]
    new_project: Option<String>,
    /// Distinct releases to sign; each takes about 1 KB of memory
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    releases: u64,
    /// Closed loop: publishers at once [default: 16]
    #[arg(long, value_name = "C", conflicts_with = "rate", value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: Option<u16>,
    /// Open loop: releases a second
    #[arg(long, value_name = "R", value_parser = positive)]
    rate: Option<f64>,
    /// Open loop: answers waited for at once at most
    #[arg(long, value_name = "C", default_value_t = 2048, requires = "rate", value_parser = clap::value_parser!(u16).range(1..=16_384))]
    max_connections: u16,
    /// End after so many seconds, and until then offer again what found no room (503, 429);
    /// else each release is offered once
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    duration: Option<f64>,
    /// Seconds at the beginning that are not measured
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = not_negative)]
    warmup: f64,
    /// Share of submissions, 0 to 0.9, that repeat a release which was accepted
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    duplicates: f64,
    /// Threads that read random full tiles, entry bundles and checkpoints at once
    #[arg(long, value_name = "R", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    readers: u16,
    /// Reads a second of all readers together [default: as many as they can]
    #[arg(long, value_name = "N", requires = "readers", value_parser = positive)]
    read_rate: Option<f64>,
    /// Verify each bundle afterwards by this policy, which `countersign project init` wrote
    #[arg(long, value_name = "POLICY", conflicts_with = "new_project")]
    verify: Option<PathBuf>,
    /// The server's process [default: whoever listens at the log's port, if it is yours]
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn number(text: &str, good: fn(f64) -> bool, want: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("want {want}"))?;
    if value.is_finite() && good(value) {
        Ok(value)
    } else {
        Err(format!("want {want}"))
    }
}

fn positive(text: &str) -> Result<f64, String> {
    number(
        text,
        |v| (0.001..=1e7).contains(&v),
        "a number from 0.001 to 10000000",
    )
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(
        text,
        |v| (0.0..=1e6).contains(&v),
        "a number from 0 to 1000000",
    )
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |v| (0.0..=0.9).contains(&v), "a number from 0 to 0.9")
}

fn main() -> ExitCode {
    match load(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("countersign-load: {why}");
            ExitCode::from(2)
        }
    }
}

/// Runs; false where errors came back that are not a want of room.
fn load(args: &Args) -> Result<bool, String> {
    let place = Place::parse(&args.log)?;
    let policy = args.verify.as_deref().map(read_policy).transpose()?;
    let mut log = Connection::new(&place, Duration::from_secs(60));
    let (publisher, key) = match (&args.new_project, &args.project, &args.key) {
        (Some(prefix), ..) => Publisher::found(&mut log, prefix)?,
        (None, Some(name), Some(path)) => {
            let key = read_key(path)?;
            (Publisher::look_up(&mut log, name)?, key)
        }
        _ => return Err("want --project NAME --key KEY, or --new-project PREFIX".into()),
    };
    drop(log);
    let server = args.server_pid.or_else(|| listening(place.addr));
    let started = Instant::now();
    let shown = Mutex::new(Instant::now());
    let requests = publisher.requests(args.releases, &key, &place.host, &|done| {
        let total = args.releases;
        if due(&shown) || done as u64 == total {
            status(&format!("signed {done} of {total} releases"));
        }
    })?;
    let signing = started.elapsed();
    let how = match args.rate {
        Some(rate) => Loop::Open {
            rate,
            connections: args.max_connections.into(),
        },
        None => Loop::Closed {
            connections: args.connections.unwrap_or(16).into(),
        },
    };
    let drive = Drive {
        place,
        how,
        requests,
        duplicates: args.duplicates,
        duration: args.duration.map(Duration::from_secs_f64),
        warmup: Duration::from_secs_f64(args.warmup),
        keep: policy.is_some(),
    };
    let beside = Beside {
        server,
        readers: args.readers.into(),
        reads: args.read_rate,
    };
    let mut progress = |tally: &Tally| {
        let errors: u64 = tally.errors.values().sum();
        let (seconds, accepted) = (tally.elapsed(), tally.accepted);
        status(&format!(
            "{seconds:.1} s: {accepted} accepted, {errors} errors"
        ));
    };
    let mut report = run(&publisher, &key, signing, drive, beside, &mut progress)?;
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    if let Some(policy) = &policy {
        let project = policy.select(Some(&publisher.name), "");
        let project = project.map_err(|e| e.to_string())?;
        let mut each = |bytes: &[u8]| check(bytes, policy, project);
        match report.tally.bundles(&mut each) {
            Ok(count) => report.verified = Some(count),
            Err(why) => {
                eprintln!("countersign-load: {why}");
                return Ok(false);
            }
        }
    }
    let text = if args.json {
        format!("{}\n", report.json())
    } else {
        report.text()
    };
    // A reader that has gone away is no error: the exit code says what it has to say.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let errors: u64 = report.tally.errors.values().sum();
    let read_errors = report.reads.is_some_and(|r| !r.errors.is_empty());
    Ok(errors == report.tally.turned_away && !read_errors)
}

fn due(shown: &Mutex<Instant>) -> bool {
    let Ok(mut shown) = shown.try_lock() else {
        return false;
    };
    let due = shown.elapsed() >= Duration::from_millis(200);
    if due {
        *shown = Instant::now();
    }
    due
}

/// One line that is written over, for somebody who watches.
fn status(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

fn read_key(path: &Path) -> Result<SecretKey, String> {
    let passphrase = Passphrase::Env("COUNTERSIGN_PASSPHRASE".into());
    match read_secret(path, &passphrase).map_err(|e| e.to_string())? {
        AnySecret::P256(key) => Ok(key),
        _ => Err(format!(
            "{}: a log's key; releases are signed with a P-256 key",
            path.display()
        )),
    }
}

fn read_policy(path: &Path) -> Result<Policy, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|e| format!("{}: {e}", path.display()))?;
    Policy::parse_toml(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// A bundle as a downloader would verify it, for the artifact that it was released with.
fn check(bytes: &[u8], policy: &Policy, project: &ProjectPolicy) -> Result<(), String> {
    let bundle = Bundle::parse(bytes).map_err(|e| e.to_string())?;
    let index = bundle.entry.index;
    let bad = |why: String| format!("the bundle of entry {index} does not verify: {why}");
    let Ok(Leaf::Statement(leaf)) = Leaf::parse(&bundle.entry.leaf) else {
        return Err(bad("its leaf is no statement".into()));
    };
    let subject = leaf.statement.subject.first();
    let subject = subject.ok_or_else(|| bad("it has no artifact".into()))?;
    let artifact = Artifact {
        name: &subject.name,
        sha256: subject.sha256,
        size: subject.size.unwrap_or(0),
    };
    let wanted = Wanted {
        project,
        version: None,
        no_rollback: false,
    };
    let memory = Memory::default();
    verify(&artifact, &wanted, &bundle, policy, &memory, now())
        .map(|_| ())
        .map_err(|e| bad(e.to_string()))
}
