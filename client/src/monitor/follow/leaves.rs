//! A log followed by reading every leaf: also what other projects say with this project's keys,
//! and names that look like its own.

use super::judge::Judge;
use super::kept::{Kept, Store};
use super::reading::{Batch, Reading};
use super::shown::{connected, latest};
use super::watched::Watched;
use super::{Followed, PATIENCE, finding};
use crate::cmd::history::somewhere;
use crate::fail::{Fail, UNCHECKED, UNTRUSTED};
use crate::fetch::Fetcher;
use crate::memory::SeenCheckpoint;
use crate::monitor::announced::Announced;
use crate::monitor::task::{Poll, Record, Task};
use crate::signed::max_age;
use std::sync::Arc;
use std::time::Instant;

/// `leaves ORIGIN`.
pub(super) struct Leaves {
    name: String,
    subject: String,
    followed: Arc<Followed>,
    announced: Announced,
    store: Store,
}

impl Leaves {
    pub(super) fn new(followed: Arc<Followed>) -> Self {
        let subject = followed.origin().to_owned();
        let name = format!("leaves {subject}");
        let store = Store::new(&followed.state, &name, followed.origin());
        let announced = followed.announced.share();
        Self {
            name,
            subject,
            followed,
            announced,
            store,
        }
    }

    /// The newest checkpoint that the log, or else a mirror, shows, and the server that does.
    fn checkpoint(
        &self,
        kept: &Kept,
        fetcher: &Fetcher,
        now: u64,
    ) -> Result<(SeenCheckpoint, &str), Fail> {
        let followed = &self.followed;
        let seen = kept.memory.logs.get(followed.origin());
        somewhere(&followed.policy, |url| {
            let shown = latest(followed, fetcher, url, seen, now)?;
            let shown = shown.ok_or_else(|| {
                Fail::unchecked("log-absent", "the log shows no checkpoint")
                    .detail("url", url)
                    .hint("see the log; something else may be served at its address")
            })?;
            Ok((shown, url))
        })
    }

    /// Looks, and says whether all was read.
    fn look(
        &mut self,
        kept: &mut Kept,
        fetcher: &Fetcher,
        poll: &mut Poll,
        now: u64,
    ) -> Result<bool, Fail> {
        let begun = Instant::now();
        let (checkpoint, url) = self.checkpoint(kept, fetcher, now)?;
        let (url, followed) = (url.to_owned(), Arc::clone(&self.followed));
        let seen = kept.memory.logs.get(followed.origin()).cloned();
        self.gauges(&checkpoint, kept, poll);
        let linked = seen
            .iter()
            .chain(&followed.newest())
            .try_for_each(|seen| connected(&followed, fetcher, &url, seen, &checkpoint));
        if let Err(fail) = &linked
            && fail.code == UNTRUSTED
        {
            return Err(fail.clone());
        }
        if let Some(seen) = &seen
            && checkpoint.size < seen.size
        {
            return Err(Fail::unchecked(
                "stale-checkpoint",
                "the log shows an older checkpoint than before",
            )
            .detail("url", url)
            .detail("expected", format!("tree size {} or later", seen.size))
            .detail("got", format!("tree size {}", checkpoint.size))
            .hint(
                "a cache may be old, or the log was set back: what was added since is not shown",
            ));
        }
        // From here on the log answers, and has signed that there is more to read.
        let reading = Reading {
            followed: &followed,
            fetcher,
            url: &url,
            begun,
        };
        let read = linked.and_then(|()| reading.read(&kept.read, &checkpoint));
        let batch = read.map_err(|fail| self.withheld(fail, kept, &checkpoint, now))?;
        kept.withheld.clear();
        let whole = batch.tree.size() == checkpoint.size;
        self.take(kept, batch, poll, now);
        if whole {
            followed.saw(&checkpoint);
            let memory = &mut kept.memory;
            memory.learn_checkpoint(followed.origin(), &checkpoint);
        }
        let at = Some(checkpoint.view_time).filter(|time| *time > 0);
        max_age(followed.policy.max_age, at, now).map_err(|r| {
            Fail::unchecked(
                "stale-checkpoint",
                format!("the witnesses' view of the log is too old: {r}"),
            )
            .detail("url", url)
            .hint("the log or its witnesses stand still, or an old answer is served there")
        })?;
        Ok(whole)
    }

