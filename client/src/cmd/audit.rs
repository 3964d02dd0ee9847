//! `countersign audit`: is all of a log as it must be, and of one history with what was seen?

use super::common::{PolicyArgs, load_policy, log_url, now};
use crate::audit::{Address, Options, Place};
use crate::fail::{Fail, UNTRUSTED, visible};
use crate::fetch::{Fetcher, is_web};
use clap::Args;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Workers that hide the time that a network takes; each has a few bundles in memory.
const OVER_A_NETWORK: usize = 8;
/// How often it is said that an answer is waited for.
const SAY: Duration = Duration::from_secs(5);

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The log's address [default: the policy's]
    #[arg(long, value_name = "URL", conflicts_with = "tiles")]
    log: Option<String>,
    /// A directory with the log's checkpoint and tiles, such as a mirror
    #[arg(long, value_name = "DIR")]
    tiles: Option<PathBuf>,
    /// The policy file: the log's keys, and whose cosignatures count [default: the user's]
    #[arg(long, env = "COUNTERSIGN_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where the audit is kept: how far it came, and which checkpoints it saw. One directory a log
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Keep a verified copy here, which any web server can serve
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
    /// The log is not a countersign log: check hashes, tiles and signatures, and read no entry
    #[arg(long)]
    plain: bool,
    /// Threads [default: one a core, over a network at least 8]
    #[arg(long, value_name = "N")]
    workers: Option<NonZero<usize>>,
    /// For how many seconds a request that fails is made again
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print one JSON object, and no progress
    #[arg(long)]
    json: bool,
}

/// Runs `audit`.
///
/// # Errors
/// Exit code 1 where the log is not sound, 3 where it could not be read, 2 for wrong usage.
pub fn run(args: &AuditArgs) -> Result<(), Fail> {
    let policy = load_policy(&PolicyArgs {
        policy: args.policy.clone(),
        state: None,
    })?;
    let place = match &args.tiles {
        Some(dir) => Place::Directory(dir.clone()),
        None => Place::Address(Address {
            fetcher: Fetcher::new(args.ca_file.as_deref())?,
            url: address(&log_url(args.log.as_deref(), Some(&policy))?)?,
            patience: Duration::from_secs(args.patience),
            waits: Box::new(says()),
        }),
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = match (&place, args.workers) {
        (Place::Address(_), None) => NonZero::new(cores.max(OVER_A_NETWORK)),
        (_, given) => given,
    };
    let report = crate::audit::run(&Options {
        policy: &policy,
        place,
        state: args.state.clone(),
        mirror: args.mirror.clone(),
        plain: args.plain,
        workers,
        quiet: args.json,
        now: now(),
    })?;
    if args.json {
        sayln!("{}", report.json());
    } else {
        say!("{}", report.text());
    }
    match report.code() {
        0 => Ok(()),
        UNTRUSTED => Err(Fail::untrusted("not-sound", "the log is not sound").shown()),
        _ => Err(Fail::unchecked("log-unreadable", "the log could not be read").shown()),
    }
}

/// What is no address is wrong usage, and no network that fails.
fn address(url: &str) -> Result<String, Fail> {
    if is_web(url) {
        return Ok(url.to_owned());
    }
    Err(
        Fail::usage("bad-url", "the log's address is no http or https address")
            .detail("url", url)
            .hint("for a directory use --tiles DIR"),
    )
}

/// Says on standard error, now and then, what is waited for.
fn says() -> impl Fn(&str) + Sync {
    let last: Mutex<Option<Instant>> = Mutex::new(None);
    move |what| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| at.elapsed() >= SAY) {
            *last = Some(Instant::now());
            eprintln!("waiting: {}", visible(what));
        }
    }
}
