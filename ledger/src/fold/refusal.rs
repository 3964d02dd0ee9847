//! Why the fold ignores a leaf, and admission refuses it.

use crate::json::JsonError;
use keys::certificate::CertificateError;

/// Why a statement may not be said now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The statement counts in another log only.
    #[error("the project statement is for log {got:?}, this log is {want:?}")]
    OtherOrigin {
        /// This log's origin.
        want: String,
        /// The origin that the statement names.
        got: String,
    },
    /// The project stands already.
    #[error("project {0} stands already")]
    ProjectStands(String),
    /// The same statement was accepted before, under whatever signatures.
    #[error("this statement stands already, as log index {index}")]
    StatementStands {
        /// Where it stands.
        index: u64,
    },
    /// The label belongs to another project.
    #[error("the name {name:?} belongs to project {holder}")]
    NameTaken {
        /// The label.
        name: String,
        /// The project that holds it.
        holder: String,
    },
    /// A purl prefix covers, or is covered by, another project's.
    #[error("purl prefix {prefix:?} overlaps {other:?} of project {holder}")]
    PrefixOverlap {
        /// The prefix asked for.
        prefix: String,
        /// The prefix that stands.
        other: String,
        /// The project that holds it.
        holder: String,
    },
    /// The statement goes on from no version of a project that is in the log.
    #[error("no project statement with PAE hash {0} is in this log")]
    UnknownPrevious(String),
    /// The statement goes on from a version that is no longer the newest.
    #[error("previous is {got}, the newest version's statement is {want}")]
    OtherPrevious {
        /// The newest version's statement.
        want: String,
        /// What the statement names.
        got: String,
    },
    /// A version was left out, or given again.
    #[error("version is {got}, want {want}")]
    OtherVersion {
        /// One more than the newest.
        want: u64,
        /// What the statement says.
        got: u64,
    },
    /// A later version with another name.
    #[error("the project is named {want:?} for ever, the statement says {got:?}")]
    OtherName {
        /// The project's name.
        want: String,
        /// The statement's.
        got: String,
    },
    /// A key that was a root is to be a release key, or the other way round.
    #[error("key {key} has been a {was} key of this project, and never becomes another")]
    OtherRole {
        /// The key.
        key: String,
        /// What it was: `root` or `release`.
        was: &'static str,
    },
    /// A revoked key, listed again or signing.
    #[error("key {0} is revoked in this project")]
    RevokedKey(String),
    /// What is to be revoked was never the project's.
    #[error("{0} is nothing that this project lists or has listed")]
    UnknownTarget(String),
    /// The revocation would leave too few roots.
    #[error(
        "{left} unrevoked root keys would be left, and the threshold is {want}: replace the key first"
    )]
    TooFewRoots {
        /// How many would be left.
        left: u64,
        /// The root threshold in force.
        want: u64,
    },
    /// The window begins at a leaf that does not exist yet.
    #[error("compromisedSince is {since}, want below the tree size {size}")]
    WindowBeyond {
        /// What the statement says.
        since: u64,
        /// Leaves before it.
        size: u64,
    },
    /// The window would become smaller.
    #[error("compromisedSince is {since}, and was {before} before: a window only widens")]
    WindowNotWider {
        /// What the statement says.
        since: u64,
        /// The smallest given before.
        before: u64,
    },
    /// Roots and release keys on one withdrawal.
    #[error("a withdrawal is signed by root keys or by release keys, not by both")]
    MixedSigners,
    /// The withdrawn, or restated, release is none of this project's.
    #[error("release {0} is none that this log accepted for the project")]
    UnknownRelease(String),
    /// A withdrawn digest that is none of the release's.
    #[error("digest {0} is not of the release that is withdrawn")]
    ForeignDigest(String),
    /// An end of life outside what is the project's.
    #[error("purl prefix {prefix:?} is under none of the project's prefixes ({prefixes})")]
    PrefixOutside {
        /// The prefix.
        prefix: String,
        /// The project's prefixes.
        prefixes: String,
    },
    /// A re-statement that is none.
    #[error("the release does not state {restates} again: {why}")]
    NotRestated {
        /// The release that it names.
        restates: String,
        /// Why not.
        why: &'static str,
    },
    /// No project of this id is in the log.
    #[error("no project {0} is in this log")]
    UnknownProject(String),
    /// The operator has stopped admitting this project's statements.
    #[error("project {0} is frozen by the log's operator")]
    Frozen(String),
    /// A signature by a key that has no say in this.
    #[error("key {key} may not sign this: {want}")]
    UnauthorisedKey {
        /// The key that signed.
        key: String,
        /// Whose signature is wanted.
        want: String,
    },
    /// A newly listed key did not sign.
    #[error("key {0} is newly listed, and must sign")]
    MissingSignature(String),
    /// Too few distinct keys signed.
    #[error("{got} {what} signatures, want {want}")]
    Threshold {
        /// Whose: `root`, `new root`, `release`, ….
        what: &'static str,
        /// The threshold in force.
        want: u64,
        /// How many distinct keys signed.
        got: u64,
    },
    /// A signature does not verify, or is not strict DER with s ≤ n/2.
    #[error("the signature by key {key} is refused: {why}")]
    BadSignature {
        /// The key.
        key: String,
        /// The reason.
        why: String,
    },
    /// A certificate where the project lists release keys.
    #[error("the project lists release keys, and no authority whose certificates would count")]
    UnwantedCertificate,
    /// The certificate is not one of the project's authorities, or not at the leaf's time.
    #[error("the certificate does not count: {0}")]
    Certificate(CertificateError),
    /// The certificate is of an authority of the project, and for somebody else.
    #[error(
        "the certificate is for {san:?}, attested by {issuer}; the project lists {listed} (issuer and claims must match too)"
    )]
    OtherIdentity {
        /// Whom it is for.
        san: String,
        /// Who attested that.
        issuer: String,
        /// Whom the project lists.
        listed: String,
    },
    /// An identity or authority that was revoked, listed again or signing.
    #[error("{0} is revoked in this project")]
    RevokedTarget(String),
    /// What was read could not be written: never in practice.
    #[error("{0}")]
    Internal(String),
    /// The purl lies under none of the project's prefixes.
    #[error("purl {purl:?} is under none of the project's prefixes ({prefixes})")]
    PurlOutside {
        /// The purl.
        purl: String,
        /// The project's prefixes.
        prefixes: String,
    },
    /// The purl was released before.
    #[error(
        "purl {purl:?} was released before, as log index {index}; a purl is released once, for ever"
    )]
    PurlReleased {
        /// The purl.
        purl: String,
        /// Where it stands.
        index: u64,
    },
    /// The key is older than the project allows.
    #[error("key {key} was first listed {age} s before, the project allows {max} s: rotate it")]
    KeyTooOld {
        /// The key.
        key: String,
        /// Its age in seconds.
        age: u64,
        /// The project's `maxKeyAge`.
        max: u64,
    },
    /// A ledger head that is not the one that follows from the leaves before it.
    #[error("ledger head: {what} is {got}, want {want}")]
    WrongHead {
        /// Which field.
        what: &'static str,
        /// What follows from the leaves.
        want: String,
        /// What the leaf says.
        got: String,
    },
    /// A leaf of a kind that this version does not know.
    #[error("leaf of unknown kind {0:?}")]
    UnknownKind(String),
    /// Where earlier releases are kept cannot be read: nothing is decided.
    #[error("what {about:?} was cannot be looked up: {why}")]
    LookUp {
        /// The purl or statement.
        about: String,
        /// What the look-up said.
        why: String,
    },
    /// The state could not be encoded.
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl Refusal {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OtherOrigin { .. } => "other-origin",
            Self::ProjectStands(_) => "project-stands",
            Self::StatementStands { .. } => "statement-stands",
            Self::NameTaken { .. } => "name-taken",
            Self::PrefixOverlap { .. } => "prefix-overlap",
            Self::UnknownPrevious(_) => "unknown-previous",
            Self::OtherPrevious { .. } => "other-previous",
            Self::OtherVersion { .. } => "wrong-version",
            Self::OtherName { .. } => "name-changed",
            Self::OtherRole { .. } => "key-changed-role",
            Self::RevokedKey(_) => "key-revoked",
            Self::UnknownTarget(_) => "unknown-target",
            Self::TooFewRoots { .. } => "too-few-roots",
            Self::WindowBeyond { .. } => "window-beyond-tree",
            Self::WindowNotWider { .. } => "window-not-wider",
            Self::MixedSigners => "mixed-signers",
            Self::UnknownRelease(_) => "unknown-release",
            Self::ForeignDigest(_) => "foreign-digest",
            Self::PrefixOutside { .. } => "prefix-outside-project",
            Self::NotRestated { .. } => "not-restated",
            Self::UnknownProject(_) => "unknown-project",
            Self::Frozen(_) => "project-frozen",
            Self::UnauthorisedKey { .. } => "unauthorised-key",
            Self::MissingSignature(_) => "missing-signature",
            Self::Threshold { .. } => "threshold-not-met",
            Self::BadSignature { .. } => "bad-signature",
            Self::UnwantedCertificate => "unwanted-certificate",
            Self::Certificate(e) => e.kind(),
            Self::OtherIdentity { .. } => "other-identity",
            Self::RevokedTarget(t) if t.starts_with("identity:") => "identity-revoked",
            Self::RevokedTarget(_) => "authority-revoked",
            Self::Internal(_) => "internal-encoding",
            Self::PurlOutside { .. } => "purl-outside-prefixes",
            Self::PurlReleased { .. } => "purl-released-before",
            Self::KeyTooOld { .. } => "key-too-old",
            Self::WrongHead { .. } => "wrong-head",
            Self::UnknownKind(_) => "unknown-leaf-kind",
            Self::LookUp { .. } => "look-up-failed",
            Self::Json(_) => "internal-encoding",
        }
    }
}
