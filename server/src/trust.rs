//! Trust documents, kept by hash: in `public/trust` once their project is in the log,
//! until then with the pending project. Whoever uploads one proves nothing: clients check
//! the document against the hash in a trust string.

use crate::error::Error;
use crate::rotation::whole_pairs;
use crate::store::{Disk, StoreError, make_dir, write_durably};
use ledger::trust::{TrustDocument, TrustError};
use ledger::{Hash, from_hex32, hex32, sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Documents of one project at most that no statement of it names. Version 1 cannot name
/// one, since a document holds the hash of version 1; and anybody may upload, so there is an
/// end. What a later version names as its `policy` is kept whatever strangers uploaded.
const PER_PROJECT: usize = 8;

/// Why a document is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustRejection {
    /// Not a trust document.
    #[error(transparent)]
    Document(#[from] TrustError),
    /// Not under its own hash.
    #[error("the document's SHA-256 is {got}, the address says {want}")]
    Hash {
        /// The hash in the address.
        want: String,
        /// The document's.
        got: String,
    },
    /// Of another log.
    #[error("the document is for log {got:?}, this log is {want:?}")]
    OtherOrigin {
        /// This log.
        want: String,
        /// The document's.
        got: String,
    },
    /// Lists other keys than this log signs with, or one of a pair without the other.
    #[error(
        "the document does not list exactly this log's vkeys (while they are rotated: the new pair, the old one, or both)"
    )]
    OtherKeys,
    /// Of a project that this log does not know under that name.
    #[error("no project {0} of that name is in this log or awaits admission")]
    UnknownProject(String),
    /// Too many.
    #[error("{PER_PROJECT} documents of this project are kept already")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TrustRejection {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Document(e) => e.kind(),
            Self::Hash { .. } => "trust-hash-mismatch",
            Self::OtherOrigin { .. } => "other-origin",
            Self::OtherKeys => "trust-other-log-keys",
            Self::UnknownProject(_) => "unknown-project",
            Self::TooMany => "too-many-trust-documents",
            Self::Store(e) => e.kind(),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Document(_) | Self::Hash { .. } => 400,
            Self::OtherOrigin { .. } | Self::OtherKeys => 422,
            Self::UnknownProject(_) => 404,
            Self::TooMany => 409,
            Self::Store(_) => 500,
        }
    }
}

/// What the log knows of a document's project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is in the log.
    Admitted,
    /// It awaits the operator.
    Pending,
}

/// The documents.
pub struct TrustDocuments {
    public: PathBuf,
    pending: PathBuf,
    /// Document hash → project, of the public ones.
    known: Mutex<BTreeMap<Hash, Hash>>,
}

fn documents(dir: &Path) -> Result<Vec<(Hash, PathBuf)>, Error> {
    let items = match fs::read_dir(dir) {
        Ok(items) => items,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(dir, &e)),
    };
    let paths = items.filter_map(|item| item.ok().map(|i| i.path()));
    Ok(paths
        .filter_map(|path| {
            let hash = path
                .file_name()?
                .to_str()?
                .strip_suffix(".json")
                .and_then(from_hex32)?;
            Some((hash, path))
        })
        .collect())
}