    fn gauges(&self, checkpoint: &SeenCheckpoint, kept: &Kept, poll: &mut Poll) {
        let left = checkpoint.size.saturating_sub(kept.read.size());
        let help = "Leaves of kinds that this version does not know.";
        let unknown = self
            .followed
            .gauge("log_unknown_leaves", help, kept.unknown);
        let known = self.followed.gauges(checkpoint, left);
        poll.gauges.extend(known.into_iter().chain([unknown]));
    }

    /// What a log signed and does not show becomes suspicious with time.
    fn withheld(&self, fail: Fail, kept: &mut Kept, at: &SeenCheckpoint, now: u64) -> Fail {
        if fail.code == UNTRUSTED {
            return fail;
        }
        let most = self.followed.most_between();
        let seconds = kept.withheld.running(now, most);
        let fail = fail
            .detail("checkpoint", at.checkpoint.trim_end())
            .detail("unread from index", kept.read.size().to_string())
            .detail("seconds so far", seconds.to_string());
        if seconds < self.followed.unreadable_after {
            return Fail {
                kind: "leaves-unreadable".into(),
                code: UNCHECKED,
                ..fail
            };
        }
        Fail {
            kind: "leaves-withheld".into(),
            code: UNTRUSTED,
            message: format!(
                "for {seconds} s the log has shown a signed checkpoint whose leaves cannot be read: {}",
                fail.message
            ),
            ..fail
        }
        .hint("ask the log's operator, and do not use what was released since; others may be shown what you are not")
    }

    /// What was held back is due whatever the log does.
    fn again(&mut self, kept: &mut Kept, poll: &mut Poll, now: u64) {
        let mut judge = Judge {
            origin: self.followed.origin(),
            announced: &mut self.announced,
            pending: &mut kept.pending,
            poll,
            now,
        };
        judge.again();
    }

    /// Judges what was read.
    fn take(&mut self, kept: &mut Kept, batch: Batch, poll: &mut Poll, now: u64) {
        let followed = Arc::clone(&self.followed);
        let mut pending = std::mem::take(&mut kept.pending);
        let mut judge = Judge {
            origin: followed.origin(),
            announced: &mut self.announced,
            pending: &mut pending,
            poll,
            now,
        };
        let mut watched = Watched::new(&followed, kept);
        for (index, bytes) in batch.leaves {
            watched.leaf(index, bytes, &mut judge);
        }
        let unknown = watched.end(&mut judge);
        if unknown > 0 {
            let kind = "unknown-leaves".to_owned();
            let message = format!(
                "{unknown} leaves are of kinds that this version does not know; they confer nothing"
            );
            let subject = self.subject.clone();
            let details = Vec::new();
            poll.records.push(Record {
                kind,
                subject,
                message,
                details,
            });
        }
        kept.pending = pending;
        kept.read = batch.tree;
    }
}

impl Task for Leaves {
    fn name(&self) -> &str {
        &self.name
    }

    fn every(&self) -> u64 {
        self.followed.every
    }

    fn poll(&mut self, now: u64) -> Poll {
        let mut poll = Poll {
            findings: self.announced.begin(),
            ..Poll::default()
        };
        let mut kept = match self.store.begin(&self.subject) {
            Ok(kept) => kept,
            Err(finding) => {
                poll.findings.push(*finding);
                return poll;
            }
        };
        let fetcher = self.followed.fetcher.counting(PATIENCE);
        self.again(&mut kept, &mut poll, now);
        let timer = kept.withheld;
        match self.look(&mut kept, &fetcher, &mut poll, now) {
            Ok(whole) => (poll.whole, poll.again) = (whole, !whole),
            Err(fail) => {
                if kept.withheld == timer {
                    kept.withheld.pause();
                }
                poll.findings.push(finding(fail, &self.subject));
            }
        }
        self.store.end(kept);
        poll.gauges.push(self.followed.received(&fetcher));
        poll
    }

    fn commit(&mut self) -> Result<(), Fail> {
        self.store.commit()
    }
}
