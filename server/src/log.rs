//! What the server's parts share: the public view with the ledger's state at it, the
//! store's readers, and whether the log may sign.

use crate::datadir::Layout;
use crate::guard::{self, Cause, Guard};
use crate::kept::Kept;
pub use crate::metrics::Metrics;
use crate::publish::{self, Publisher, Staged};
use crate::reject::Rejection;
use crate::store::{Blobs, DigestHit, Index, IndexBatch, ProjectHit, StoreError};
use crate::view::{Entry, ReadError, Reader, View};
use ledger::fold::Fold;
use ledger::leaf::Leaf;
use ledger::released::Earlier;
use ledger::statement::Body;
use ledger::{Hash, hex32};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The last checkpoint, and the ledger's state exactly at it. One lock holds both, so that
/// no proof mixes two checkpoints.
#[derive(Debug)]
pub struct Published {
    /// The tree.
    pub view: Arc<View>,
    /// What it means.
    pub fold: Fold,
}

/// A log that is being served.
pub struct Log {
    /// Its origin.
    pub origin: String,
    /// The vkeys of all keys with which it signs, pair by pair.
    pub vkeys: Vec<String>,
    /// From when on the second pair of them may be retired, Unix seconds.
    pub retire_keys: Option<u64>,
    /// Full tiles and bundles.
    pub blobs: Box<dyn Blobs>,
    /// The derived index.
    pub index: Arc<dyn Index>,
    /// Counters.
    pub metrics: Metrics,
    kept: Kept,
    published: RwLock<Published>,
    /// The size that is published, for those who wait for it.
    shown: watch::Sender<u64>,
    publisher: Option<Arc<Publisher>>,
    guard: Guard,
}

impl Log {
    /// Puts the parts together; `read_only` says why this log must not sign.
    pub(crate) fn new(
        origin: String,
        vkeys: Vec<String>,
        blobs: Box<dyn Blobs>,
        index: Arc<dyn Index>,
        published: Published,
        read_only: Option<String>,
    ) -> Self {
        let shown = watch::Sender::new(published.view.size);
        let (metrics, published) = (Metrics::default(), RwLock::new(published));
        let guard = Guard::unwatched(read_only);
        Self {
            origin,
            vkeys,
            retire_keys: None,
            blobs,
            index,
            metrics,
            kept: Kept::default(),
            published,
            shown,
            publisher: None,
            guard,
        }
    }

    /// The same log, of whose keys one pair may be retired from then on.
    pub(crate) fn retiring(self, retire_keys: Option<u64>) -> Self {
        Self {
            retire_keys,
            ..self
        }
    }

    /// The same log, which its operator may have frozen, and why.
    pub(crate) fn frozen(self, why: Option<String>) -> Self {
        Self {
            guard: self.guard.frozen(why),
            ..self
        }
    }

    /// The same log, whose checkpoints are shown once they are cosigned.
    pub(crate) fn witnessed(self, settings: Option<&publish::Settings>) -> Self {
        let publisher = settings.map(|s| Arc::new(Publisher::new(s, &self.view())));
        if publisher.is_some() {
            self.guard
                .ask(Some("they have not been asked yet".to_owned()));
        }
        Self { publisher, ..self }
    }

    /// Who asks the witnesses, if there are any.
    #[must_use]
    pub fn publisher(&self) -> Option<&Arc<Publisher>> {
        self.publisher.as_ref()
    }

    /// Takes a durable batch to where it is shown: at once, or after the witnesses.
    pub(crate) fn stage(&self, batch: Staged) {
        match &self.publisher {
            Some(publisher) => publisher.stage(batch),
            None => {
                let view = View::clone(&batch.view);
                self.show(&[batch], view);
            }
        }
    }

    /// Shows the log at `view`, which these batches lead to.
    pub(crate) fn show(&self, batches: &[Staged], view: View) {
        let size = view.size;
        {
            let mut published = self
                .published
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            for batch in batches {
                // The index holds what came before this batch.
                published.fold.forget_released(batch.first);
                for ((leaf, _), accepted) in batch.leaves.iter().zip(&batch.accepted) {
                    published.fold.follow(leaf, *accepted);
                }
            }
            published.fold.settle();
            let stamp = published.view.stamp + 1;
            published.view = Arc::new(View { stamp, ..view });
        }
        self.shown.send_replace(size);
    }

    /// Waits until the entry at `index`, which is durable, is published: at once where there are
    /// no witnesses, else until their quorum is met or the time for it is over. False where
    /// `wait`, if given, is over before.
    pub(crate) async fn shows(&self, index: u64, wait: Option<Duration>) -> bool {
        if self.publisher.is_none() {
            return true;
        }
        let mut shown = self.shown.subscribe();
        let there = shown.wait_for(|size| *size > index);
        match wait {
            // Never closed while the log is here.
            None => there.await.is_ok(),
            Some(wait) => tokio::time::timeout(wait, there).await.is_ok(),
        }
    }

    /// The same log, with what its signing needs watched from now on.
    pub(crate) fn watched(self, layout: &Layout, settings: &guard::Settings) -> Self {
        Self {
            guard: self.guard.watching(layout, settings),
            ..self
        }
    }

