//! What is known of each witness, for `/readyz`, `/metrics`, and whoever asks why a checkpoint
//! has no quorum.

use std::time::Instant;

/// How a witness last did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Outcome {
    /// Not asked yet.
    #[default]
    Unasked,
    /// It cosigned.
    Cosigned,
    /// It did not, and why; with a stable word for the reason.
    Failed(&'static str, String),
}

impl Outcome {
    /// A stable word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unasked => "unasked",
            Self::Cosigned => "cosigned",
            Self::Failed(kind, _) => kind,
        }
    }
}

/// A witness as the log sees it.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// How it last did.
    pub outcome: Outcome,
    /// The largest size that it has cosigned, since the log started.
    pub size: Option<u64>,
    /// The time in its last cosignature, Unix seconds.
    pub time: u64,
    /// How often it has cosigned, and failed to.
    pub counts: (u64, u64),
    /// When it may be asked again.
    pub(super) not_before: Option<Instant>,
    /// When it last cosigned.
    pub(super) at: Option<Instant>,
}
