//! A project followed through its heads: each proves that nothing of the project's was left out,
//! and only what is new is fetched.

use super::judge::{Judge, about};
use super::kept::{Kept, Store};
use super::look::{Look, Seen};
use super::shown::latest;
use super::{Followed, PATIENCE, finding};
use crate::cmd::complete::replay::Log;
use crate::cmd::history::no_url;
use crate::fail::{Fail, UNTRUSTED};
use crate::fetch::Fetcher;
use crate::memory::SeenCheckpoint;
use crate::monitor::announced::Announced;
use crate::monitor::task::{Poll, Task};
use crate::policy::ProjectPolicy;
use ledger::leaf::Leaf;
use std::sync::Arc;
use std::time::Instant;

/// `heads PROJECT in ORIGIN`.
pub(super) struct Heads {
    name: String,
    subject: String,
    followed: Arc<Followed>,
    project: ProjectPolicy,
    announced: Announced,
    store: Store,
}

impl Heads {
    pub(super) fn new(followed: Arc<Followed>, project: ProjectPolicy) -> Self {
        let subject = format!("{} in {}", project.name, followed.origin());
        let name = format!("heads {subject}");
        let store = Store::new(&followed.state, &name, followed.origin());
        let announced = followed.announced.share();
        Self {
            name,
            subject,
            followed,
            project,
            announced,
            store,
        }
    }

    /// Asks the log, else its mirrors; `None` where the project was never in the log.
    fn look(&self, kept: &Kept, fetcher: &Fetcher, now: u64) -> Result<Option<Seen>, Fail> {
        let mut first: Option<Fail> = None;
        let begun = Instant::now();
        for url in self.followed.urls() {
            let log = Log {
                fetcher,
                url,
                policy: &self.followed.policy,
                project: &self.project,
                state: &self.followed.beside,
            };
            let look = Look {
                followed: &self.followed,
                project: &self.project,
                log,
                now,
                begun,
            };
            let fail = match look.at(kept.clone()) {
                Ok(seen) => return Ok(Some(seen)),
                Err(fail) if fail.code == UNTRUSTED => return Err(fail),
                Err(fail) => fail,
            };
            // A log that nothing is said in yet is no error: a mirror would say no more.
            let never = kept.known.last.is_none() && kept.memory.projects.is_empty();
            if fail.kind == "not-found" && first.is_none() && never {
                // That there is a log is shown by its checkpoint: else any server will do.
                if latest(&self.followed, fetcher, url, None, now)?.is_some() {
                    return Ok(None);
                }
                let why = "there is no log at this address: it shows no checkpoint";
                return Err(Fail::unchecked("log-absent", why)
                    .detail("url", url)
                    .hint("check the policy's url"));
            }
            first.get_or_insert(fail);
        }
        let fail = first.unwrap_or_else(no_url);
        if fail.kind != "not-found" {
            return Err(fail);
        }
        Err(Fail {
            kind: "project-absent".to_owned(),
            message: "the log does not show the project that it showed before".to_owned(),
            ..fail
        }
        .hint("see the log; something else may be served at its address"))
    }

    fn take(&mut self, seen: Seen, poll: &mut Poll, now: u64) {
        let followed = Arc::clone(&self.followed);
        let Seen {
            mut kept,
            checkpoint,
            new,
            left,
        } = seen;
        followed.saw(&checkpoint);
        poll.gauges.extend(followed.gauges(&checkpoint, left));
        self.judge(&mut kept, poll, now, &new);
        (poll.whole, poll.again) = (left == 0, left > 0);
        self.store.end(kept);
    }

    /// Judges what is new, and again what was held back.
    fn judge(&mut self, kept: &mut Kept, poll: &mut Poll, now: u64, new: &[(u64, Leaf)]) {
        let mut judge = Judge {
            origin: self.followed.origin(),
            announced: &mut self.announced,
            pending: &mut kept.pending,
            poll,
            now,
        };
        judge.again();
        let (name, id) = (self.project.name.as_str(), &self.project.id);
        for (index, leaf) in new {
            let about = about(("", &self.subject), (name, id), *index);
            match leaf {
                Leaf::Statement(s) => judge.statement(&about, s),
                Leaf::Operation(o) => judge.operation(&about, o),
                Leaf::Certificate(c) => judge.certificate(&about, c),
                Leaf::Head(_) | Leaf::Unknown { .. } => {}
            }
        }
    }
}

impl Task for Heads {
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
        match self.look(&kept, &fetcher, now) {
            Ok(Some(mut seen)) => {
                seen.kept.withheld.clear();
                self.take(seen, &mut poll, now);
            }
            Ok(None) => poll.whole = true,
            Err(fail) => {
                let fail = self.suspected(fail, &mut kept, &fetcher, now);
                poll.findings.push(finding(fail, &self.subject));
                // What was held back is due whatever the log does.
                self.judge(&mut kept, &mut poll, now, &[]);
                self.store.end(kept);
            }
        }
        poll.gauges.push(self.followed.received(&fetcher));
        poll
    }

    fn commit(&mut self) -> Result<(), Fail> {
        self.store.commit()
    }
}

impl Heads {
    /// A log that has signed more since, and for long shows no head of the project that goes with
    /// it, is no outage any more.
    fn suspected(&self, fail: Fail, kept: &mut Kept, fetcher: &Fetcher, now: u64) -> Fail {
        let seen = kept.memory.logs.get(self.followed.origin()).cloned();
        let newer = |seen: &SeenCheckpoint| {
            self.followed.urls().any(|url| {
                let shown = latest(&self.followed, fetcher, url, Some(seen), now);
                shown.is_ok_and(|shown| shown.is_some_and(|c| c.size > seen.size))
            })
        };
        if fail.code == UNTRUSTED || !seen.as_ref().is_some_and(newer) {
            kept.withheld.pause();
            return fail;
        }
        let most = self.followed.most_between();
        let seconds = kept.withheld.running(now, most);
        let fail = fail.detail("seconds so far", seconds.to_string());
        if seconds < self.followed.unreadable_after {
            return fail;
        }
        Fail {
            code: UNTRUSTED,
            kind: "head-withheld".to_owned(),
            message: format!(
                "for {seconds} s the log has shown a newer checkpoint, and no head of the project that goes on from the last one: {}",
                fail.message
            ),
            ..fail
        }
        .hint("ask the log's operator, and do not use what was released since; others may be shown what you are not")
    }
}
