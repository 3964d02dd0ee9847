//! What a witness checks: first the log's signatures, in parallel and without any state; then,
//! one after the other, that the checkpoint extends the one that was cosigned last. Pure: no
//! I/O, no clock.

use super::logs::TrustedLog;
use super::state::Latest;
use crate::clock::ClockError;
use std::sync::Arc;
use tlog::Hash;
use tlog::checkpoint::{Checkpoint, CheckpointError};
use tlog::hash::EMPTY_ROOT;
use tlog::note::{Note, NoteError};
use tlog::proof::{ProofError, verify_consistency};
use tlog::witness::{AddCheckpoint, AddCheckpointError};

/// Longest checkpoint text in bytes: three lines take some hundred; what is kept of a log, in
/// memory too, is bounded by it.
pub const MAX_TEXT: usize = 16 * 1024;

/// Why a checkpoint is not cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The body cannot be read.
    #[error("the request cannot be read: {}", chain(.0))]
    Malformed(#[from] AddCheckpointError),
    /// A checkpoint text over [`MAX_TEXT`].
    #[error("the checkpoint's text has {got} bytes, at most {MAX_TEXT} are taken")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// No log of this origin is witnessed here.
    #[error(
        "unknown log {origin:?}: this witness does not know its keys; ask its operator to add them"
    )]
    UnknownLog {
        /// The origin, cut for display.
        origin: String,
    },
    /// A signature of a trusted key failed, or there is none.
    #[error("invalid signature: {0}")]
    Signature(NoteError),
    /// The log has sent more than its rate.
    #[error("this log sends more checkpoints than this witness takes of one log")]
    Rate {
        /// Seconds after which it may send again.
        wait: u64,
    },
    /// The old size is above the checkpoint's.
    #[error("old size {old} is larger than the checkpoint's size {size}")]
    OldAboveSize {
        /// The old size.
        old: u64,
        /// The checkpoint's.
        size: u64,
    },
    /// The old size is not the one that was cosigned last.
    #[error("the size cosigned last is {size}, not {old}")]
    Stale {
        /// The old size.
        old: u64,
        /// The one that was cosigned last.
        size: u64,
        /// The checkpoint is of a size that was cosigned, with another root.
        fork: Option<Box<Fork>>,
    },
    /// A tree without leaves has one root.
    #[error("a checkpoint of size 0 has the root of the empty tree, this one has not")]
    EmptyRoot,
    /// The same size, another root: the log signed two histories.
    #[error("inconsistent: another root of the same size {size} was cosigned")]
    OtherRoot {
        /// The size.
        size: u64,
        /// What was cosigned.
        fork: Box<Fork>,
    },
    /// The proof does not lead from what was cosigned last to the checkpoint.
    #[error("the consistency proof does not verify: {why}")]
    Proof {
        /// How it failed.
        why: ProofError,
        /// What was cosigned, where something was.
        fork: Option<Box<Fork>>,
    },
    /// The witness's clock cannot be right.
    #[error("this witness's clock {0}, so it dates nothing now")]
    Clock(ClockError),
    /// As many checkpoints wait as may.
    #[error("as many checkpoints wait as this witness takes")]
    Busy,
    /// The witness ends.
    #[error("the witness stopped before it knew whether this is durable: send it again")]
    Stopping,
}

/// An error with its causes.
fn chain(e: &AddCheckpointError) -> String {
    let mut text = e.to_string();
    let mut next = std::error::Error::source(e);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl Refusal {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Malformed(AddCheckpointError::Checkpoint(_)) | Self::TooLong { .. } => {
                "invalid-checkpoint"
            }
            Self::Malformed(_) => "invalid-input",
            Self::UnknownLog { .. } => "unknown-log",
            Self::Signature(_) => "invalid-signature",
            Self::Rate { .. } => "log-rate",
            Self::OldAboveSize { .. } => "old-size-too-large",
            Self::Stale { .. } => "conflict",
            Self::EmptyRoot => "empty-root",
            Self::OtherRoot { .. } => "other-root",
            Self::Proof { .. } => "consistency-proof",
            Self::Clock(_) => "clock",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::TooLong { .. } | Self::OldAboveSize { .. } => 400,
            Self::UnknownLog { .. } => 404,
            Self::Signature(_) => 403,
            Self::Rate { .. } => 429,
            Self::Stale { .. } => 409,
            Self::EmptyRoot | Self::OtherRoot { .. } | Self::Proof { .. } => 422,
            Self::Clock(_) | Self::Busy | Self::Stopping => 503,
        }
    }

    /// What was cosigned, where the checkpoint may contradict it.
    #[must_use]
    pub fn fork(&self) -> Option<&Fork> {
        match self {
            Self::OtherRoot { fork, .. } => Some(fork),
            Self::Proof { fork, .. } | Self::Stale { fork, .. } => fork.as_deref(),
            _ => None,
        }
    }
}

