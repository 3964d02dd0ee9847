//! The watch on what is served (docs/monitoring.md, "Watching what is served"): addresses and
//! directories are fetched as several clients would, and compared with what the log says.

mod artifact;
mod bundle;
mod got;
mod history;
mod known;
mod parts;
mod progress;
mod quarantine;
mod round;
mod say;

use super::alert::{Class, Finding};
use super::config::{Config, Served, Watch};
use super::task::{Gauge, Poll, Task, directory};
use crate::cmd::address::{beside, last_segment};
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::policy::ProjectPolicy;
use got::{Way, address};
use history::{Histories, Looked, Trust};
use progress::Progress;
use quarantine::Quarantine;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Versions that `{version}` in an address stands for, at most: the newest.
const VERSIONS: usize = 20;
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
struct Context {
    shared: Arc<Shared>,
    trust: Arc<Trust>,
    project: ProjectPolicy,
    watch: Watch,
    ways: Arc<[Way]>,
}

impl Context {
    fn look(&self, after: Option<Instant>) -> Looked {
        let histories = &self.shared.histories;
        histories.look(&self.trust, &self.project, after)
    }
}

/// One address, and what should be there.
struct Target {
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
        let url = fill(url);
        let name = match &watch.artifact {
            Some(name) => fill(name),
            None => last_segment(&url)?,
        };
        let bundle = match watch.bundle.as_deref() {
            None => Some(beside(&url)),
            Some("none") => None,
            Some(other) => Some(fill(other)),
        };
        Ok(Self {
            url,
            name,
            version,
            bundle,
        })
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
        if watch.directory.is_some() || watch.kind == Served::Page {
            return Err(Fail::usage(
                "not-watched",
                "directories and pages are not watched yet",
            ));
        }
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
        let task = AddressTask::new(watch, &shared, &trust, ways, &config.state)?;
        if !names.insert(task.name.clone()) {
            return Err(Fail::usage(
                "watched-twice",
                format!("{} stands twice in the configuration", task.name),
            )
            .hint("watch it once: give one [[watch]] all user-agents and proxies"));
        }
        tasks.push(Box::new(task));
    }
    Ok(tasks)
}

/// An address, or one for each version.
struct AddressTask {
    name: String,
    context: Context,
    url: String,
    directory: PathBuf,
    /// What the last poll came to, until it is committed.
    after: Option<Progress>,
}

impl AddressTask {
    fn new(
        watch: &Watch,
        shared: &Arc<Shared>,
        trust: &Arc<Trust>,
        ways: Arc<[Way]>,
        state: &std::path::Path,
    ) -> Result<Self, Fail> {
        let url = watch.url.clone().unwrap_or_default();
        // A stand-in tells now whether the address has a name at all.
        let example = Target::new(watch, &url, Some("0".into()))?;
        let project = trust
            .policy
            .select(watch.project.as_deref(), &example.name)
            .map_err(|e| Fail::usage(e.kind(), e.to_string()).detail("watch", address(&url)))?;
        let name = format!("watch {}", address(&url));
        Ok(Self {
            directory: directory(state, &format!("watch {url}")),
            name,
            context: Context {
                shared: shared.clone(),
                trust: trust.clone(),
                project: project.clone(),
                watch: watch.clone(),
                ways,
            },
            url,
            after: None,
        })
    }

    /// What there is to look at; `None` where the log must say it and cannot be asked.
    fn targets(&self, out: &mut Poll) -> Option<Vec<Target>> {
        let watch = &self.context.watch;
        if !self.url.contains(VERSION) {
            return Target::new(watch, &self.url, None).ok().map(|t| vec![t]);
        }
        let looked = self.context.look(None);
        if let Some(fail) = &looked.fail {
            out.whole = false;
            out.findings.push(self.context.log_fails(fail));
        }
        let versions = looked.known?.versions(VERSIONS);
        let targets = versions
            .into_iter()
            .map(|v| Target::new(watch, &self.url, Some(v)));
        Some(targets.filter_map(Result::ok).collect())
    }
}

impl Task for AddressTask {
    fn name(&self) -> &str {
        &self.name
    }

    fn every(&self) -> u64 {
        self.context.watch.every
    }

    fn poll(&mut self, now: u64) -> Poll {
        let mut out = Poll {
            whole: true,
            ..Poll::default()
        };
        self.after = None;
        let (mut progress, mut commit) = (Progress::default(), true);
        match Progress::load(&self.directory) {
            Ok(loaded) => progress = loaded,
            Err(fail) => {
                // What is served is still looked at; what is known is not written over.
                commit = false;
                let finding = say::from_fail(
                    &fail,
                    Class::Operational,
                    "progress-unreadable",
                    self.name.clone(),
                );
                out.findings.push(finding);
            }
        }
        if let Some(targets) = self.targets(&mut out) {
            let mut targets_after = BTreeMap::new();
            for target in &targets {
                let mut seen = progress.targets.remove(&target.url).unwrap_or_default();
                artifact::poll(&self.context, target, &mut seen, &mut out, now);
                targets_after.insert(target.url.clone(), seen);
            }
            progress.targets = targets_after;
        }
        dedupe(&mut out.findings);
        let right = progress.targets.values().filter(|s| s.digest.is_some());
        out.gauges.push(Gauge {
            name: "watched_addresses",
            help: "Addresses of this watch at which something that stands in the log was served.",
            labels: Vec::new(),
            value: right.count() as f64,
        });
        self.after = commit.then_some(progress);
        out
    }

    fn commit(&mut self) -> Result<(), Fail> {
        match self.after.take() {
            Some(mut progress) => progress.save(&self.directory),
            None => Ok(()),
        }
    }
}

/// The same finding is said once.
fn dedupe(findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    findings.retain(|f| seen.insert(f.id()));
}
