//! The rest of the check of a start. Before its first signature the server has compared the
//! tree's right edge and the ledger's state with the last checkpoint; here everything below is
//! read again while the log is served: every entry hashed, every tile compared, the ledger
//! folded. It takes a quarter of one core at most, a twentieth while entries come in. Where something differs, the log does not
//! sign from then on, and is served as it is.
//!
//! Signatures of entries are not verified again: an entry whose bytes hash to what was signed
//! is the one that was admitted. `countersign-server check` verifies them too.

use crate::error::Error;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::source::LogSource;
use crate::store::InIndex;
use crate::view::View;
use ledger::Hash;
use ledger::leaf::Leaf;
use ledger::statement::Body;
use ledger::walk::{
    At, Finding, LookUp, Observer, Plan, Source, Stopped, Unreadable, Walked, walk,
};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tlog::tile::{EntryTile, Tile};

/// Its niceness.
const LOWEST: i32 = 19;
/// How many times as long as it works it rests; and where the log took entries meanwhile.
const REST: u32 = 3;
const REST_WHEN_BUSY: u32 = 19;
/// But no longer than that.
const LONGEST_REST: Duration = Duration::from_millis(300);
/// How soon it notices, resting, that the server stops.
const STEP: Duration = Duration::from_millis(20);

/// The thread; dropping this stops it.
pub(crate) struct Recheck {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the start has found and this compares with.
struct Begun {
    view: Arc<View>,
    fold: Hash,
    /// Project id → index of its first statement, which no digest covers.
    firsts: HashMap<Hash, u64>,
}

impl Recheck {
    /// Begins to check the log as it is now.
    ///
    /// # Errors
    /// [`Error::Io`] where no thread can be had.
    pub(crate) fn start(log: Arc<Log>) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let begun = {
            let published = log.published();
            let firsts = published.fold.projects().map(|p| (p.id, p.first.index));
            Begun {
                view: Arc::clone(&published.view),
                fold: published.fold.digest(),
                firsts: firsts.collect(),
            }
        };
        log.metrics.recheck.begin(begun.view.size);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("recheck".into())
            .spawn(move || {
                // On Linux this is about the thread alone: it has what the others leave.
                let _ = setpriority_process(Some(gettid()), LOWEST);
                if log.read_only().is_none()
                    && let Err(why) = check(&log, &begun, &stopped)
                {
                    log.guard().latch(why);
                }
                log.metrics.recheck.end();
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
fn check(log: &Log, begun: &Begun, stop: &AtomicBool) -> Result<(), String> {
    let view = &begun.view;
    let source = Stoppable {
        inner: LogSource {
            blobs: log.blobs.as_ref(),
            size: view.size,
            tail: &view.tail,
        },
        stop,
    };
    let plan = Plan {
        origin: log.origin.clone(),
        size: view.size,
        signed_below: view.size,
        marks: vec![view.size],
        workers: NonZero::new(1),
        released: Some(LookUp(Arc::new(InIndex(Arc::clone(&log.index))))),
    };
    let mut ears = Ears {
        metrics: &log.metrics,
        stop,
        batches: log.metrics.batches.load(Ordering::Relaxed),
        firsts: &begun.firsts,
        since: Instant::now(),
        fatal: None,
    };
    let walked = match walk(&source, &plan, &mut ears) {
        Ok(walked) => walked,
        Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
        Err(e @ Stopped::Source { .. }) => return Err(e.to_string()),
        Err(e) => {
            eprintln!("countersign-server: the check after the start did not finish: {e}");
            return Ok(());
        }
    };
    match ears.fatal {
        Some(finding) => Err(said(&finding)),
        None => agrees(&walked, begun),
    }
}

fn agrees(walked: &Walked, begun: &Begun) -> Result<(), String> {
    let view = &begun.view;
    if walked.whole && walked.edge.root() != view.root {
        return Err(format!(
            "the entries give another tree of {} leaves than the checkpoint that was signed",
            view.size
        ));
    }
    if walked.folded && walked.fold.digest() != begun.fold {
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
        || ["bad-tile-width", "entry-too-long", "saved-index"].contains(&kind)
}

struct Stoppable<'a> {
    inner: LogSource<'a>,
    stop: &'a AtomicBool,
}

impl Source for Stoppable<'_> {
    fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Unreadable::Failed("the server stops".into()));
        }
        self.inner.bundle(tile)
    }
    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, Unreadable> {
        self.inner.tile(tile)
    }
    fn has_partial_tiles(&self) -> bool {
        self.inner.has_partial_tiles()
    }
}

struct Ears<'a> {
    metrics: &'a Metrics,
    stop: &'a AtomicBool,
    batches: u64,
    firsts: &'a HashMap<Hash, u64>,
    since: Instant,
    fatal: Option<Finding>,
}

impl Observer for Ears<'_> {
    fn leaf(&mut self, index: u64, leaf: &Leaf, accepted: bool) {
        let Leaf::Statement(s) = leaf else { return };
        if !accepted || !matches!(s.statement.body, Body::Project(_)) {
            return;
        }
        let id = s.envelope.pae_hash();
        if self.firsts.get(&id) != Some(&index) {
            let what = format!(
                "project {} stands there, and the index says otherwise",
                ledger::hex32(&id)
            );
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
        let mut rest = self.since.elapsed().saturating_mul(times).min(LONGEST_REST);
        while !rest.is_zero() && !self.stop.load(Ordering::Relaxed) {
            let step = rest.min(STEP);
            std::thread::sleep(step);
            rest -= step;
        }
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
