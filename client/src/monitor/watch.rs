//! The watch on what is served (docs/monitoring.md, "Watching what is served"): addresses and
//! directories are fetched as several clients would, and compared with what the log says.

mod addresses;
mod artifact;
mod bundle;
mod directory;
mod got;
mod history;
mod known;
mod page;
mod parts;
mod progress;
mod quarantine;
mod round;
mod say;

use super::alert::{Class, Finding};
use super::config::{Config, Served, Watch};
use super::task::{Poll, Task};
use crate::cmd::address::{beside, last_segment, percent_encoded};
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::policy::ProjectPolicy;
use addresses::AddressTask;
use directory::DirectoryTask;
use got::{Way, address, shown};
use history::{Histories, Looked, Trust};
use progress::{Progress, Seen};
use quarantine::Quarantine;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const VERSION: &str = "{version}";

/// What all watches share.
#[derive(Debug)]
struct Shared {
    state: PathBuf,
    fetcher: Fetcher,
    quarantine: Quarantine,
    histories: Histories,
}

/// User-Agents and proxies.
type Clients = (Vec<String>, Vec<String>);

/// What one watch is about, and how it looks.
#[derive(Clone)]
struct Context {
    shared: Arc<Shared>,
    trust: Arc<Trust>,
    project: ProjectPolicy,
    watch: Watch,
    ways: Arc<[Way]>,
}

impl Context {
    /// Looks at one address or file, as what it is.
    fn poll(
        &self,
        target: &Target,
        seen: &mut Seen,
        out: &mut Poll,
        now: u64,
        fetching: artifact::Fetching<'_>,
    ) {
        match self.watch.kind {
            Served::Artifact => artifact::poll((self, target), seen, out, now, fetching),
            Served::Page => page::poll((self, target), seen, out, now, fetching),
        }
    }

    fn look(&self, after: Option<Instant>) -> Looked {
        let histories = &self.shared.histories;
        histories.look(&self.trust, &self.project, after)
    }
}

/// Where something is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Address,
    File,
}

/// One address or file, and what should be there.
struct Target {
    place: Place,
    url: String,
    name: String,
    version: Option<Arc<str>>,
    bundle: Option<String>,
}

impl Target {
    fn new(watch: &Watch, url: &str, version: Option<Arc<str>>) -> Result<Self, Fail> {
        let fill = |text: &str| match &version {
            Some(version) => text.replace(VERSION, version),
            None => text.to_owned(),
        };
        let encoded = |text: &str| match &version {
            Some(version) => text.replace(VERSION, &percent_encoded(version, "+")),
            None => text.to_owned(),
        };
        let url = encoded(url);
        let name = match &watch.artifact {
            Some(name) => fill(name),
            None => last_segment(&url)?,
        };
        let bundle = match watch.bundle.as_deref() {
            None => Some(beside(&url)),
            Some("none") => None,
            Some(other) => Some(encoded(other)),
        };
        Ok(Self {
            place: Place::Address,
            url,
            name,
            version,
            bundle,
        })
    }

    /// What it is called in an alert.
    fn subject(&self) -> String {
        match self.place {
            Place::Address => address(&self.url),
            Place::File => shown(&self.url),
        }
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// The tasks of a configuration's `[[watch]]` entries.
///
/// # Errors
/// Exit code 2: a policy, project, name or proxy that is of no use, or a state directory that
/// cannot be written.
pub fn tasks(config: &Config) -> Result<Vec<Box<dyn Task>>, Fail> {
    if config.watches.is_empty() {
        return Ok(Vec::new());
    }
    let ca_file = config.ca_file.as_deref();
    let shared = Arc::new(Shared {
        state: config.state.clone(),
        fetcher: Fetcher::observer(ca_file)?,
        quarantine: Quarantine::open(&config.state, config.quarantine_max_bytes)?,
        histories: Histories::new(Fetcher::observer(ca_file)?),
    });
    let mut policies: BTreeMap<PathBuf, Arc<Trust>> = BTreeMap::new();
    let mut ways: BTreeMap<Clients, Arc<[Way]>> = BTreeMap::new();
    let mut names = BTreeSet::new();
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for watch in &config.watches {
        let policy = watch.policy.as_ref();
        let policy = policy.or_else(|| config.logs.first().map(|l| &l.policy));
        let policy = policy
            .ok_or_else(|| Fail::usage("no-policy", "a [[watch]] has no policy to be judged by"))?;
        let trust = match policies.get(policy) {
            Some(trust) => trust.clone(),
            None => {
                let trust = Arc::new(Trust::load(policy, &config.state)?);
                policies.insert(policy.clone(), trust.clone());
                trust
            }
        };
        let key = (watch.user_agents.clone(), watch.proxies.clone());
        let ways = match ways.get(&key) {
            Some(ways) => ways.clone(),
            None => {
                let made: Arc<[Way]> = Way::all(&watch.user_agents, &watch.proxies)?.into();
                ways.insert(key, made.clone());
                made
            }
        };
        let task: Box<dyn Task> = match &watch.directory {
            None => Box::new(AddressTask::new(watch, &shared, &trust, ways)?),
            Some(at) => Box::new(DirectoryTask::new(watch, at, &shared, &trust)?),
        };
        if !names.insert(task.name().to_owned()) {
            return Err(Fail::usage(
                "watched-twice",
                format!("{} stands twice in the configuration", task.name()),
            )
            .hint("watch it once: give one [[watch]] all user-agents and proxies"));
        }
        tasks.push(task);
    }
    Ok(tasks)
}

/// What a task remembers, and whether what it learns may be kept: what cannot be read is not
/// written over, and what is served is looked at all the same.
fn load(directory: &Path, name: &str, out: &mut Poll) -> (Progress, bool) {
    match Progress::load(directory) {
        Ok(progress) => (progress, true),
        Err(fail) => {
            let (class, kind) = (Class::Operational, "progress-unreadable");
            let finding = say::from_fail(&fail, class, kind, name.to_owned());
            out.findings.push(finding);
            (Progress::default(), false)
        }
    }
}

/// The same finding is said once.
fn dedupe(findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    findings.retain(|f| seen.insert(f.id()));
}
