//! The rest of the check of a start. Before its first signature the server has compared the
//! tree's right edge and the ledger's state with the last checkpoint; here everything below is
//! read again while the log is served: every entry hashed, every tile compared, the ledger
//! folded. It takes a quarter of one core at most, a twentieth while entries come in. Where something differs, the log does not
//! sign from then on, and is served as it is.
//!
//! Signatures of entries are not verified again: an entry whose bytes hash to what was signed
//! is the one that was admitted. `countersign-server check` verifies them too.

mod patience;

use crate::error::Error;
use crate::log::{Log, governs};
use crate::metrics::Metrics;
use crate::source::LogSource;
use crate::store::{InIndex, Index, StoreError};
use crate::view::View;
use ledger::leaf::{Leaf, StatementLeaf};
use ledger::statement::Body;
use ledger::walk::{At, Finding, LookUp, Observer, Plan, Stopped, Walked, walk};
use ledger::{Hash, hex32, sha256};
use patience::{Patience, Patient, PatientIndex};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tlog::tile::EntryTile;

/// Its niceness.
const LOWEST: i32 = 19;
/// How many times as long as it works it rests; and where the log took entries meanwhile.
const REST: u32 = 3;
const REST_WHEN_BUSY: u32 = 19;
/// But no longer than that.
const LONGEST_REST: Duration = Duration::from_millis(300);
/// The thread; dropping this stops it.
pub(crate) struct Recheck {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the start has found and this compares with.
struct Begun {
    view: Arc<View>,
    fold: Hash,
    /// Log index → SHA-256 of the leaf, of the statements from which the start restored who may
    /// speak: at which index and time each stands no digest covers.
    restored: HashMap<u64, Hash>,
}

/// How it ended.
enum End {
    /// Everything was read, and is as it was signed.
    Sound,
    /// The server stops.
    Stopped,
    /// Something of our own failed: nothing is known.
    Unfinished(String),
}

impl Recheck {
    /// Begins to check the log as it is now.
    ///
    /// # Errors
    /// [`Error::Io`] where no thread can be had.
    pub(crate) fn start(log: Arc<Log>) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let (view, fold) = {
            let published = log.published();
            (Arc::clone(&published.view), published.fold.digest())
        };
        let state = log.index.state()?;
        let restored = state.statements.into_iter();
        let restored = restored.filter(|(_, index, _)| *index < view.size);
        let begun = Begun {
            restored: restored.map(|(_, i, leaf)| (i, sha256(&leaf))).collect(),
            view,
            fold,
        };
        log.metrics.recheck.begin(begun.view.size);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("recheck".into())
            .spawn(move || {
                // On Linux this is about the thread alone: it has what the others leave.
                let _ = setpriority_process(Some(gettid()), LOWEST);
                let end = match log.read_only() {
                    None => check(&log, begun, Patience(stopped)),
                    // The start has found something already, and nothing is signed upon it.
                    Some(_) => Ok(End::Sound),
                };
                match end {
                    Ok(End::Sound) => log.metrics.recheck.end(),
                    Ok(End::Stopped) => {}
                    Ok(End::Unfinished(why)) => eprintln!(
                        "countersign-server: the check after the start did not finish: {why}; the log signs on, and the next start checks again"
                    ),
                    Err(why) => {
                        log.guard().latch(why);
                        log.metrics.recheck.end();
                    }
                }
                log.metrics.recheck.over();
            });
        let thread = Some(thread.map_err(|e| Error::Io {
            path: "thread".into(),
            why: e.to_string(),
        })?);
        Ok(Self { stop, thread })
    }
}

