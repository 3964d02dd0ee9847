//! What a witness has cosigned, by its monitoring endpoint: a log that shows some another tree than
//! it shows us must have had it cosigned.

use super::kept::{Kept, Store};
use super::shown::{MAX_NOTE, as_seen, connected, latest, refused};
use super::{Followed, PATIENCE, finding};
use crate::cmd::history::{Tiles, somewhere};
use crate::fail::{Fail, UNCHECKED, UNTRUSTED};
use crate::fetch::Fetcher;
use crate::memory::SeenCheckpoint;
use crate::monitor::task::{Poll, Task};
use crate::signed::Signed;
use crate::view::not_forked;
use crate::when::time;
use ledger::{hex32, sha256};
use std::sync::Arc;
use tlog::tile::{EntryTile, MAX_ENTRY_BYTES, TILE_WIDTH, parse_bundle, width_at};

/// `witness NAME of ORIGIN`.
pub(super) struct Witness {
    name: String,
    subject: String,
    followed: Arc<Followed>,
    witness: String,
    url: String,
    store: Store,
}

/// What the witness cosigned, and when.
struct Cosigned {
    checkpoint: SeenCheckpoint,
    at: u64,
}

impl Witness {
    pub(super) fn new(followed: Arc<Followed>, witness: &str, url: &str) -> Self {
        let subject = format!("{witness} of {}", followed.origin());
        let name = format!("witness {subject}");
        let store = Store::new(&followed.state, &name, followed.origin());
        Self {
            name,
            subject,
            followed,
            witness: witness.to_owned(),
            url: url.trim_end_matches('/').to_owned(),
            store,
        }
    }

    /// The newest checkpoint that it has cosigned; `None` where it never has.
    fn cosigned(
        &self,
        seen: Option<&SeenCheckpoint>,
        fetcher: &Fetcher,
        now: u64,
    ) -> Result<Option<Cosigned>, Fail> {
        let followed = &self.followed;
        let hash = hex32(&sha256(followed.origin().as_bytes()));
        let address = format!("{}/{hash}/checkpoint", self.url);
        let Some(bytes) = fetcher.get_optional(&address, MAX_NOTE)? else {
            return Ok(None);
        };
        let bad = |why: &str| {
            Fail::unchecked(
                "witness-answer",
                format!("the witness's answer is of no use: {why}"),
            )
            .detail("url", address.as_str())
            .hint("see the policy's address of the witness, or ask whoever runs it")
        };
        let text = String::from_utf8(bytes).map_err(|_| bad("it is no text"))?;
        let policy = &followed.policy;
        let now = now.max(seen.map_or(0, |s| s.view_time));
        let signed = Signed::read(&text, policy, now, false).map_err(|r| bad(&r.to_string()))?;
        signed.log_keys(policy).map_err(|r| bad(&r.to_string()))?;
        let at = signed.of(&self.witness).iter().copied().max();
        let at = at.ok_or_else(|| bad("it has not cosigned it"))?;
        not_forked(&signed, seen, policy).map_err(|r| refused(&r, followed, &address))?;
        Ok(Some(Cosigned {
            checkpoint: as_seen(&signed, policy),
            at,
        }))
    }

    /// The newest checkpoint that the log, or else a mirror, shows, and the server that does.
    fn shown(
        &self,
        seen: Option<&SeenCheckpoint>,
        fetcher: &Fetcher,
        now: u64,
    ) -> Result<(Option<SeenCheckpoint>, &str), Fail> {
        somewhere(&self.followed.policy, |url| {
            let shown = latest(&self.followed, fetcher, url, seen, now)?;
            Ok((shown, url))
        })
    }

    fn look(
        &self,
        kept: &mut Kept,
        fetcher: &Fetcher,
        poll: &mut Poll,
        now: u64,
    ) -> Result<(), Fail> {
        let followed = &self.followed;
        let seen = kept.memory.logs.get(followed.origin()).cloned();
        // The witness first: what it cosigned by then the log shows by now, or soon.
        let Some(cosigned) = self.cosigned(seen.as_ref(), fetcher, now)? else {
            poll.gauges.push(self.size(0));
            if seen.is_some() {
                return Err(Fail::unchecked(
                    "witness-absent",
                    "the witness shows no checkpoint of this log any more",
                )
                .detail("url", self.url.as_str())
                .hint("ask whoever runs the witness"));
            }
            return Ok(());
        };
        let theirs = &cosigned.checkpoint;
        poll.gauges.push(self.size(theirs.size));
        let (shown, url) = self.shown(seen.as_ref(), fetcher, now)?;
        let newest = followed.newest();
        let ours = shown.iter().chain(&seen).chain(&newest);
        let reached = ours.clone().map(|s| s.size).max().unwrap_or(0);
        let lag = theirs
            .size
            .saturating_sub(shown.as_ref().map_or(0, |s| s.size));
        poll.gauges.push(followed.lag(lag));
        let mut linked = ours.clone().try_for_each(|one| {
            if one.size == theirs.size && one.root != theirs.root {
                return Err(self.forked(one, theirs));
            }
            connected(followed, fetcher, url, one, theirs)
        });
        if linked.is_ok() && theirs.size > reached {
            linked = self.last_leaves(fetcher, url, theirs.size);
        }
        if let Err(fail) = linked {
            return self.unserved(fail, kept, theirs, (url, now));
        }
        kept.withheld.clear();
        // The larger of them is of one history with all that is known.
        ours.chain([theirs])
            .for_each(|one| kept.memory.learn_checkpoint(followed.origin(), one));
        self.fresh(&cosigned, now)
    }

