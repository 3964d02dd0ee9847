//! A project followed through its heads: each proves that nothing of the project's was left out,
//! and only what is new is fetched.

use super::judge::{Judge, about};
use super::kept::{Kept, Store};
use super::shown::{connected, proof};
use super::{BEHIND, Followed, POLL_SECONDS, evidence, finding};
use crate::cmd::complete::replay::{Known, Log, ProvenHead};
use crate::cmd::history::no_url;
use crate::fail::{Fail, UNTRUSTED};
use crate::fetch::Fetcher;
use crate::memory::SeenCheckpoint;
use crate::monitor::announced::Announced;
use crate::monitor::task::{Poll, Task};
use crate::policy::ProjectPolicy;
use ledger::leaf::Leaf;
use ledger::{API_VERSION, Hash, from_b64, from_hex32, hex32};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tlog::hash::leaf_hash;
use tlog::proof::verify_inclusion;

/// New entries up to which each is fetched by itself: more of them come by bundles and tiles.
const SINGLE: usize = 8;
/// Entries that are fetched together.
const TOGETHER: usize = 256;
/// Bytes of an answer with one entry at most.
const MAX_ENTRY: usize = 128 << 10;

/// `heads PROJECT in ORIGIN`.
pub(super) struct Heads {
    name: String,
    subject: String,
    followed: Arc<Followed>,
    project: ProjectPolicy,
    announced: Announced,
    store: Store,
    behind: bool,
}

/// What a poll learns from one server.
struct Look<'a> {
    task: &'a Heads,
    log: Log<'a>,
    now: u64,
    begun: Instant,
}

/// What it came to.
struct Seen {
    kept: Kept,
    checkpoint: SeenCheckpoint,
    /// Entries that were new.
    new: Vec<(u64, Leaf)>,
    /// Entries that are still to be read.
    left: u64,
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
            behind: false,
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
                task: self,
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
                return Ok(None);
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
        let (size, at) = (checkpoint.size, checkpoint.view_time);
        poll.gauges.extend([
            followed.gauge("log_size_leaves", "Leaves of the newest checkpoint that was proven.", size),
            followed.gauge("log_view_time_seconds", "When the policy's witnesses saw the newest checkpoint, Unix seconds; 0 without witnesses.", at),
            followed.gauge("log_lag_leaves", "Leaves that are committed to and not read yet.", left),
        ]);
        self.judge(&mut kept, poll, now, &new);
        (poll.whole, self.behind) = (left == 0, left > 0);
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
        if self.behind {
            BEHIND
        } else {
            self.followed.every
        }
    }

    fn poll(&mut self, now: u64) -> Poll {
        let mut poll = Poll {
            findings: self.announced.begin(),
            ..Poll::default()
        };
        self.behind = false;
        let mut kept = match self.store.begin(&self.subject) {
            Ok(kept) => kept,
            Err(finding) => {
                poll.findings.push(*finding);
                return poll;
            }
        };
        let fetcher = self.followed.fetcher.counting();
        match self.look(&kept, &fetcher, now) {
            Ok(Some(mut seen)) => {
                seen.kept.withheld.clear();
                self.take(seen, &mut poll, now);
            }
            Ok(None) => poll.whole = true,
            Err(fail) => {
                let fail = self.suspected(fail, &mut kept, now);
                poll.findings.push(finding(fail, &self.subject));
                // What was held back is due whatever the log does.
                self.judge(&mut kept, &mut poll, now, &[]);
                self.store.end(kept);
            }
        }
        let bytes = fetcher.received();
        let help = "Bytes that the last poll received.";
        let gauge = self.followed.gauge("poll_received_bytes", help, bytes);
        poll.gauges.push(gauge);
        poll
    }

    fn commit(&mut self) -> Result<(), Fail> {
        self.store.commit()
    }
}

impl Heads {
    /// A log that answers, and for long does not show how its checkpoint goes on from the one
    /// before, is no outage any more.
    fn suspected(&self, fail: Fail, kept: &mut Kept, now: u64) -> Fail {
        if fail.kind != "not-consistent" || fail.code == UNTRUSTED {
            kept.withheld.pause();
            return fail;
        }
        let most = (2 * self.followed.every).max(600);
        let seconds = kept.withheld.running(now, most);
        if seconds < self.followed.unreadable_after {
            return fail;
        }
        Fail {
            code: UNTRUSTED,
            message: format!(
                "for {seconds} s the log has shown no tiles that lead from the remembered checkpoint to its newest"
            ),
            ..fail
        }
    }
}