impl Drop for Recheck {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Checks; or why the log must not sign.
fn check(log: &Log, begun: Begun, patience: Patience) -> Result<End, String> {
    let view = &begun.view;
    let source = Patient {
        inner: LogSource {
            blobs: log.blobs.as_ref(),
            size: view.size,
            tail: &view.tail,
        },
        patience: patience.clone(),
    };
    let plan = Plan {
        origin: log.origin.clone(),
        size: view.size,
        signed_below: view.size,
        marks: vec![view.size],
        workers: NonZero::new(1),
        unreadable_counts: true,
        released: Some(LookUp(Arc::new(PatientIndex {
            inner: InIndex(Arc::clone(&log.index)),
            patience: patience.clone(),
        }))),
        plain: false,
    };
    let mut ears = Ears {
        metrics: &log.metrics,
        index: log.index.as_ref(),
        patience: patience.clone(),
        batches: log.metrics.batches.load(Ordering::Relaxed),
        restored: begun.restored,
        since: Instant::now(),
        fatal: None,
    };
    let walked = match walk(&source, &plan, &mut ears) {
        _ if patience.stopped() => return Ok(End::Stopped),
        Ok(walked) => walked,
        // Missing, or other bytes, is a finding: this is a disk that did not answer, again and
        // again.
        Err(e @ Stopped::Source { .. }) => return Err(e.to_string()),
        Err(e) => return Ok(End::Unfinished(e.to_string())),
    };
    if let Some(finding) = ears.fatal {
        return Err(said(&finding));
    }
    if let Some(index) = ears.restored.keys().min() {
        return Err(format!(
            "the index has a statement of a project at {index}, and the log has none there"
        ));
    }
    agrees(&walked, view, &begun.fold).map(|()| End::Sound)
}

fn agrees(walked: &Walked, view: &View, fold: &Hash) -> Result<(), String> {
    if !walked.whole || !walked.folded {
        return Err("not every entry could be read and folded".to_owned());
    }
    if walked.edge.root() != view.root {
        return Err(format!(
            "the entries give another tree of {} leaves than the checkpoint that was signed",
            view.size
        ));
    }
    if walked.fold.digest() != *fold {
        return Err(
            "the entries give another ledger state than the one that was committed".to_owned(),
        );
    }
    Ok(())
}

fn said(finding: &Finding) -> String {
    format!("{}: {} ({})", finding.path, finding.what, finding.kind)
}

/// Whether a finding means that what is stored is not what was signed. The others are about
/// what an entry says; the log signed them as they are, and the digest decides.
fn is_damage(kind: &str) -> bool {
    kind.starts_with("tile-")
        || kind.starts_with("bundle-")
        || [
            "bad-tile-width",
            "entry-too-long",
            "look-up-failed",
            "saved-index",
        ]
        .contains(&kind)
}

struct Ears<'a> {
    metrics: &'a Metrics,
    index: &'a dyn Index,
    patience: Patience,
    batches: u64,
    restored: HashMap<u64, Hash>,
    since: Instant,
    fatal: Option<Finding>,
}

impl Ears<'_> {
    /// Whether the index has what an accepted statement put there. It decides what is admitted,
    /// and the ledger's digest does not cover its rows.
    fn indexed(&mut self, index: u64, s: &StatementLeaf) -> Result<(), String> {
        let is = |found: Result<Option<u64>, StoreError>, what: &str| match found {
            Ok(Some(at)) if at == index => Ok(()),
            Ok(other) => Err(format!("{what} stands there, and the index says {other:?}")),
            Err(e) => Err(e.to_string()),
        };
        let again = |_: &StoreError| true;
        let pae = s.envelope.pae_hash();
        let found = self.patience.with(again, || self.index.by_pae(&pae));
        is(found, &format!("statement {}", hex32(&pae)))?;
        if let Body::Release(r) = &s.statement.body {
            let purl = sha256(r.purl.as_bytes());
            let found = self
                .patience
                .with(again, || self.index.by_purl(&purl, index + 1));
            is(found, &format!("the release of {:?}", r.purl))?;
        }
        if governs(&s.statement.body) {
            let leaf = Leaf::Statement(Box::new(s.clone())).to_bytes();
            let leaf = leaf.map_err(|e| e.to_string())?;
            if self.restored.remove(&index) != Some(sha256(&leaf)) {
                return Err("what the index keeps of the project is not what stands there".into());
            }
        }
        Ok(())
    }
}

impl Observer for Ears<'_> {
    fn leaf(&mut self, index: u64, leaf: &Leaf, _: &[Hash], accepted: bool) {
        let Leaf::Statement(s) = leaf else { return };
        if !accepted || self.fatal.is_some() {
            return;
        }
        if let Err(what) = self.indexed(index, s)
            && !self.patience.stopped()
        {
            self.finding(Finding::new("saved-index", format!("entry {index}"), what));
        }
    }

    fn bundle(&mut self, _: &EntryTile, _: &[u8], at: &At<'_>) {
        self.metrics.recheck.reached(at.size);
        let batches = self.metrics.batches.load(Ordering::Relaxed);
        let times = if batches == self.batches {
            REST
        } else {
            REST_WHEN_BUSY
        };
        let rest = self.since.elapsed().saturating_mul(times);
        self.patience.rest(rest.min(LONGEST_REST));
        (self.since, self.batches) = (Instant::now(), batches);
    }

    fn finding(&mut self, finding: Finding) {
        if is_damage(finding.kind) {
            // The first says most; the others may follow from it.
            self.fatal.get_or_insert(finding);
        } else {
            eprintln!(
                "countersign-server: the check after the start: {}",
                said(&finding)
            );
        }
    }
}
