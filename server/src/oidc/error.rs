//! Why no certificate is issued.

use crate::reject::whole_seconds;
use keys::certificate::CertificateError;
use std::time::Duration;

/// Why no certificate is issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// The body is not what this address takes.
    #[error("{0}")]
    Body(String),
    /// Not a token as platforms issue them.
    #[error("the token is refused: {0}")]
    Token(String),
    /// Signed by no algorithm that is taken, or not signed at all.
    #[error("the token's algorithm is refused: {0}")]
    Algorithm(String),
    /// By nobody whose tokens this log takes.
    #[error("this log takes no tokens of the issuer {0:?}")]
    Issuer(String),
    /// Made for somebody else.
    #[error("the token is not for this log: its audience must be {want:?}")]
    Audience {
        /// The audience that this log wants.
        want: String,
    },
    /// Its time is over.
    #[error("the token ended at {exp}, it is {now}")]
    Expired {
        /// Unix seconds.
        exp: u64,
        /// Unix seconds.
        now: u64,
    },
    /// Its time has not come.
    #[error("the token begins at {from}, it is {now}")]
    NotYet {
        /// Unix seconds.
        from: u64,
        /// Unix seconds.
        now: u64,
    },
    /// Valid for longer than this log accepts.
    #[error("the token is valid for {life} seconds, at most {most} are accepted")]
    Life {
        /// Its life in seconds.
        life: u64,
        /// The longest that is accepted.
        most: u64,
    },
    /// By a key that the issuer does not list, or that is not taken.
    #[error("the issuer's key {kid:?} {why}")]
    Key {
        /// Its identifier.
        kid: String,
        /// Why it is not used.
        why: String,
    },
    /// The signature is not by the issuer's key.
    #[error("the token's signature is not by its issuer's key")]
    Signature,
    /// A claim that must not go into a certificate.
    #[error("claim {name}: {why}")]
    Claim {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not one of those that the operator lets in.
    #[error("this identity gets no certificate here: claim {name} {why}")]
    NotAllowed {
        /// The claim that says so.
        name: String,
        /// What it is, and what it must be.
        why: String,
    },
    /// A token that was used already.
    #[error("the token was used already, for another key")]
    Replayed,
    /// A token whose certificate is being issued.
    #[error("a certificate for this token is being issued")]
    InHand,
    /// As many tokens are remembered as there is room for.
    #[error("as many tokens were used in a short time as this log remembers")]
    TooMany(Duration),
    /// One identity has had as many as it may.
    #[error("this identity has had as many certificates as one may have in that time")]
    Rate(Duration),
    /// The issuer's keys are not known.
    #[error("the keys of the issuer {url:?} are not known: {why}")]
    Unreachable {
        /// The issuer.
        url: String,
        /// What went wrong.
        why: String,
        /// When it is tried again.
        again: Duration,
    },
    /// The request for a certificate is refused.
    #[error(transparent)]
    Request(CertificateError),
    /// The authority cannot issue.
    #[error("this log's authority issues no certificates: {0}")]
    Authority(String),
}

impl OidcError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Body(_) => "bad-certificate-body",
            Self::Token(_) => "bad-token",
            Self::Algorithm(_) => "token-algorithm",
            Self::Issuer(_) => "wrong-issuer",
            Self::Audience { .. } => "wrong-audience",
            Self::Expired { .. } => "token-expired",
            Self::NotYet { .. } => "token-not-yet-valid",
            Self::Life { .. } => "token-life",
            Self::Key { .. } => "unknown-key-id",
            Self::Signature => "bad-token-signature",
            Self::Claim { .. } => "bad-claim",
            Self::NotAllowed { .. } => "identity-not-allowed",
            Self::Replayed => "token-replayed",
            Self::InHand => "token-in-hand",
            Self::TooMany(_) => "too-many-tokens",
            Self::Rate(_) => "identity-rate",
            Self::Unreachable { .. } => "issuer-unreachable",
            Self::Request(CertificateError::Possession(_)) => "bad-request-signature",
            Self::Request(CertificateError::Key(_)) => "wrong-curve",
            Self::Request(_) => "bad-certificate-request",
            Self::Authority(_) => "authority-unavailable",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Body(_) | Self::Token(_) | Self::Algorithm(_) | Self::Request(_) => 400,
            Self::Claim { .. } => 422,
            Self::Replayed | Self::InHand => 409,
            Self::Rate(_) => 429,
            Self::TooMany(_) | Self::Unreachable { .. } | Self::Authority(_) => 503,
            _ => 403,
        }
    }

    /// After how many seconds the same may be sent again, where that helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::InHand => Some(1),
            Self::TooMany(wait) | Self::Rate(wait) | Self::Unreachable { again: wait, .. } => {
                Some(whole_seconds(*wait))
            }
            _ => None,
        }
    }

    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Audience { .. } => {
                "ask the platform for a token with this audience; a token is good for one service only"
            }
            Self::Expired { .. } | Self::Replayed => {
                "ask the platform for a new token: each is good for one key"
            }
            Self::NotYet { .. } => "compare the clocks of the platform, the job and this log",
            Self::Issuer(_) | Self::NotAllowed { .. } => {
                "who gets certificates is in the OIDC configuration of the log's operator"
            }
            Self::Claim { .. } => {
                "rename the branch, tag, workflow or project, so that it is printable ASCII without ?, #, % and spaces"
            }
            Self::Request(CertificateError::Possession(_)) => {
                "the request must be signed by the key that the certificate is for"
            }
            Self::Request(CertificateError::Key(_)) => "certificates are for P-256 keys",
            _ => return None,
        })
    }
}
