//! Why an artifact is refused: one variant a reason, each with a stable kind and, where it
//! helps, what was expected and what was got (docs/formats.md, "Verification").

use ledger::fold::Refusal;

/// Why an artifact is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// A checkpoint is malformed or a signature on it fails.
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    /// The checkpoint is another log's.
    #[error("the checkpoint is of another log")]
    Origin(Differ),
    /// A log key that the policy lists has not signed.
    #[error("log key {0} has not signed the checkpoint; the policy lists it, so it must")]
    LogKey(String),
    /// The policy's witnesses have not cosigned in sufficient number: who has, and who has not.
    #[error("the checkpoint does not meet the policy's witness quorum: {0}")]
    Quorum(String),
    /// The later checkpoint does not extend the first.
    #[error("the two checkpoints are not proven consistent: {0}")]
    Consistency(String),
    /// The ledger head is not what it must be.
    #[error("ledger head: {0}")]
    Head(String),
    /// The state document is not proven by the ledger map.
    #[error("ledger map: {0}")]
    Map(String),
    /// The chain of project statements does not hold.
    #[error("project statements: {0}")]
    Chain(String),
    /// The project statement is not the pinned one.
    #[error("the bundle is of another project")]
    Project(Differ),
    /// The log answered with another statement than the one that was sent.
    #[error("the entry is another statement")]
    Statement(Differ),
    /// The release is not proven to be in the log.
    #[error("inclusion: {0}")]
    Inclusion(String),
    /// The leaf is no release.
    #[error("the entry is not a release: {0}")]
    NotRelease(String),
    /// It was not said by who may say it.
    #[error("not authorised: {0}")]
    Unauthorised(#[from] Refusal),
    /// The signatures on the release do not count any more.
    #[error("void: the release was signed by {0}, which is revoked for that time")]
    Void(String),
    /// The release or an artifact of it is withdrawn.
    #[error("withdrawn by the project (statement {0})")]
    Withdrawn(String),
    /// The proofs about withdrawals are missing or fail.
    #[error("withdrawals: {0}")]
    WithdrawnProof(String),
    /// No artifact of this name is in the release.
    #[error("the release has no artifact of this name")]
    Name(Differ),
    /// The bytes are not the released ones.
    #[error("the artifact's digest is not the released one")]
    Digest(Differ),
    /// The size is not the released one.
    #[error("the artifact's size is not the released one")]
    Size(Differ),
    /// Another version was asked for.
    #[error("the bundle is of another version")]
    Version(Differ),
    /// The times do not agree with the policy.
    #[error("time: {0}")]
    Time(String),
    /// An older release than the one remembered, without being asked for by version.
    #[error(
        "older than the release remembered for this name; name it with --version if you mean it"
    )]
    Rollback(Differ),
    /// Two roots of one size: the log has shown two histories.
    #[error("fork: the log has shown two different trees of size {size}; keep both as evidence")]
    Fork {
        /// The size at which both stand.
        size: u64,
        /// The two signed notes: what is remembered or floored, and what is shown.
        notes: Box<(String, String)>,
    },
    /// A newer head is remembered, and this bundle cannot say what it withdrew.
    #[error(
        "a newer head of this project is remembered (size {remembered}, the bundle's is {got}), and withdrawals have changed: refresh the bundle"
    )]
    NeedsRefresh {
        /// Size of the remembered head.
        remembered: u64,
        /// Size of the bundle's head.
        got: u64,
    },
}

/// What was expected, and what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differ {
    /// What was wanted.
    pub expected: String,
    /// What was got.
    pub got: String,
}

pub(crate) fn differ(expected: impl ToString, got: impl ToString) -> Differ {
    Differ {
        expected: expected.to_string(),
        got: got.to_string(),
    }
}

impl Refused {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "checkpoint-invalid",
            Self::Origin(_) => "other-log",
            Self::LogKey(_) => "log-key-missing",
            Self::Quorum(_) => "quorum-not-met",
            Self::Consistency(_) => "not-consistent",
            Self::Head(_) => "bad-ledger-head",
            Self::Map(_) => "bad-map-proof",
            Self::Chain(_) => "bad-project-chain",
            Self::Project(_) => "other-project",
            Self::Statement(_) => "other-statement",
            Self::Inclusion(_) => "not-included",
            Self::NotRelease(_) => "not-a-release",
            Self::Unauthorised(r) => r.kind(),
            Self::Void(_) => "void",
            Self::Withdrawn(_) => "withdrawn",
            Self::WithdrawnProof(_) => "bad-withdrawal-proof",
            Self::Name(_) => "other-artifact",
            Self::Digest(_) => "digest-mismatch",
            Self::Size(_) => "size-mismatch",
            Self::Version(_) => "other-version",
            Self::Time(_) => "time",
            Self::Rollback(_) => "rollback",
            Self::Fork { .. } => "fork",
            Self::NeedsRefresh { .. } => "needs-refresh",
        }
    }

    /// What was expected and got, where that is the reason.
    #[must_use]
    pub fn differ(&self) -> Option<&Differ> {
        match self {
            Self::Origin(d)
            | Self::Project(d)
            | Self::Statement(d)
            | Self::Name(d)
            | Self::Digest(d)
            | Self::Size(d)
            | Self::Version(d)
            | Self::Rollback(d) => Some(d),
            _ => None,
        }
    }

    /// Whether this is "could not be checked" (exit code 3) and not "do not trust" (1).
    #[must_use]
    pub fn unchecked(&self) -> bool {
        matches!(self, Self::NeedsRefresh { .. })
    }
}

/// Requires that the two are the same.
pub(crate) fn same<T: ToString + PartialEq>(expected: &T, got: &T) -> Result<(), Differ> {
    if expected == got {
        Ok(())
    } else {
        Err(differ(expected.to_string(), got.to_string()))
    }
}