/// A checkpoint that may contradict one that was cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// What was cosigned.
    pub cosigned: Arc<Latest>,
    /// The root that the newer tree has, by the proof, at the size that was cosigned; `None`
    /// where that is not proven, and the finding may be a client's mistake.
    pub other_root: Option<Hash>,
}

/// A request whose signatures were verified.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Its log.
    pub log: Arc<TrustedLog>,
    /// The size that was cosigned last, as the log believes.
    pub old_size: u64,
    /// The proof from there.
    pub proof: Vec<Hash>,
    /// What the checkpoint says.
    pub checkpoint: Checkpoint,
    /// The checkpoint with the log's signatures that were verified, and no others.
    pub note: Note,
}

/// Checks all that needs no state: the log is known, and it signed this.
///
/// # Errors
/// [`Refusal`].
pub fn admit(
    request: AddCheckpoint,
    find: impl FnOnce(&str) -> Option<Arc<TrustedLog>>,
) -> Result<Admitted, Refusal> {
    let AddCheckpoint {
        old_size,
        proof,
        mut note,
        checkpoint,
    } = request;
    if note.text.len() > MAX_TEXT {
        let got = note.text.len();
        return Err(Refusal::TooLong { got });
    }
    let origin = &checkpoint.origin;
    let log = find(origin).ok_or_else(|| Refusal::UnknownLog {
        origin: origin.chars().take(200).collect(),
    })?;
    // Every line of a trusted key must verify, and one at least.
    let signed = note.verify(&log.keys).map_err(Refusal::Signature)?;
    let mut lines = Vec::with_capacity(signed.len());
    for key in signed.iter().filter_map(|s| log.keys.get(s.key)) {
        let mut own = note.signatures.iter();
        let own = own.find(|l| l.name == key.name() && l.key_id == key.key_id());
        lines.extend(own.cloned());
    }
    note.signatures = lines;
    if old_size > checkpoint.size {
        return Err(Refusal::OldAboveSize {
            old: old_size,
            size: checkpoint.size,
        });
    }
    Ok(Admitted {
        log,
        old_size,
        proof,
        checkpoint,
        note,
    })
}

/// Checks that a checkpoint extends what was cosigned last of its log.
///
/// # Errors
/// [`Refusal`]; nothing of the request may then change anything.
pub fn extends(latest: Option<&Arc<Latest>>, request: &Admitted) -> Result<(), Refusal> {
    let (size, root) = (request.checkpoint.size, &request.checkpoint.root);
    let (last_size, last_root) = latest.map_or((0, EMPTY_ROOT), |l| (l.size, l.root));
    let same_size = latest.filter(|l| l.size == size && l.root != *root);
    let two_roots = same_size.map(|cosigned| {
        Box::new(Fork {
            cosigned: Arc::clone(cosigned),
            other_root: Some(*root),
        })
    });
    if request.old_size != last_size {
        return Err(Refusal::Stale {
            old: request.old_size,
            size: last_size,
            fork: two_roots,
        });
    }
    if size == 0 && *root != EMPTY_ROOT {
        return Err(Refusal::EmptyRoot);
    }
    if let Some(fork) = two_roots {
        return Err(Refusal::OtherRoot { size, fork });
    }
    verify_consistency(last_size, &last_root, size, root, &request.proof).map_err(|why| {
        // What was cosigned itself, sent again with a proof that it needs not, contradicts nothing.
        let other = latest.filter(|l| l.size > 0 && l.size != size);
        let fork = other.map(|cosigned| {
            Box::new(Fork {
                cosigned: Arc::clone(cosigned),
                other_root: other_root(&why, last_size, request),
            })
        });
        Refusal::Proof { why, fork }
    })
}

/// The root at the old size that a proof shows in the newer tree, where it is a valid proof of
/// that root, so that the log's own signature on the newer tree contradicts what was cosigned.
fn other_root(why: &ProofError, old_size: u64, request: &Admitted) -> Option<Hash> {
    let ProofError::OldRootMismatch { got, .. } = why else {
        return None;
    };
    let (size, root) = (request.checkpoint.size, &request.checkpoint.root);
    verify_consistency(old_size, got, size, root, &request.proof)
        .is_ok()
        .then_some(*got)
}

/// Reads a body and admits it.
///
/// # Errors
/// [`Refusal`].
pub fn read(
    body: &[u8],
    find: impl FnOnce(&str) -> Option<Arc<TrustedLog>>,
) -> Result<Admitted, Refusal> {
    admit(AddCheckpoint::parse(body)?, find)
}

/// Reads a checkpoint of `origin` that was kept.
///
/// # Errors
/// [`CheckpointError`].
pub fn kept(note: &Note) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::parse(&note.text)
}
