//! An address that is watched, or one for each version.

use super::got::{Fetch, Marks, Way, address};
use super::history::Trust;
use super::progress::{Progress, Seen};
use super::round::Round;
use super::{Context, Shared, Target, VERSION, dedupe, load};
use crate::fail::Fail;
use crate::monitor::config::Watch;
use crate::monitor::task::{Gauge, Poll, Task, directory};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Versions that `{version}` in an address stands for, at most: the newest.
const VERSIONS: usize = 20;

/// An address, or one for each version.
pub(super) struct AddressTask {
    name: String,
    context: Context,
    url: String,
    directory: PathBuf,
    /// What the last poll came to, until it is committed.
    after: Option<Progress>,
}

impl AddressTask {
    pub(super) fn new(
        watch: &Watch,
        shared: &Arc<Shared>,
        trust: &Arc<Trust>,
        ways: Arc<[Way]>,
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
            directory: directory(&shared.state, &format!("watch {url}")),
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

    fn look(&self, target: &Target, seen: &mut Seen, out: &mut Poll, now: u64) {
        let context = &self.context;
        let fetching = |limit: u64, marks: Option<&Marks>| {
            let fetch = Fetch {
                fetcher: &context.shared.fetcher,
                quarantine: &context.shared.quarantine,
                url: &target.url,
                limit,
                within: Duration::from_secs(context.watch.timeout),
            };
            Round::fetch(&fetch, &context.ways, marks)
        };
        context.poll(target, seen, out, now, &fetching);
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
        let (mut progress, commit) = load(&self.directory, &self.name, &mut out);
        if let Some(targets) = self.targets(&mut out) {
            let mut targets_after = BTreeMap::new();
            for target in &targets {
                let mut seen = progress.targets.remove(&target.url).unwrap_or_default();
                self.look(target, &mut seen, &mut out, now);
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
        Progress::commit(&mut self.after, &self.directory)
    }
}