    /// The checkpoint and the state at it, for reading. Held for moments only.
    pub fn published(&self) -> RwLockReadGuard<'_, Published> {
        self.published
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree at the last checkpoint.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.published().view)
    }

    /// Reads tiles and proofs of a view.
    #[must_use]
    pub fn reader<'a>(&'a self, view: &'a View) -> Reader<'a> {
        Reader {
            view,
            blobs: self.blobs.as_ref(),
            kept: &self.kept,
        }
    }

    /// The release at `index`, which is published; `None` where the leaf there is none.
    ///
    /// # Errors
    /// [`Rejection`] where it cannot be read.
    pub(crate) fn earlier(&self, index: u64) -> Result<Option<Earlier>, Rejection> {
        self.earlier_in(&self.view(), index)
    }

    /// The same, where it stands in `view`.
    ///
    /// # Errors
    /// [`Rejection`] where it cannot be read.
    pub(crate) fn earlier_in(&self, view: &View, index: u64) -> Result<Option<Earlier>, Rejection> {
        Ok(Earlier::parse(index, &self.entry_in(view, index)?))
    }

    /// The entry at `index`, which is published.
    ///
    /// # Errors
    /// [`Rejection`] where it cannot be read.
    pub(crate) fn published_entry(&self, index: u64) -> Result<Entry, Rejection> {
        self.entry_in(&self.view(), index)
    }

    fn entry_in(&self, view: &View, index: u64) -> Result<Entry, Rejection> {
        let entry = self.reader(view).entry(index).map_err(|e| match e {
            ReadError::Store(e) => e,
            e @ ReadError::NotPublished(_) => StoreError::Damaged(e.to_string()),
        })?;
        Ok(entry)
    }

    /// Why this log does not sign until the next start, where it does not.
    #[must_use]
    pub fn read_only(&self) -> Option<&str> {
        self.guard.read_only()
    }

    /// What says whether this log may sign.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether this log may sign now.
    ///
    /// # Errors
    /// The [`Cause`] that forbids it.
    pub fn may_sign(&self) -> Result<(), Cause> {
        let last = self.published().fold.last_time();
        self.guard.may_sign(last, 0)
    }

    /// The time of a leaf written now: never before the last one's.
    #[must_use]
    pub fn now(&self) -> u64 {
        unix_now().max(self.published().fold.last_time())
    }
}

/// The clock, in Unix seconds.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Whether a statement is one that the state of its project follows from: who may speak, what is
/// withdrawn, what was said before. Its leaf is kept beside the index, so that a start need not
/// look for it.
pub(crate) fn governs(body: &Body) -> bool {
    !matches!(body, Body::Release(_))
}

/// Adds the rows of an accepted leaf, which is about `projects`, to an index batch. `bytes` are
/// the leaf's.
pub(crate) fn index_rows(
    batch: &mut IndexBatch,
    index: u64,
    leaf: &Leaf,
    projects: &[Hash],
    bytes: &[u8],
) {
    if let Leaf::Certificate(_) = leaf {
        for project in projects {
            let what = "certificate".to_owned();
            let hit = ProjectHit {
                index,
                what,
                purl: None,
                statement: None,
            };
            batch.projects.push((*project, hit));
        }
        return;
    }
    let Some(project) = projects.first().copied() else {
        return;
    };
    let mut row = |what: &str, purl: Option<String>, statement: Option<String>| {
        let hit = ProjectHit {
            index,
            what: what.to_owned(),
            purl,
            statement,
        };
        batch.projects.push((project, hit));
    };
    let s = match leaf {
        Leaf::Statement(s) => s,
        Leaf::Operation(o) => return row(o.action.word(), None, None),
        Leaf::Certificate(_) | Leaf::Head(_) | Leaf::Unknown { .. } => return,
    };
    let (pae, body) = (s.envelope.pae_hash(), &s.statement.body);
    let purl = match body {
        Body::Release(r) => Some(r.purl.clone()),
        _ => None,
    };
    row(body.kind(), purl, Some(hex32(&pae)));
    batch.paes.push((pae, index));
    if governs(body) {
        batch.statements.push((project, index, bytes.to_vec()));
    }
    let Body::Release(r) = body else { return };
    let purls = match r.restates {
        None => &mut batch.purls,
        Some(_) => &mut batch.restated,
    };
    purls.push((ledger::sha256(r.purl.as_bytes()), index));
    for artifact in &s.statement.subject {
        let hit = DigestHit {
            index,
            project: hex32(&project),
            purl: r.purl.clone(),
            name: artifact.name.clone(),
        };
        batch.digests.push((artifact.sha256, hit));
    }
}

/// Ends an index batch with the ledger's state after it: what the next start goes on from.
pub(crate) fn save_state(batch: &mut IndexBatch, fold: &Fold) {
    let touched: BTreeSet<&Hash> = batch.projects.iter().map(|(id, _)| id).collect();
    let standing = |id: &Hash| Some((*id, fold.standing(id)?.to_bytes()));
    batch.standings = touched.into_iter().filter_map(standing).collect();
    (batch.size, batch.last_time) = (fold.size(), fold.last_time());
}

/// Reads a leaf of our own log. One that does not parse counts as a leaf and says nothing.
pub(crate) fn read_leaf(bytes: &[u8]) -> Leaf {
    Leaf::parse(bytes).unwrap_or_else(|_| Leaf::Unknown {
        kind: "unreadable".to_owned(),
    })
}
