//! Following logs (docs/monitoring.md, "Following logs"): what of each log is looked at, as
//! tasks. A task judges what is new by what was announced, and says what is not as it was signed.

mod evidence;
mod heads;
mod judge;
mod kept;
mod leaves;
mod look;
mod reading;
mod shown;
mod statement;
mod timer;
mod watched;
mod witnesses;

use super::alert::{Class, Finding};
use super::announced::{Announced, check_places};
use super::config::{Config, Follow};
use super::task::{Gauge, Task};
use crate::cmd::common::{PolicyArgs, load_policy};
use crate::cmd::history::{Against, no_url};
use crate::fail::{Fail, UNTRUSTED, USAGE, visible};
use crate::fetch::Fetcher;
use crate::memory::SeenCheckpoint;
use crate::policy::Policy;
use ledger::{KeyId, from_hex32};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A poll takes up no more of a backlog after this, in seconds, and proves what it has.
const POLL_SECONDS: u64 = 60;
/// A poll is over after this: a log that answers slowly keeps no thread from the others.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the configuration wants of each log: heads of its projects or its leaves, and its
/// witnesses.
///
/// # Errors
/// Exit code 2.
pub fn tasks(config: &Config) -> Result<Vec<Box<dyn Task>>, Fail> {
    check_places(config)?;
    let fetcher = Fetcher::new(config.ca_file.as_deref())?;
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for log in &config.logs {
        let followed = Arc::new(Followed::new(config, log, &fetcher)?);
        match log.follow {
            Follow::Heads => {
                for project in &followed.policy.projects {
                    let followed = Arc::clone(&followed);
                    tasks.push(Box::new(heads::Heads::new(followed, project.clone())));
                }
            }
            Follow::Leaves => tasks.push(Box::new(leaves::Leaves::new(Arc::clone(&followed)))),
        }
        let witnesses = followed.policy.witnesses.witnesses().iter();
        for witness in witnesses.filter(|_| log.witnesses) {
            if let Some(url) = &witness.url {
                let followed = Arc::clone(&followed);
                let task = witnesses::Witness::new(followed, &witness.name, url);
                tasks.push(Box::new(task));
            }
        }
    }
    let mut names = BTreeSet::new();
    match tasks.iter().find(|task| !names.insert(task.name())) {
        Some(twice) => Err(Fail::usage(
            "log-followed-twice",
            format!("{} is configured twice", twice.name()),
        )
        .hint("two policies of one log are two [[log]] with other projects, of which one asks the witnesses")),
        None => Ok(tasks),
    }
}

/// A log that is followed: what all its tasks share.
struct Followed {
    policy: Policy,
    fetcher: Fetcher,
    /// The directory of all that is kept.
    state: PathBuf,
    /// The file beside which evidence is kept.
    beside: PathBuf,
    every: u64,
    unreadable_after: u64,
    keys: BTreeSet<KeyId>,
    announced: Announced,
    /// The newest checkpoint that any of them has proven since the start.
    newest: Mutex<Option<SeenCheckpoint>>,
}

impl Followed {
    fn new(config: &Config, log: &super::config::Log, fetcher: &Fetcher) -> Result<Self, Fail> {
        let policy = load_policy(&PolicyArgs {
            policy: Some(log.policy.clone()),
            state: None,
        })?;
        if policy.log.url.is_none() && policy.log.mirrors.is_empty() {
            let file = log.policy.display().to_string();
            return Err(no_url().detail("file", file));
        }
        let key = |text: &String| {
            from_hex32(text).map(KeyId).ok_or_else(|| {
                Fail::usage("bad-key-id", format!("keys: {text:?} is no key id")).hint(
                    "a key id is 64 lower-case hexadecimal digits: `countersign keys show FILE`",
                )
            })
        };
        Ok(Self {
            policy,
            fetcher: fetcher.clone(),
            state: config.state.clone(),
            beside: config.state.join("state"),
            every: log.every,
            unreadable_after: log.unreadable_after,
            keys: log.keys.iter().map(key).collect::<Result<_, _>>()?,
            announced: Announced::new(&log.expected),
            newest: Mutex::new(None),
        })
    }

    fn origin(&self) -> &str {
        &self.policy.log.origin
    }

    fn ours(&self) -> Against<'_> {
        Against {
            policy: &self.policy,
            state: &self.beside,
        }
    }

    /// Where the log is asked, in order.
    fn urls(&self) -> impl Iterator<Item = &str> {
        let log = &self.policy.log;
        let urls = log.url.iter().chain(&log.mirrors);
        urls.map(|url| url.trim_end_matches('/'))
    }

    fn newest(&self) -> Option<SeenCheckpoint> {
        let newest = self.newest.lock();
        newest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a checkpoint that was proven to go on from what was seen before.
    fn saw(&self, checkpoint: &SeenCheckpoint) {
        let newest = self.newest.lock();
        let mut newest = newest.unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|n| n.size < checkpoint.size) {
            *newest = Some(checkpoint.clone());
        }
    }

    /// Two trees of one size, of which both were signed.
    fn forked(&self, what: String, one: &SeenCheckpoint, other: &SeenCheckpoint) -> Fail {
        let fail = Fail::untrusted("fork", what)
            .hint("keep both checkpoints and publish them: they prove that the log lied");
        let notes = (one.checkpoint.as_str(), other.checkpoint.as_str());
        self.ours().of_one_size(notes, fail)
    }

    /// Seconds between two polls that count as time that passed: the monitor itself may have
    /// stood still.
    fn most_between(&self) -> u64 {
        (2 * self.every).max(600)
    }

    /// What is said of a checkpoint that was proven, with leaves that are still to be read.
    fn gauges(&self, checkpoint: &SeenCheckpoint, left: u64) -> [Gauge; 3] {
        [
            self.gauge("log_size_leaves", "Leaves of the newest checkpoint that was proven.", checkpoint.size),
            self.gauge("log_view_time_seconds", "When the policy's witnesses saw the newest checkpoint, Unix seconds; 0 without witnesses.", checkpoint.view_time),
            self.lag(left),
        ]
    }

    fn lag(&self, leaves: u64) -> Gauge {
        let help = "Leaves that are committed to and not read yet.";
        self.gauge("log_lag_leaves", help, leaves)
    }

    fn received(&self, fetcher: &Fetcher) -> Gauge {
        let help = "Bytes that the last poll received.";
        self.gauge("poll_received_bytes", help, fetcher.received())
    }

    fn gauge(&self, name: &'static str, help: &'static str, value: u64) -> Gauge {
        #[allow(
            clippy::cast_precision_loss,
            reason = "metrics are floating-point numbers"
        )]
        let value = value as f64;
        let labels = vec![("log", self.origin().to_owned())];
        Gauge {
            name,
            help,
            labels,
            value,
        }
    }
}

/// A failure as a finding. What only the log's keys could have made is tampering; all else could
/// be anybody's on the way, or nobody's.
fn finding(fail: Fail, subject: &str) -> Finding {
    let class = match fail.code {
        UNTRUSTED => Class::Tampering,
        USAGE => Class::Operational,
        _ => Class::Degraded,
    };
    let mut finding = Finding::new(class, &fail.kind, subject, visible(&fail.message));
    finding.details = fail.details;
    finding.hint = fail.hint.unwrap_or_default();
    finding
}

/// `text` for people: at most so many characters, none of which steers a terminal.
fn short(text: &str) -> String {
    visible(&text.chars().take(400).collect::<String>())
}
