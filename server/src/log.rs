//! What the server's parts share: the public view with the ledger's state at it, the
//! store's readers, and whether the log may sign.

use crate::datadir::Layout;
use crate::guard::{self, Cause, Guard};
use crate::kept::Kept;
pub use crate::metrics::Metrics;
use crate::store::{Blobs, DigestHit, Index, IndexBatch, ProjectHit};
use crate::view::{Reader, View};
use ledger::fold::Fold;
use ledger::leaf::Leaf;
use ledger::statement::Body;
use ledger::{Hash, hex32};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

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
    /// Its vkeys.
    pub vkeys: Vec<String>,
    /// Full tiles and bundles.
    pub blobs: Box<dyn Blobs>,
    /// The derived index.
    pub index: Arc<dyn Index>,
    /// Counters.
    pub metrics: Metrics,
    kept: Kept,
    published: RwLock<Published>,
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
        let (metrics, published) = (Metrics::default(), RwLock::new(published));
        let guard = Guard::unwatched(read_only);
        Self {
            origin,
            vkeys,
            blobs,
            index,
            metrics,
            kept: Kept::default(),
            published,
            guard,
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

    pub(crate) fn publish(&self) -> RwLockWriteGuard<'_, Published> {
        self.published
            .write()
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

/// Adds an accepted leaf's rows to an index batch. `bytes` are the leaf's.
pub(crate) fn index_rows(batch: &mut IndexBatch, index: u64, leaf: &Leaf, bytes: &[u8]) {
    match leaf {
        Leaf::Statement(s) => {
            let pae: Hash = s.envelope.pae_hash();
            batch.paes.push((pae, index));
            let statement = Some(hex32(&pae));
            match &s.statement.body {
                Body::Project(_) => {
                    batch.statements.push((pae, index, bytes.to_vec()));
                    let what = "project".to_owned();
                    batch.projects.push((
                        pae,
                        ProjectHit {
                            index,
                            what,
                            purl: None,
                            statement,
                        },
                    ));
                }
                Body::Release(r) => {
                    batch.purls.push((ledger::sha256(r.purl.as_bytes()), index));
                    let (what, purl) = ("release".to_owned(), Some(r.purl.clone()));
                    batch.projects.push((
                        r.package_id,
                        ProjectHit {
                            index,
                            what,
                            purl,
                            statement,
                        },
                    ));
                    batch
                        .digests
                        .extend(s.statement.subject.iter().map(|artifact| {
                            let (project, purl, name) =
                                (hex32(&r.package_id), r.purl.clone(), artifact.name.clone());
                            (
                                artifact.sha256,
                                DigestHit {
                                    index,
                                    project,
                                    purl,
                                    name,
                                },
                            )
                        }));
                }
            }
        }
        Leaf::Operation(o) => {
            let what = o.action.word().to_owned();
            batch.projects.push((
                o.project,
                ProjectHit {
                    index,
                    what,
                    purl: None,
                    statement: None,
                },
            ));
        }
        Leaf::Head(_) | Leaf::Unknown { .. } => {}
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
