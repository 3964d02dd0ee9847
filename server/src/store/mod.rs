//! Durable storage in three parts, because they grow differently (docs/architecture.md,
//! "The way of an entry"):
//!
//! - [`Hot`]: bounded; its commit alone decides what happened. Embedded: sled.
//! - [`Blobs`]: full tiles and full entry bundles; grow for ever, never change. Embedded:
//!   files at the tlog-tiles paths, which any static web server or `rsync` can mirror.
//! - [`Index`]: random keys, grows for ever, derived from the other two. Embedded: fjall.
//!
//! Order of a batch: the hot state takes the new entries and is flushed; blobs that became
//! full are made durable; only then is the checkpoint shown, and only the next commit drops
//! what the blobs now hold. So a blob never holds anything but committed entries, and
//! writing one again after a crash changes nothing.

mod blobs_files;
mod files;
mod hits;
mod hot_sled;
mod index_fjall;
mod synced;

pub use blobs_files::FileBlobs;
pub use files::{Disk, Files};
pub(crate) use files::{make_dir, sync_dir, write_durably};
pub(crate) use hits::{digest_value, project_value};
pub use hot_sled::SledHot;
pub use index_fjall::FjallIndex;
pub(crate) use index_fjall::rows::Table;
pub(crate) use synced::{PIECE, Synced, failed};

use serde::{Deserialize, Serialize};
use std::path::Path;
use tlog::Hash;

/// Why the store could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused.
    #[error("{path}: {why}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        why: String,
    },
    /// The hot state's database failed.
    #[error("hot state: {0}")]
    Hot(String),
    /// The index's database failed.
    #[error("index: {0}")]
    Index(String),
    /// Somebody else committed in between: nothing was written.
    #[error("hot state: another writer committed size {found}, this one expected size {expected}")]
    Conflict {
        /// The size that the caller believed to be last.
        expected: u64,
        /// The size that stands.
        found: u64,
    },
    /// The index was made by another version. It is derived, so it can be made anew.
    #[error("index: it was made by another version of this program, at size {0}")]
    OtherIndex(u64),
    /// A keyspace of the index was lost, or is older than the rest; it can be made anew.
    #[error("index: its keyspace {1} is not of the same size as the rest, {0}")]
    TornIndex(u64, &'static str),
    /// What is stored cannot have been written by this program.
    #[error("damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "store-io",
            Self::Hot(_) => "store-hot",
            Self::Index(_) => "store-index",
            Self::OtherIndex(_) => "store-index-version",
            Self::TornIndex(..) => "store-index-torn",
            Self::Conflict { .. } => "store-conflict",
            Self::Damaged(_) => "store-damaged",
        }
    }

    /// An I/O error at `path`.
    pub(crate) fn io(path: &Path, e: &std::io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            why: e.to_string(),
        }
    }
}

/// Where the log stands: the record that a commit compares and swaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Raised by every start, so that a writer that was replaced cannot commit.
    pub epoch: u64,
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree over them.
    #[serde(with = "hash_text")]
    pub root: Hash,
    /// Digest of the ledger's folded state: a sequencer does not run on any other.
    #[serde(with = "hash_text")]
    pub fold: Hash,
    /// The signed checkpoint, a note as text.
    pub checkpoint: String,
}

/// A hash as hex digits.
pub(crate) mod hash_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    pub(crate) fn serialize<S: Serializer>(hash: &tlog::Hash, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(hash))
    }
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<tlog::Hash, D::Error> {
        let mut out = [0u8; 32];
        hex::decode_to_slice(String::deserialize(d)?, &mut out).map_err(D::Error::custom)?;
        Ok(out)
    }
}

/// One atomic step of the hot state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotBatch {
    /// Where the log stands afterwards.
    pub head: Head,
    /// New entries with their indexes.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Entries below this index lie in durable blobs and are dropped.
    pub drop_below: u64,
}

/// The bounded hot state.
pub trait Hot: Send + Sync {
    /// Where the log stands; `None` before the first commit.
    ///
    /// # Errors
    /// [`StoreError`].
    fn head(&self) -> Result<Option<Head>, StoreError>;