impl TrustDocuments {
    /// Opens both places; the directories are made if need be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(public: PathBuf, pending: PathBuf) -> Result<Self, Error> {
        for dir in [&public, &pending] {
            make_dir(&Disk, dir)?;
        }
        let mut known = BTreeMap::new();
        for (hash, path) in documents(&public)? {
            let bytes = fs::read(&path).map_err(|e| Error::io(&path, &e))?;
            // One that does not hash to its name is not served.
            if sha256(&bytes) == hash
                && let Ok(document) = TrustDocument::parse(&bytes)
            {
                known.insert(hash, document.project.id);
            }
        }
        Ok(Self {
            public,
            pending,
            known: Mutex::new(known),
        })
    }

    fn pending_dir(&self, project: &Hash) -> PathBuf {
        self.pending.join(hex32(project))
    }

    /// Checks that `bytes` are a document of this log under `hash`: it lists `vkeys`, or whole
    /// pairs of them.
    ///
    /// # Errors
    /// [`TrustRejection`].
    pub fn check(
        hash: &Hash,
        bytes: &[u8],
        origin: &str,
        vkeys: &[String],
    ) -> Result<TrustDocument, TrustRejection> {
        let got = sha256(bytes);
        if got != *hash {
            return Err(TrustRejection::Hash {
                want: hex32(hash),
                got: hex32(&got),
            });
        }
        let document = TrustDocument::parse(bytes)?;
        if document.log.origin != origin {
            return Err(TrustRejection::OtherOrigin {
                want: origin.into(),
                got: document.log.origin,
            });
        }
        if !whole_pairs(&document.log.vkeys, vkeys) {
            return Err(TrustRejection::OtherKeys);
        }
        Ok(document)
    }

    /// Keeps a checked document. `named`: a statement of the project names its hash.
    ///
    /// # Errors
    /// [`TrustRejection::TooMany`], [`TrustRejection::Store`].
    pub fn keep(
        &self,
        hash: Hash,
        bytes: &[u8],
        project: Hash,
        standing: Standing,
        named: bool,
    ) -> Result<(), TrustRejection> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(&hash) {
            return Ok(());
        }
        let name = format!("{}.json", hex32(&hash));
        let (dir, held) = match standing {
            Standing::Admitted => (
                self.public.clone(),
                known.values().filter(|p| **p == project).count(),
            ),
            Standing::Pending => {
                let dir = self.pending_dir(&project);
                make_dir(&Disk, &dir)?;
                if dir.join(&name).exists() {
                    return Ok(());
                }
                let held = fs::read_dir(&dir)
                    .map_err(|e| StoreError::io(&dir, &e))?
                    .count();
                (dir, held)
            }
        };
        if held >= PER_PROJECT && !named {
            return Err(TrustRejection::TooMany);
        }
        write_durably(&Disk, &dir.join(name), bytes)?;
        if standing == Standing::Admitted {
            known.insert(hash, project);
        }
        Ok(())
    }

    /// Publishes the documents of a project that was admitted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn publish(&self, project: &Hash) -> Result<(), Error> {
        let dir = self.pending_dir(project);
        // Held to the end, so that no upload writes into the directory that goes.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (hash, path) in documents(&dir)? {
            let target = self.public.join(format!("{}.json", hex32(&hash)));
            fs::rename(&path, &target).map_err(|e| Error::io(&target, &e))?;
            known.insert(hash, *project);
        }
        crate::store::sync_dir(&self.public)?;
        let _ = fs::remove_dir(&dir);
        Ok(())
    }

    /// Drops what was uploaded for a project that was refused. What stays on an error is only
    /// waste.
    pub fn forget(&self, project: &Hash) {
        let _known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = fs::remove_dir_all(self.pending_dir(project));
    }

    /// The one document whose hash begins with `prefix` (hex digits).
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn find(&self, prefix: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let hash = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let mut low = [0u8; 32];
            let whole = prefix.len() / 2 * 2;
            let digits = prefix.get(..whole).unwrap_or_default();
            let Some(place) = low.get_mut(..whole / 2) else {
                return Ok(None);
            };
            if hex::decode_to_slice(digits, place).is_err() {
                return Ok(None);
            }
            let mut matching = known
                .range(low..)
                .map(|(h, _)| *h)
                .take_while(|h| hex32(h).starts_with(digits));
            matching.find(|h| hex32(h).starts_with(prefix))
        };
        let Some(hash) = hash else { return Ok(None) };
        let path = self.public.join(format!("{}.json", hex32(&hash)));
        fs::read(&path)
            .map(Some)
            .map_err(|e| StoreError::io(&path, &e))
    }
}