    fn size(&self, size: u64) -> crate::monitor::task::Gauge {
        let help = "Leaves of the newest checkpoint that the witness has cosigned.";
        let mut gauge = self.followed.gauge("witness_size_leaves", help, size);
        gauge.labels.push(("witness", self.witness.clone()));
        gauge
    }

    fn forked(&self, one: &SeenCheckpoint, theirs: &SeenCheckpoint) -> Fail {
        let what = format!(
            "the log has had another tree of size {} cosigned than it shows",
            theirs.size
        );
        self.followed.forked(what, one, theirs)
    }

    /// The last leaves of a tree that the log does not show a checkpoint of can be read.
    fn last_leaves(&self, fetcher: &Fetcher, url: &str, size: u64) -> Result<(), Fail> {
        let tiles = Tiles { fetcher, url };
        let index = size.saturating_sub(1) / u64::from(TILE_WIDTH);
        let path = |width| EntryTile { index, width }.path();
        let max = usize::from(TILE_WIDTH) * (MAX_ENTRY_BYTES + 2);
        let (bytes, width) = tiles.partial_or_full(&path, width_at(size, 0, index), max)?;
        let read = parse_bundle(&bytes, width);
        read.map(drop)
            .map_err(|e| Fail::unchecked("bad-bundle", e.to_string()).detail("url", url))
    }

    /// What was cosigned and is not shown: at first a log that is on its way, then suspicious.
    fn unserved(
        &self,
        fail: Fail,
        kept: &mut Kept,
        theirs: &SeenCheckpoint,
        (url, now): (&str, u64),
    ) -> Result<(), Fail> {
        if fail.code == UNTRUSTED {
            return Err(fail);
        }
        let most = self.followed.most_between();
        let begins = kept.withheld == super::timer::Timer::default();
        let seconds = kept.withheld.running(now, most);
        if begins {
            // A moment between cosigning and showing is how logs work.
            return Ok(());
        }
        let fail = Fail {
            kind: "cosigned-not-served".into(),
            code: UNCHECKED,
            message: format!(
                "the witness has cosigned a tree of {} leaves that the log does not show: {}",
                theirs.size, fail.message
            ),
            ..fail
        }
        .detail("log", url)
        .detail("cosigned", theirs.checkpoint.trim_end())
        .detail("seconds so far", seconds.to_string());
        if seconds < self.followed.unreadable_after {
            return Err(fail.hint("the log may be about to show it: see whether it does"));
        }
        let code = UNTRUSTED;
        Err(Fail { code, ..fail }.hint("the log may show others what it does not show you: ask its operator, and do not use what was released since"))
    }

    /// A witness that only lags is a number, until nobody who follows the policy would have it.
    fn fresh(&self, cosigned: &Cosigned, now: u64) -> Result<(), Fail> {
        let Some(max) = self.followed.policy.max_age else {
            return Ok(());
        };
        if now.saturating_sub(cosigned.at) <= max {
            return Ok(());
        }
        Err(Fail::unchecked(
            "witness-stale",
            format!(
                "the witness cosigned last at {}, longer ago than the policy's max-age of {max} s",
                time(cosigned.at)
            ),
        )
        .detail("url", self.url.as_str())
        .hint("ask whoever runs the witness, or the log, whether one of them stands still"))
    }
}

impl Task for Witness {
    fn name(&self) -> &str {
        &self.name
    }

    fn every(&self) -> u64 {
        self.followed.every
    }

    fn poll(&mut self, now: u64) -> Poll {
        let mut poll = Poll::default();
        let mut kept = match self.store.begin(&self.subject) {
            Ok(kept) => kept,
            Err(finding) => {
                poll.findings.push(*finding);
                return poll;
            }
        };
        let fetcher = self.followed.fetcher.counting(PATIENCE);
        let before = kept.withheld;
        match self.look(&mut kept, &fetcher, &mut poll, now) {
            Ok(()) => poll.whole = true,
            Err(fail) => {
                if kept.withheld == before {
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
