//! Why a submission is turned away: one type from admission to the HTTP answer.

use crate::guard::Cause;
use crate::store::StoreError;
use ledger::envelope::EnvelopeError;
use ledger::fold::Refusal;
use ledger::leaf::LeafError;
use ledger::statement::StatementError;
use std::time::Duration;

/// Why a submission is not in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The body is not an envelope as a log takes it.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The payload is not a statement that we take.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The ledger says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It does not fit in a leaf.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The queue is full.
    #[error("the log has as many entries waiting as it takes")]
    Busy,
    /// One project has as many waiting as there are free places.
    #[error("this project has its share of the queue waiting already")]
    ProjectBusy,
    /// The project's quota is used up.
    #[error("this project has released as much as this log takes from one project in that time")]
    ProjectRate(Duration),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The log does not sign.
    #[error(transparent)]
    CannotSign(#[from] Cause),
    /// The operator refused this project.
    #[error("the log's operator refused project {0}")]
    ProjectRefused(String),
    /// The release's project awaits the operator.
    #[error("project {0} awaits the decision of the log's operator")]
    ProjectPending(String),
    /// Too many projects await the operator.
    #[error("{0} projects await the operator's decision already; no more are kept")]
    TooManyPending(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Rejection {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Envelope(e) => e.kind(),
            Self::Statement(e) => e.kind(),
            Self::Refused(e) => e.kind(),
            Self::Leaf(e) => e.kind(),
            Self::Busy => "busy",
            Self::ProjectBusy => "project-busy",
            Self::ProjectRate(_) => "project-rate",
            Self::Stopping => "stopping",
            Self::CannotSign(cause) => cause.kind(),
            Self::ProjectRefused(_) => "project-refused",
            Self::ProjectPending(_) => "project-pending",
            Self::TooManyPending(_) => "too-many-pending",
            Self::Store(e) => e.kind(),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Envelope(_) | Self::Statement(_) => 400,
            Self::Leaf(LeafError::TooLarge(_)) => 413,
            Self::Leaf(_) => 400,
            Self::Refused(refusal) => match refusal {
                Refusal::LookUp { .. } => 500,
                Refusal::ProjectStands(_)
                | Refusal::StatementStands { .. }
                | Refusal::NameTaken { .. }
                | Refusal::PrefixOverlap { .. }
                | Refusal::OtherPrevious { .. }
                | Refusal::OtherVersion { .. }
                | Refusal::WindowNotWider { .. }
                | Refusal::TooFewRoots { .. }
                | Refusal::NotRestated { .. }
                | Refusal::PurlReleased { .. } => 409,
                Refusal::UnknownProject(_)
                | Refusal::UnknownPrevious(_)
                | Refusal::UnknownTarget(_)
                | Refusal::UnknownRelease(_) => 404,
                Refusal::OtherOrigin { .. }
                | Refusal::OtherName { .. }
                | Refusal::OtherRole { .. }
                | Refusal::WindowBeyond { .. }
                | Refusal::ForeignDigest(_)
                | Refusal::PrefixOutside { .. }
                | Refusal::PurlOutside { .. } => 422,
                Refusal::WrongHead { .. } | Refusal::UnknownKind(_) | Refusal::Json(_) => 400,
                _ => 403,
            },
            Self::ProjectRefused(_) => 403,
            Self::ProjectPending(_) => 409,
            Self::ProjectBusy | Self::ProjectRate(_) => 429,
            Self::CannotSign(Cause::Frozen(_)) => 410,
            Self::Busy | Self::Stopping | Self::CannotSign(_) | Self::TooManyPending(_) => 503,
            Self::Store(_) => 500,
        }
    }

    /// After how many seconds the same may be sent again, where that helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Busy | Self::ProjectBusy | Self::Stopping => Some(1),
            Self::ProjectRate(wait) => Some(whole_seconds(*wait)),
            Self::CannotSign(cause) => cause.passes().then_some(30),
            _ => None,
        }
    }

    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Busy | Self::ProjectBusy | Self::ProjectRate(_) => {
                "send the same envelope again after Retry-After seconds: publishing is idempotent"
            }
            Self::CannotSign(cause) => cause.hint(),
            Self::ProjectPending(_) => {
                "wait with `countersign project status NAME --wait`, then publish again"
            }
            Self::Refused(Refusal::UnknownProject(_)) => {
                "publish the project's first statement to this log first"
            }
            Self::Refused(Refusal::PurlReleased { .. }) => {
                "release under a new version; a purl cannot be used twice"
            }
            Self::Refused(Refusal::Frozen(_)) => {
                "ask the log's operator, who froze the project and can thaw it"
            }
            Self::Refused(Refusal::Threshold { .. } | Refusal::MissingSignature(_)) => {
                "add the signatures that are missing with `countersign sign`, then submit again"
            }
            Self::Refused(Refusal::UnauthorisedKey { .. } | Refusal::MixedSigners) => {
                "sign with keys that the project lists for this: see `countersign keys list`"
            }
            Self::Refused(Refusal::RevokedKey(_)) => {
                "a revoked key never returns: use another, see `countersign keys list`"
            }
            Self::Refused(Refusal::KeyTooOld { .. }) => {
                "put a new key in its place: `countersign keys rotate`"
            }
            Self::Refused(Refusal::NotRestated { .. }) => {
                "only a void release is stated again, with the same purl and the same files"
            }
            Self::Refused(Refusal::OtherPrevious { .. } | Refusal::OtherVersion { .. }) => {
                "the project has changed meanwhile: make the statement anew from its newest version"
            }
            Self::Refused(Refusal::TooFewRoots { .. }) => {
                "replace the key by a new project version first, then revoke it"
            }
            Self::Refused(Refusal::WindowBeyond { .. }) => {
                "compromisedSince is a log index that exists already"
            }
            Self::Refused(Refusal::NameTaken { .. }) => "names are unique in a log: choose another",
            _ => return None,
        })
    }
}

/// A time to wait, as `Retry-After` has it: never too early.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}