    /// The entries held, in order of index.
    ///
    /// # Errors
    /// [`StoreError`].
    fn entries(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;

    /// Compare-and-swap: if the head is `expected`, the batch is written, durably, before
    /// this returns. After any error but [`StoreError::Conflict`] it is not known what is
    /// on disk: the process must end, and nothing may be retried in memory.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where another head stands.
    fn commit(&self, expected: Option<&Head>, batch: &HotBatch) -> Result<(), StoreError>;
}

/// Immutable blobs, named by their tlog-tiles paths.
pub trait Blobs: Send + Sync {
    /// The blob at `path`, or `None`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes blobs durably; the same bytes again change nothing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where other bytes stand under that name.
    fn put(&self, blobs: &[(String, Vec<u8>)]) -> Result<(), StoreError>;
}

/// Where the newest signed checkpoint is kept outside of everything else.
pub trait Mark: Send {
    /// Makes this checkpoint the mark, durably.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn raise(&self, checkpoint: &str) -> Result<(), StoreError>;
}

/// An artifact as some release lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestHit {
    /// Log index of the release.
    pub index: u64,
    /// Project id in hex.
    pub project: String,
    /// The release's purl.
    pub purl: String,
    /// The artifact's name.
    pub name: String,
}

/// An entry of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectHit {
    /// Log index.
    pub index: u64,
    /// `project`, `release`, or the operation's word.
    pub what: String,
    /// The release's purl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// PAE hash of the statement in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// What a batch of leaves adds to the index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexBatch {
    /// Number of leaves indexed afterwards.
    pub size: u64,
    /// PAE hash → index.
    pub paes: Vec<(Hash, u64)>,
    /// Digest → release.
    pub digests: Vec<(Hash, DigestHit)>,
    /// Project id → entry.
    pub projects: Vec<(Hash, ProjectHit)>,
    /// SHA-256 of a released purl → index.
    pub purls: Vec<(Hash, u64)>,
    /// The same of releases that state a voided one again.
    pub restated: Vec<(Hash, u64)>,
    /// Project id → index and leaf of a statement of the project that decides who may speak for
    /// it, or what is withdrawn.
    pub statements: Vec<(Hash, u64, Vec<u8>)>,
    /// Project id → its standing (`ledger::fold::Standing`) once this batch is applied.
    pub standings: Vec<(Hash, Vec<u8>)>,
    /// The largest leaf time so far, in Unix seconds.
    pub last_time: u64,
}

/// The ledger's state as an index keeps it, so that a start need not fold the whole log. It is
/// compared with the digest in the [`Head`] before anything is built on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SavedState {
    /// Number of leaves indexed.
    pub size: u64,
    /// The largest leaf time among them.
    pub last_time: u64,
    /// What decides who may speak for a project and what is withdrawn, by id and then by index.
    pub statements: Vec<(Hash, u64, Vec<u8>)>,
    /// Standings, by id.
    pub standings: Vec<(Hash, Vec<u8>)>,
}

/// The derived index. It carries the size that it has reached, catches up on start, and can
/// be rebuilt from the blobs.
pub trait Index: Send + Sync {
    /// Number of leaves indexed.
    ///
    /// # Errors
    /// [`StoreError`].
    fn size(&self) -> Result<u64, StoreError>;

    /// Adds a batch, atomically.
    ///
    /// # Errors
    /// [`StoreError`].
    fn apply(&self, batch: &IndexBatch) -> Result<(), StoreError>;

    /// The ledger's state at [`Index::size`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn state(&self) -> Result<SavedState, StoreError>;

    /// The entry with this PAE hash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn by_pae(&self, pae: &Hash) -> Result<Option<u64>, StoreError>;

    /// The last release below `below` of the purl with this SHA-256.
    ///
    /// # Errors
    /// [`StoreError`].
    fn by_purl(&self, purl: &Hash, below: u64) -> Result<Option<u64>, StoreError>;

    /// At most `limit` releases that list this digest, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn by_digest(&self, digest: &Hash, limit: usize) -> Result<Vec<DigestHit>, StoreError>;

    /// At most `limit` entries of a project at log index `from` or later, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn by_project(
        &self,
        project: &Hash,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ProjectHit>, StoreError>;
}

/// An index as the fold asks it for what was released.
pub(crate) struct InIndex(pub(crate) std::sync::Arc<dyn Index>);

impl ledger::released::Released for InIndex {
    fn released(&self, purl: &Hash, below: u64) -> Result<Option<u64>, String> {
        self.0.by_purl(purl, below).map_err(|e| e.to_string())
    }

    fn stated(&self, pae: &Hash) -> Result<Option<u64>, String> {
        self.0.by_pae(pae).map_err(|e| e.to_string())
    }
}