impl Look<'_> {
    /// All that one server shows.
    fn at(&self, mut kept: Kept) -> Result<Seen, Fail> {
        let (log, followed) = (&self.log, &self.task.followed);
        let proven = log.proven_head(&kept.memory, self.now)?;
        let checkpoint = &proven.checkpoint;
        let remembered = kept.memory.logs.get(followed.origin()).cloned();
        let known = remembered
            .iter()
            .chain(&followed.newest())
            .try_for_each(|seen| {
                same_size(seen, checkpoint, followed)?;
                connected(followed, log.fetcher, log.url, seen, checkpoint)
            });
        match known {
            Err(fail) if fail.code == UNTRUSTED => return Err(fail),
            // An old answer may well come without the tiles of the newer tree.
            known => {
                log.new_enough(checkpoint, &kept.memory, self.now)?;
                known?;
            }
        }
        let indexes = self.indexes(&proven, &kept)?;
        let new = self.entries(&indexes, &mut kept, &proven)?;
        let left = (indexes.len() - new.len()) as u64;
        if left == 0 {
            log.comes_to(&kept.fold, &proven.seen)
                .map_err(|fail| self.kept(fail, &proven, &kept.known))?;
        }
        let id = &self.task.project.id;
        kept.memory
            .learn_head(followed.origin(), id, checkpoint, &proven.seen);
        Ok(Seen {
            kept,
            checkpoint: proven.checkpoint,
            new,
            left,
        })
    }

    /// The entries that are new. A head whose list does not go on from what was proven before
    /// leaves something out.
    fn indexes(&self, proven: &ProvenHead, kept: &Kept) -> Result<Vec<u64>, Fail> {
        let (log, want) = (&self.log, &proven.seen.state.leaves);
        let have = &kept.known.tree;
        let omitted = |what: String| {
            let fail = log.wrong("statement-omitted", what);
            self.kept(fail, proven, &kept.known)
        };
        if want.size < have.size() {
            return Err(omitted(format!(
                "the log's newest head counts {} entries of the project, and {} were proven before",
                want.size,
                have.size()
            )));
        }
        if want.size == have.size() && want.root != have.root() {
            return Err(omitted(
                "the log's newest head counts other entries of the project than were proven before"
                    .into(),
            ));
        }
        let fail = match log.indexes(&proven.seen, &kept.known) {
            Ok(indexes) => return Ok(indexes),
            Err(fail) => fail,
        };
        // The list may be bad, which anybody can make; or the head, which only the log can.
        let Ok(all) = log.indexes(&proven.seen, &Known::default()) else {
            return Err(fail);
        };
        let mut listed = Known::default();
        let ours = usize::try_from(have.size()).unwrap_or(usize::MAX);
        all.iter().take(ours).for_each(|index| listed.push(*index));
        if listed.tree == *have {
            return Err(fail);
        }
        Err(omitted(
            "the log's newest head leaves out entries of the project that were proven before"
                .into(),
        ))
    }

    /// Fetches, proves and follows entries, for as long as a poll may take.
    fn entries(
        &self,
        indexes: &[u64],
        kept: &mut Kept,
        proven: &ProvenHead,
    ) -> Result<Vec<(u64, Leaf)>, Fail> {
        let (log, checkpoint) = (&self.log, &proven.checkpoint);
        let mut new = Vec::with_capacity(indexes.len().min(TOGETHER));
        for some in indexes.chunks(TOGETHER) {
            let alone: Option<Vec<_>> = match indexes.len() {
                ..=SINGLE => some
                    .iter()
                    .map(|index| self.entry(*index, checkpoint))
                    .collect(),
                _ => None,
            };
            let leaves = match alone {
                Some(leaves) => leaves,
                None => log.proven_leaves(checkpoint, some)?,
            };
            for (index, bytes) in leaves {
                let known = kept.known.clone();
                let keep = |fail| self.kept(fail, proven, &known);
                let leaf = log.parsed(index, &bytes).map_err(keep)?;
                let fold = Arc::make_mut(&mut kept.fold);
                log.follow(fold, index, &leaf).map_err(keep)?;
                kept.entry(index, bytes);
                new.push((index, leaf));
            }
            if self.begun.elapsed() >= Duration::from_secs(POLL_SECONDS) {
                break;
            }
        }
        Ok(new)
    }

    /// One entry and its proof, as a server of ours gives them: a few hundred bytes beside it.
    fn entry(&self, index: u64, at: &SeenCheckpoint) -> Option<(u64, Vec<u8>)> {
        let (fetcher, url) = (self.log.fetcher, self.log.url);
        let address = format!("{url}/api/v1/entries/{index}");
        let answer = fetcher.get_optional(&address, MAX_ENTRY).ok()??;
        let answer = ledger::json::parse(&answer).ok()?;
        let bytes = from_b64(answer.get("leaf").and_then(Value::as_str)?)?;
        let size = at.size;
        let address = format!("{url}/api/v1/proofs/inclusion?index={index}&size={size}");
        let proof = proof(fetcher, &address)?;
        let root: Hash = from_hex32(&at.root)?;
        let proven = verify_inclusion(&leaf_hash(&bytes), index, size, &proof, &root);
        proven.ok().map(|()| (index, bytes))
    }

    /// Keeps what shows it, where the log's own signed head is wrong.
    fn kept(&self, fail: Fail, proven: &ProvenHead, known: &Known) -> Fail {
        if fail.code != UNTRUSTED {
            return fail;
        }
        let document = json!({
            "apiVersion": API_VERSION, "checkpoint": proven.first, "finding": fail.kind,
            "head": serde_json::to_value(&proven.head).unwrap_or_default(),
            "known": { "last": known.last, "root": hex32(&known.tree.root()), "size": known.tree.size() },
            "message": fail.message, "project": hex32(&self.task.project.id),
        });
        evidence::keep(&self.task.followed.state, "head", &document, fail)
            .detail("checkpoint", proven.first.trim_end())
    }
}

/// Two checkpoints of one size have one root.
fn same_size(
    seen: &SeenCheckpoint,
    shown: &SeenCheckpoint,
    followed: &Followed,
) -> Result<(), Fail> {
    if seen.size != shown.size || seen.root == shown.root {
        return Ok(());
    }
    let what = format!(
        "the log has shown two different trees of size {}",
        seen.size
    );
    let fail = Fail::untrusted("fork", what)
        .hint("keep both checkpoints and publish them: they prove that the log lied");
    let notes = (seen.checkpoint.as_str(), shown.checkpoint.as_str());
    Err(followed.ours().of_one_size(notes, fail))
}
